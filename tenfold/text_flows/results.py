"""What is measured for the guide of text flows, and how."""

from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Job, Training, Worked

_STAGES = {"first": "1500", "second": "500", "third": "500"}  # steps of the flows of a progressive stack
_SHORT = ("--train.steps", "1500", "--train.validate_every", "500")
_SCORED = ("--evaluation.rows", "1024", "--evaluation.draws", "4")
_FLOW = (*_SHORT, *_SCORED, "--model.dim", "8")


def _staged(options: tuple[str, ...]) -> tuple[str, ...]:
    """Options of a flow as those of all stages, each with its own number of steps."""
    each = dict(zip(options[::2], options[1::2], strict=True))
    return tuple(
        word
        for stage, steps in _STAGES.items()
        for name, value in {**each, "--train.steps": steps}.items()
        for word in (f"--{stage}.{name.removeprefix('--')}", value)
    )


# The same body, in dimensions, steps and batches, on the King James text by every coupling, beside the discrete model
# and models that count. Of patches there are two flows of one layer each.
_KJV = {
    "discrete": Training("kjv-ar", (*_SHORT, *_SCORED, "--evaluation.holes", "0")),
    "affine": Training("kjv-flow-affine", _FLOW),
    "mix-1": Training("kjv-flow-mix1", (*_FLOW, "--model.components", "8")),
    "mix-d": Training("kjv-flow", _FLOW),
    "stages": Training("kjv-flow-stages", _staged(_FLOW), seeded=tuple(f"--{stage}.train.seed" for stage in _STAGES)),
    "patch-1": Training("kjv-flow-patch2", (*_FLOW, "--model.patch", "1")),
    "patch-2": Training("kjv-flow-patch2", _FLOW),
    "patch-4": Training("kjv-flow-patch4", _FLOW),
}
_JUDGE = ("--judge", "runs/results/kjv-flows-discrete-0", "--num", "128")

JOBS: dict[str, Job] = {
    "kjv-flows": Comparison(
        _KJV,
        ("bits_per_char", "bits_per_char_weighted", "decoder_accuracy", "gain_of_further_flows"),
        models={
            **{name: training.recipe for name, training in _KJV.items()},
            "stages": {"3 flows": "stages", "2 flows": "stages, first two", "1 flow": "stages, first"},
        },
        baselines=("unigram", "back-off"),
    ),
    "kjv-flow-flagship": Training("kjv-flow-flagship", seeds=(0,)),
    # Generative perplexity under the discrete model and entropy, state by state, with text; of P tokens a step.
    **{
        f"kjv-flow-states-{run}": Analysis(
            f"kjv-flows-{run}-0", _JUDGE, ("states.png",), after="kjv-flows", spread="over samples"
        )
        for run in ("stages", "patch-1", "patch-2", "patch-4")
    },
    "example-tabular-flows": Worked(
        "analyse", "tabular-flows", spread="between three seeds, which split the rows anew"
    ),
    "benchmark-text-flows": Benchmark("text_flows"),
}
