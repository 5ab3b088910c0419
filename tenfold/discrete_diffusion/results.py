"""What is measured for the guides of discrete diffusion, and how."""

from collections.abc import Mapping
from typing import Any

from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Job, Training, Worked

# One network on the King James text, by every objective; the n-grams are measured once.
_KJV = {
    name: Training(f"kjv-{name}")
    for name in ["masked", "masked-score", "mdlm", "sedd", "uniform", "uniform-score", "udlm", "hollow", "plain", "ar"]
}

# Why plain transformers stall: short trainings, with and without what tells attention where to look.
_SHORT = (
    *("--train.steps", "600", "--train.validate_every", "0", "--evaluation.rows", "512", "--evaluation.holes", "0"),
    *("--evaluation.baselines", "false"),
)
_LEARNED = ("--model.positions", "learned")
_STALL = {
    "learned": ("kjv-plain", _LEARNED),
    "learned-little-noise": ("kjv-plain", (*_LEARNED, "--objective.latest", "0.15")),
    "learned-large": ("kjv-plain", (*_LEARNED, "--model.position_std", "0.16")),
    "rotary": ("kjv-plain", ()),
    "learned-mixing": ("kjv-plain", (*_LEARNED, "--model.local_mixing", "7")),
    "rotary-mixing": ("kjv-plain", ("--model.local_mixing", "7")),
    "learned-left-to-right": ("kjv-ar", (*_LEARNED, "--model.local_mixing", "0")),
}

# What the bound of log-ratios, or another divergence, does to the score form.
_CAPS = {
    "distribution": ("kjv-masked", ()),
    "generalised-kl-20": ("kjv-masked-score", ("--objective.cap", "20")),
    "generalised-kl-5": ("kjv-masked-score", ()),
    "generalised-kl-3": ("kjv-masked-score", ("--objective.cap", "3")),
    "logistic-20": ("kjv-masked-score", ("--objective.divergence", "logistic", "--objective.cap", "20")),
    "uniform-distribution": ("kjv-uniform", ()),
    "uniform-generalised-kl-20": ("kjv-uniform-score", ("--objective.cap", "20")),
    "uniform-generalised-kl-5": ("kjv-uniform-score", ()),
}

# Post-training of the masked letters, from the first seed's run.
_START = ("--objective.start", "runs/results/kjv-masked-0")
_TEACHER = ("--objective.teacher", "runs/results/kjv-ar-0")
_STEERED = {
    "reward": ("kjv-reward", ()),
    "reward-half-budget": ("kjv-reward", ("--objective.budget", "0.5")),
    "reward-weights": ("kjv-reward-weights", ()),
    "groups": ("kjv-groups", ()),
    "preference": ("kjv-preference", ()),
}
_RATIOS = {"bce": "kjv-ratio", "lsif": "kjv-ratio-lsif", "generalised-kl": "kjv-ratio-kl"}
_DISTILLED = {"suffixes": ("kjv-distil", ()), "first-order": ("kjv-distil-first-order", ())}
_FEW = ("--data.rows", "200")
# Two teachers, the same student: the small one is trained first.
_TEACHERS = {
    "small-teacher": Training("kjv-ar-small", seeds=(0,)),
    "from-small": Training(
        "kjv-distil", ("--objective.teacher", "runs/results/kjv-teachers-small-teacher-0"), seeds=(0,)
    ),
    "from-normal": Training("kjv-distil", _TEACHER, seeds=(0,)),
}
_CHAINS = (1, 2, 4, 8, 16)


def _compared(
    recipes: Mapping[str, tuple[str, tuple[str, ...]]],
    options: tuple[str, ...],
    quantities: tuple[str, ...],
    **how: Any,
) -> Comparison:
    """Every recipe once, with options of all and its own."""
    trainings = {name: Training(recipe, (*options, *own), seeds=(0,)) for name, (recipe, own) in recipes.items()}
    return Comparison(trainings, quantities, models={name: recipe for name, (recipe, _) in recipes.items()}, **how)


JOBS: dict[str, Job] = {
    "kjv": Comparison(
        _KJV,
        ("bits_per_char", "bits_per_char_generalised_kl", "hole_accuracy"),
        models={name: f"kjv-{name}" for name in _KJV},
        baselines=("unigram", "bigram", "trigram", "back-off"),
        compute="seconds",
    ),
    "kjv-stall": _compared(_STALL, _SHORT, ("bits_per_char",)),
    "kjv-caps": _compared(_CAPS, _SHORT, ("bits_per_char",)),
    "kjv-flagship": Training("kjv-flagship", seeds=(0,)),
    "kjv-steering": _compared(
        _STEERED,
        _START,
        (
            *("mean_reward", "kl_from_reference", "bits_per_char", "distinct_trigrams", "sample_entropy"),
            *("preference_accuracy", "classifier_accuracy"),
        ),
        after="kjv",
        baselines=("reference", "tilted reference", "new testament", "old testament", "trigrams"),
    ),
    "kjv-ratios": Comparison(
        {name: Training(recipe, _START, seeds=(0,)) for name, recipe in _RATIOS.items()},
        tuple(name for n in _CHAINS for name in (f"bits_per_char_{n}_steps", f"gain_{n}_steps")),
        after="kjv",
        models={name: f"{recipe}, 16 candidates" for name, recipe in _RATIOS.items()},
        baselines=("reference",),
    ),
    "kjv-distilled": _compared(
        _DISTILLED,
        _TEACHER,
        ("bits_per_char", "hole_accuracy"),
        after="kjv",
        compute="step",
        beside={"data-alone": "kjv-masked-0"},
    ),
    "kjv-few-rows": _compared(
        {
            "data-alone": ("kjv-masked", _FEW),
            "suffixes": ("kjv-distil", (*_FEW, *_TEACHER, "--objective.sites", "4")),
            "samples": ("kjv-distil-few", _TEACHER),
        },
        (),
        ("bits_per_char", "hole_accuracy"),
        after="kjv",
        compute="step",
    ),
    "kjv-teachers": Comparison(
        _TEACHERS,
        ("bits_per_char", "hole_accuracy", "parameters"),
        after="kjv",
        models={name: training.recipe for name, training in _TEACHERS.items()},
    ),
    "smollm2-distilled": _compared(
        {"distilled": ("smollm2-distil", ()), "data-alone": ("smollm2-distil-none", ())},
        (),
        ("bits_per_token", "bits_per_char"),
        baselines=("unigram", "teacher"),
        compute="step",
        unit="token",
    ),
    "kjv-samples": Analysis(
        "kjv-flagship-0",
        (
            *("--judge", "runs/results/kjv-ar-0", "--kinds", "[ancestral, confidence, first_hitting, remask]"),
            *("--steps", "[2, 4, 8, 16, 32, 64]"),
        ),
        ("perplexity.png", "entropy.png"),
        after="kjv-flagship",
        spread="over samples of one model",
    ),
    "example-tcsm-worlds": Worked("analyse", "tcsm-worlds", "mean-reward.png"),
    "benchmark-discrete-diffusion": Benchmark("discrete_diffusion"),
}
