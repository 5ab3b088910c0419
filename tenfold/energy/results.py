"""What is measured for the guide of energies, and how."""

from tenfold.runs.jobs import Benchmark, Comparison, Job, Training, Worked

_STAGES = ("--teacher.train.seed", "--energy.train.seed")
_LEVELS = ("0.05", "0.1", "0.2", "0.5", "1", "2")
_ERRORS = tuple(f"{what}_{level}" for what in ("denoising_mse", "distance", "relative_curl") for level in _LEVELS)

# The published setting of the comparison of heads and losses: no classes, 500 steps after a teacher of 2,500.
_PLAIN = (
    *("--teacher.model.classes", "0", "--energy.model.classes", "0"),
    *("--teacher.model.class_names", "[]", "--energy.model.class_names", "[]"),
    *("--teacher.train.steps", "2500", "--energy.train.steps", "500"),
    *("--teacher.evaluation.samples", "0", "--energy.evaluation.samples", "0"),
    *("--energy.evaluation.compositions", "false", "--energy.evaluation.calibrate", "0"),
)
_HEADS = {
    "dot": (),
    "dot-random-start": ("--energy.objective.start", "false"),
    "dot-denoising": ("--energy.objective.distillation", "0", "--energy.objective.denoising", "1"),
    "path": ("--energy.model.head", "path"),
    "norm": ("--energy.model.head", "norm"),
}

JOBS: dict[str, Job] = {
    "energy-digits": Training("energy-digits", seeded=_STAGES),
    "energy-digits-direct": Training("energy-digits-direct"),
    "energy-heads": Comparison(
        {name: Training("energy-digits", (*_PLAIN, *own), seeded=_STAGES) for name, own in _HEADS.items()},
        _ERRORS,
        models=dict.fromkeys(_HEADS, "energy-digits"),
        baselines=("teacher",),
    ),
    "energy-pca-digits": Training("energy-pca-digits", seeded=_STAGES),
    "energy-2d": Training("energy-2d", seeded=_STAGES),
    "energy-mnist": Training("energy-mnist", seeded=_STAGES),
    "energy-mnist-direct": Training("energy-mnist-direct"),
    "energy-dw4": Training("energy-dw4", seeded=_STAGES),
    "energy-lj13": Training("energy-lj13", seeded=_STAGES),
    "example-energy-weights": Worked("analyse", "energy-weights", "weights-over-steps.png"),
    "example-energy-rare-event": Worked("analyse", "energy-rare-event", "rare-event.png"),
    "benchmark-energy": Benchmark("energy"),
    "benchmark-energy-training": Benchmark("energy_training"),
}
