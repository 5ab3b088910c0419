"""What is measured for the guide of energies, and how."""

from tenfold.runs.jobs import Benchmark, Job, Training, Worked

_STAGES = ("--teacher.train.seed", "--energy.train.seed")

JOBS: dict[str, Job] = {
    "energy-digits": Training("energy-digits", seeded=_STAGES),
    "energy-digits-direct": Training("energy-digits-direct"),
    "example-energy-heads": Worked("analyse", "energy-heads", "heads.png", spread="between seeds of the teacher"),
    "energy-pca-digits": Training("energy-pca-digits", seeded=_STAGES),
    "energy-2d": Training("energy-2d", seeded=_STAGES),
    "energy-mnist": Training("energy-mnist", seeded=_STAGES),
    "energy-mnist-direct": Training("energy-mnist-direct"),
    "energy-dw4": Training("energy-dw4", seeded=_STAGES, seeds=(0,)),
    "energy-lj13": Training("energy-lj13", seeded=_STAGES, seeds=(0,)),
    "example-energy-weights": Worked("analyse", "energy-weights", "weights-over-steps.png"),
    "example-energy-rare-event": Worked(
        "analyse", "energy-rare-event", "rare-event.png", spread="between independent runs"
    ),
    "benchmark-energy": Benchmark("energy"),
    "benchmark-energy-training": Benchmark("energy_training"),
}
