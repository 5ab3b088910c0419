"""What is measured for the guides of shifts and quasi-periodic operators, and how."""

from tenfold.runs.jobs import Benchmark, Job, Worked

JOBS: dict[str, Job] = {
    "example-slabs": Worked("discrepancy", "slabs"),
    "example-bad-set": Worked("discrepancy", "bad-set"),
    "example-samplers": Worked(
        "discrepancy",
        "samplers",
        options=(
            "--runs",
            *(f"runs/results/{name}-0" for name in ("tarflow-digits", "code-bytes-scratch", "kjv-masked", "kjv-udlm")),
        ),
        after=("tarflow-digits", "code-bytes", "kjv"),
    ),
    "benchmark-quasiperiodic": Benchmark("quasiperiodic"),
    "quasiperiodic-expected": Worked("dynamics", "expected"),
    "quasiperiodic-scale": Worked("dynamics", "scale", "scale.png"),
    "quasiperiodic-transition": Worked("dynamics", "aubry-andre", "transition.png", spread="of the fitted slope"),
    "quasiperiodic-log-power": Worked("dynamics", "log-power", "log-power.png", spread="of the fitted slope"),
}
