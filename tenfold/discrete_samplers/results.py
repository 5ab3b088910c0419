"""What is measured for the guide of the samplers of discrete laws, and how."""

from tenfold.runs.jobs import Benchmark, Job, Training

JOBS: dict[str, Job] = {
    "ising-4x4": Training("ising-4x4"),
    "ising-3x3-critical": Training("ising-3x3-critical"),
    "ising-10x10": Training("ising-10x10", seeds=(0,)),
    "ising-10x10-critical": Training("ising-10x10-critical", seeds=(0,)),
    "ising-4x4-masked": Training("ising-4x4-masked", seeds=(0,)),
    "ising-4x4-autoregressive": Training("ising-4x4-autoregressive", seeds=(0,)),
    "benchmark-discrete-samplers": Benchmark("discrete_samplers"),
}
