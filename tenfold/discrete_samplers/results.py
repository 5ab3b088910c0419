"""What is measured for the guide of the samplers of discrete laws, and how."""

from tenfold.discrete_samplers.learning.config import DENSITIES
from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Job, Training, Worked

JOBS: dict[str, Job] = {
    "ising-4x4": Training("ising-4x4"),
    "ising-3x3-critical": Training("ising-3x3-critical"),
    "ising-4x4-field": Training("ising-4x4-field", seeds=(0,)),
    "ising-10x10": Training("ising-10x10", seeds=(0,)),
    "ising-10x10-critical": Training("ising-10x10-critical", seeds=(0,)),
    "ising-4x4-masked": Training("ising-4x4-masked", seeds=(0,)),
    "ising-4x4-autoregressive": Training("ising-4x4-autoregressive", seeds=(0,)),
    "digits-machine": Comparison(
        {
            "weighted": Training("digits-machine"),
            "persistent": Training("digits-machine", ("--objective.negative", "persistent")),
        },
        ("nll", "log_z"),
        models={"weighted": "digits-machine", "persistent": "digits-machine"},
    ),
    "ising-couplings": Comparison(
        {
            "weighted": Training("ising-couplings", seeds=(0,)),
            "persistent": Training("ising-couplings", ("--objective.negative", "persistent"), seeds=(0,)),
        },
        ("minus_log_rmse", "nll"),
        models={"weighted": "ising-couplings", "persistent": "ising-couplings"},
    ),
    **{f"plane-{name}": Training(f"plane-{name}", seeds=(0,)) for name in DENSITIES},
    "graphs-mis": Training("graphs-mis", seeds=(0,)),
    "ising-10x10-samplers": Analysis(
        "ising-10x10-critical-0", ("--seconds", "20", "--apart", "3"), ("draws.png",), after="ising-10x10-critical"
    ),
    "sampler-comparison": Worked("analyse", "sampler-comparison"),
    "graph-sets": Worked("analyse", "graph-sets", spread="over graphs"),
    "benchmark-discrete-samplers": Benchmark("discrete_samplers"),
}
