"""What is measured for the guide of TarFlow, and how."""

from tenfold.runs.jobs import Benchmark, Job, Training

# The reference's model and optimiser: 2-64-4-2, 454 steps of 128 at a constant rate of 1e-3.
_PROTOCOL = (
    *("--model.head_size", "64", "--model.dropout", "0", "--train.steps", "454", "--train.batch_size", "128"),
    *("--train.learning_rate", "1e-3", "--train.betas", "0.9,0.95", "--train.ema", "0.99"),
    *("--train.final_fraction", "1"),
    *("--evaluation.baselines", "false"),
)


JOBS: dict[str, Job] = {
    "tarflow-digits": Training("tarflow-digits"),
    "tarflow-digits-noise": Training("tarflow-digits-noise"),
    "tarflow-digits-long": Training("tarflow-digits-long"),
    "tarflow-digits-protocol": Training("tarflow-digits", _PROTOCOL),
    "benchmark-flows": Benchmark("flows"),
}
