"""What a user can set about training and measuring autoencoders. Imports no PyTorch."""

import math
from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import settings


@settings
class ReconstructionConfig:
    """What makes a rebuilt image a good one.

    Attributes:
        pixel: "l1" or "l2", the mean absolute or square difference of pixels on [−1, 1].
        pixel_weight: its weight.
        perceptual: a local network in whose hidden layers images are compared: a folder of
            ClassifierFeatures.save, the file of FID's Inception weights, or a folder of a transformers vision
            model; "classifier" for a small one that is trained on the same labelled images first; "" for none.
        perceptual_weight: weight of that distance.
        adversarial_weight: weight of the generator's loss against a patch discriminator; 0 for none. It is
            constant (no balancing of gradients).
        adversarial_start: step from which the discriminator is trained and heeded.
        discriminator_width: channels of its first layer.
        discriminator_layers: how often it halves the sides of the image.
        discriminator_rate: its learning rate as a multiple of the autoencoder's.
    """

    pixel: Literal["l1", "l2"] = "l2"
    pixel_weight: float = 1.0
    perceptual: str = ""
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.0
    adversarial_start: int = 0
    discriminator_width: int = 32
    discriminator_layers: int = 2
    discriminator_rate: float = 1.0

    def __post_init__(self) -> None:
        _at_least(self, 0, "pixel_weight", "perceptual_weight", "adversarial_weight", "adversarial_start")
        _at_least(self, 1, "discriminator_width", "discriminator_layers")
        if not self.discriminator_rate > 0:
            raise UsageError(f"discriminator_rate is {self.discriminator_rate}; it must be above 0")
        if not (self.pixel_weight or (self.perceptual and self.perceptual_weight)):
            raise UsageError(
                "pixel_weight is 0 and there is no perceptual distance, so that nothing asks for a faithful image; "
                "set one of them"
            )


@settings
class AutoencoderObjective:
    """What an autoencoder is trained on besides rebuilding its images.

    Attributes:
        kl_weight: weight of KL(q(latent | image) | N(0, 1)) in nats per latent number.
        flip: mirror images at random, left to right.
        shift: largest random translation in pixels (0 for none), filled with the darkest level.
        scale_images: training images on which scale and shift of the latents are measured in the end.
    """

    kl_weight: float = 1e-4
    flip: bool = False
    shift: int = 0
    scale_images: int = 4096

    def __post_init__(self) -> None:
        _at_least(self, 0, "kl_weight", "shift")
        _at_least(self, 1, "scale_images")


@settings
class DecoderObjective:
    """What a decoder learns: to map noisy latents straight to the clean image, the encoder frozen.

    Attributes:
        start: the autoencoder to begin with: a run or model folder, a folder or file of published weights, or a
            hub id.
        sigma: standard deviation of the Gaussian noise on scaled latents.
        flip: mirror images at random, left to right.
        shift: largest random translation in pixels (0 for none), filled with the darkest level.
    """

    start: str = ""
    sigma: float = 0.3
    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma > 0):
            raise UsageError(f"sigma is {self.sigma}; give the standard deviation of the latents' noise, above 0")
        _at_least(self, 0, "shift")


@settings
class AutoencoderEvaluation:
    """How an autoencoder is measured.

    Attributes:
        sigma: noise on scaled latents at which the decoder is measured too; 0 takes what the decoder was trained
            with, and leaves the row out for one that was trained without.
        fid: FID and KID of reconstructions, in the features of a classifier trained on the same labelled images.
        baselines: for a fine-tuned decoder, measure the one that it started from too.
    """

    sigma: float = 0.0
    fid: bool = False
    baselines: bool = True

    def __post_init__(self) -> None:
        _at_least(self, 0, "sigma")


def _at_least(settings: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= least):
            raise UsageError(f"{name} is {value}; it must be at least {least}")
