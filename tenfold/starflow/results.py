"""What is measured for the guide of STARFlow, and how."""

from tenfold.runs.jobs import Comparison, Job, Training

# The same six layers in three blocks: most of them in the deep one, or evenly.
_SPLIT = (
    *("--data.autoencoder", "runs/results/starflow-mnist-0/autoencoder"),
    *("--train.steps", "800", "--evaluation.draws", "4", "--evaluation.samples", "0", "--evaluation.images", "0"),
)


JOBS: dict[str, Job] = {
    "starflow-mnist": Training("starflow-mnist", seeds=(0,)),
    "starflow-captions": Training("starflow-captions", seeds=(0,)),
    "starflow-split": Comparison(
        {
            "deep-shallow": Training("starflow-mnist-flow", _SPLIT),
            "even": Training("starflow-mnist-flow", (*_SPLIT, "--model.layers", "2,2,2")),
        },
        ("latent_nll", "sampling_seconds"),
        after="starflow-mnist",
    ),
}
