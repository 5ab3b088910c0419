"""Recipes of the autoencoder under latent flows, and of the decoder that removes their noise (arXiv 2506.06276)."""

from dataclasses import field
from typing import ClassVar

from tenfold.data.images.config import ImageDataConfig
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.starflow.autoencoder.config import (
    AutoencoderEvaluation,
    AutoencoderObjective,
    DecoderObjective,
    ReconstructionConfig,
)
from tenfold.training.config import TrainingConfig


@settings
class AutoencoderRecipe(Recipe):
    """Everything an autoencoder's run is made of."""

    system: ClassVar[str] = "autoencoder"
    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    objective: AutoencoderObjective = field(default_factory=AutoencoderObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: AutoencoderEvaluation = field(default_factory=AutoencoderEvaluation)


@settings
class DecoderRecipe(Recipe):
    """Everything a decoder's fine-tuning is made of; the geometry is that of the autoencoder it starts from."""

    system: ClassVar[str] = "decoder"
    data: ImageDataConfig = field(default_factory=ImageDataConfig)
    reconstruction: ReconstructionConfig = field(default_factory=ReconstructionConfig)
    objective: DecoderObjective = field(default_factory=DecoderObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: AutoencoderEvaluation = field(default_factory=AutoencoderEvaluation)


_MNIST_DATA = ImageDataConfig(source="mnist5k", validation=250, test=500)

AUTOENCODER_MNIST = AutoencoderRecipe(
    model=AutoencoderConfig(widths=(8, 16, 32), mid_attention=False),
    data=_MNIST_DATA,
    train=TrainingConfig(steps=1200, batch_size=32, learning_rate=4e-3, ema=0.99, validate_every=200, threads=1),
    evaluation=AutoencoderEvaluation(sigma=0.3, fid=True),
)
DECODER_MNIST = DecoderRecipe(
    data=_MNIST_DATA,
    # The pixel loss alone wins on PSNR and loses on FID; weights of the distance below 10 lose on FID too.
    reconstruction=ReconstructionConfig(perceptual="classifier", perceptual_weight=30.0),
    objective=DecoderObjective(sigma=0.3),
    train=TrainingConfig(steps=800, batch_size=32, learning_rate=2e-3, ema=0.99, validate_every=200, threads=1),
    evaluation=AutoencoderEvaluation(fid=True),
)

AUTOENCODER_RECIPES = {
    "autoencoder-mnist": Named(
        "5,000 MNIST digits of 28x28 to 7x7 latents of 4 channels and back, about 4 min", AUTOENCODER_MNIST
    ),
}
DECODER_RECIPES = {
    "decoder-mnist": Named(
        "the decoder of an autoencoder-mnist run (--objective.start) taught to remove latent noise, about 4 min",
        DECODER_MNIST,
    ),
}
