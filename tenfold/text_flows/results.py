"""What is measured for the guide of text flows, and how."""

from tenfold.runs.jobs import Benchmark, Comparison, Job, Training

_STAGES = ("--first.train.seed", "--second.train.seed", "--third.train.seed")
# The same body on the King James text, by every coupling, beside the discrete model and models that count.
_KJV = {
    "discrete": Training("kjv-ar"),
    "affine": Training("kjv-flow-affine"),
    "mix-1": Training("kjv-flow-mix1"),
    "mix-d": Training("kjv-flow"),
    "stages": Training("kjv-flow-stages", seeded=_STAGES),
    "patch-2": Training("kjv-flow-patch2"),
    "patch-4": Training("kjv-flow-patch4"),
}

JOBS: dict[str, Job] = {
    "kjv-flows": Comparison(
        _KJV,
        ("bits_per_char", "bits_per_char_weighted", "decoder_accuracy"),
        models={name: training.recipe for name, training in _KJV.items()},
        baselines=("unigram", "back-off"),
        compute="seconds",
    ),
    "benchmark-text-flows": Benchmark("text_flows"),
}
