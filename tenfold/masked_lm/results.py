"""What is measured for the guides of masked language models, and how."""

from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Job, Training

_BOTH = ("--autoregressive.train.seed", "--masked.train.seed")
_CODE = {
    "scratch": Training("code-bytes"),
    "left-to-right": Training("code-bytes-ar"),
    "annealed": Training("code-bytes-from-ar", seeded=_BOTH),
    "at-once": Training("code-bytes-from-ar-at-once", seeded=_BOTH),
}
_STAGES = ("--start.train.seed", "--tuned.train.seed")
# Seconds of a round with these over those of "coupled": 1.75 times as many rounds in the same time.
_ROUNDS = {"coupled": 150, "decoupled": 150, "full": 262, "d1": 262, "spg": 150}
_TUNED = {
    name: Training(
        "grpo-brackets", ("--tuned.objective.estimator", name, "--tuned.train.steps", str(rounds)), seeded=_STAGES
    )
    for name, rounds in _ROUNDS.items()
}


JOBS: dict[str, Job] = {
    "code-bytes": Comparison(
        _CODE,
        ("bits_per_byte", "hole_accuracy"),
        models=dict(zip(_CODE, ("code-bytes", "autoregressive", "masked-lm", "masked-lm"), strict=True)),
        baselines=("unigram", "back-off"),
        differences=True,
    ),
    "code-bytes-flagship": Training("code-bytes-flagship", seeds=(0,)),
    "smollm2-code": Training("smollm2-code", seeds=(0,)),
    "smollm2-code-at-once": Training("smollm2-code", ("--objective.anneal_steps", "0"), seeds=(0,)),
    "smollm2-code-lora": Training("smollm2-code-lora", seeds=(0,)),
    "code-bytes-order": Analysis(
        "code-bytes-flagship-0",
        ("--holes", "400", "--autoregressive", "runs/results/code-bytes-flagship-0/autoregressive"),
        ("ar-ness.png", "orders.png", "first-pass.png"),
        after="code-bytes-flagship",
        spread="over prompts, or over holes",
    ),
    "smollm2-infilling": Analysis(
        "smollm2-code-0",
        (
            *("--prompts", "2", "--prompt-tokens", "64", "--tokens", "32", "--temperatures", "0.2,1", "--maps", "2"),
            *("--holes", "40", "--window", "96", "--bodies", "16", "--body-tokens", "96"),
            *("--autoregressive", "smollm2"),
        ),
        after="smollm2-code",
        spread="over prompts, holes or lines",
    ),
    "benchmark-masked-lm": Benchmark(
        "masked_lm", ("--adapted", "none", "--figure", "docs/images/masked-lm-quality.png")
    ),
    "benchmark-masked-lm-batch": Benchmark("masked_lm", ("--only", "batch8", "--threads", "2")),
    "benchmark-masked-lm-exact": Benchmark("masked_lm", ("--only", "exact")),
    "benchmark-masked-lm-loading": Benchmark("masked_lm_loading"),
    "grpo-brackets": Training("grpo-brackets", seeds=(0,)),
    "grpo-brackets-estimators": Comparison(
        _TUNED,
        ("mean_reward", "best_reward", "local_ar", "global_ar"),
        models=dict.fromkeys(_TUNED, "masked-grpo"),
        baselines=("start",),
        differences=True,
        curve="tuned/reward",
    ),
    "grpo-functions": Training("grpo-functions", seeds=(0,)),
    "grpo-estimators": Analysis("grpo-brackets-0", (), after="grpo-brackets", spread="over completions of one model"),
    "benchmark-coupled-grpo": Benchmark("coupled_grpo"),
}
