"""TarFlow's recipes (arXiv 2412.06329)."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.data.images.config import ImageDataConfig
from tenfold.flows.options import PUBLISHED_TRAINING, FlowRecipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.tarflow.config import FlowEvaluation, FlowObjective, TarFlowConfig
from tenfold.training.config import TrainingConfig


@settings
class TarFlowRecipe(FlowRecipe):
    """Everything a TarFlow run is made of."""

    system: ClassVar[str] = "tarflow"
    model: TarFlowConfig = field(default_factory=TarFlowConfig)
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    objective: FlowObjective = field(default_factory=FlowObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: FlowEvaluation = field(default_factory=FlowEvaluation)


_IMAGENET_TRAIN, _AFHQ_TRAIN = 1_281_167, 14_630


def _published(
    model: TarFlowConfig, data: ImageDataConfig, objective: FlowObjective, batch: int, images: int, epochs: int
) -> TarFlowRecipe:
    """The paper's training settings: AdamW (0.9, 0.95), decay 1e-4, an epoch's warm-up to 1e-4, cosine to 1e-6, no
    average."""
    train = replace(
        PUBLISHED_TRAINING,
        steps=images * epochs // batch,
        batch_size=batch,
        warmup_steps=images // batch,
        precision="fp32" if objective.noise == "uniform" else "bf16",
    )
    evaluation = FlowEvaluation(baselines=False, samples=50_000, calibrate=0)
    return TarFlowRecipe(model=model, data=data, objective=objective, train=train, evaluation=evaluation)


def _imagenet(
    side: int, patch: int, width: int, classes: int, objective: FlowObjective, batch: int, epochs: int
) -> TarFlowRecipe:
    model = TarFlowConfig(shape=(3, side, side), patch=patch, width=width, blocks=8, layers=8, classes=classes)
    data = ImageDataConfig(
        source="huggingface",
        path="ILSVRC/imagenet-1k",
        height=side,
        width=side,
        channels=3,
        validation=10_000,
        test="validation",
        streaming=True,
    )
    return _published(model, data, objective, batch, _IMAGENET_TRAIN, epochs)


DIGITS_DATA = ImageDataConfig(source="digits", levels=17)
# Four small heads, dropout and a high rate with small batches: what held-out likelihood on 1,297 images asks for.
# One thread: at this size a second one costs more than it brings.
_DIGITS_MODEL = TarFlowConfig(shape=(1, 8, 8), patch=2, width=64, blocks=4, layers=2, head_size=16, dropout=0.25)
_DIGITS_TRAIN = TrainingConfig(
    steps=2000, batch_size=64, learning_rate=3e-3, betas=(0.9, 0.99), ema=0.995, validate_every=250, threads=1
)

RECIPES: dict[str, Named] = {
    "tarflow-digits": Named(
        "8x8 digits, uniform dequantisation: exact bits per dimension, per-token maps, outliers",
        TarFlowRecipe(
            model=_DIGITS_MODEL,
            data=DIGITS_DATA,
            objective=FlowObjective(noise="uniform"),
            # The same likelihood in half of the computation.
            train=replace(_DIGITS_TRAIN, steps=1750, batch_size=32, learning_rate=6e-3),
        ),
    ),
    "tarflow-digits-noise": Named(
        "8x8 digits by class, Gaussian noise 0.1: samples, guidance, denoising, Bayes-rule classification",
        TarFlowRecipe(
            model=replace(_DIGITS_MODEL, classes=10),
            data=DIGITS_DATA,
            objective=FlowObjective(noise="gaussian", sigma=0.1),
            train=_DIGITS_TRAIN,
            evaluation=FlowEvaluation(samples=360),
        ),
    ),
    "tarflow-digits-long": Named(
        "8x8 digits, uniform dequantisation, classes and strong dropout: the lowest bits per dimension, about 5 min",
        TarFlowRecipe(
            model=replace(_DIGITS_MODEL, classes=10, dropout=0.4),
            data=DIGITS_DATA,
            objective=FlowObjective(noise="uniform"),
            train=replace(_DIGITS_TRAIN, steps=4500, ema=0.998),
        ),
    ),
    "tarflow-mnist": Named(
        "5,000 MNIST digits of 28x28 by class, Gaussian noise 0.1 (4-128-4-4)",
        TarFlowRecipe(
            model=TarFlowConfig(shape=(1, 28, 28), patch=4, width=128, blocks=4, layers=4, classes=10),
            data=ImageDataConfig(source="mnist5k", validation=250, test=500),
            objective=FlowObjective(noise="gaussian", sigma=0.1),
            train=TrainingConfig(steps=3000, learning_rate=2e-3),
        ),
    ),
    "tarflow-imagenet64-likelihood": Named(
        "ImageNet 64x64, uniform dequantisation, 2-768-8-8 (published: 2.99 bits/dim)",
        _imagenet(64, 2, 768, 0, FlowObjective(noise="uniform", flip=True), batch=256, epochs=100),
    ),
    "tarflow-imagenet64": Named(
        "ImageNet 64x64 by class, Gaussian noise 0.05, 2-768-8-8",
        _imagenet(64, 2, 768, 1000, FlowObjective(noise="gaussian", sigma=0.05, flip=True), batch=256, epochs=200),
    ),
    "tarflow-imagenet64-unconditional": Named(
        "ImageNet 64x64 without classes, Gaussian noise 0.05, 2-768-8-8",
        _imagenet(64, 2, 768, 0, FlowObjective(noise="gaussian", sigma=0.05, flip=True), batch=256, epochs=200),
    ),
    "tarflow-imagenet128": Named(
        "ImageNet 128x128 by class, Gaussian noise 0.15, 4-1024-8-8",
        _imagenet(128, 4, 1024, 1000, FlowObjective(noise="gaussian", sigma=0.15, flip=True), batch=768, epochs=320),
    ),
    "tarflow-afhq": Named(
        "AFHQ 256x256, three classes, Gaussian noise 0.07, 8-768-8-8",
        _published(
            TarFlowConfig(shape=(3, 256, 256), patch=8, width=768, blocks=8, layers=8, classes=3),
            ImageDataConfig(
                source="huggingface",
                path="huggan/AFHQ",
                height=256,
                width=256,
                channels=3,
                validation=500,
                test=500,
            ),
            FlowObjective(noise="gaussian", sigma=0.07, flip=True),
            batch=256,
            images=_AFHQ_TRAIN,
            epochs=4000,
        ),
    ),
}
