"""What a user can set about training, measuring and sampling STARFlow. Imports no PyTorch."""

import math
from dataclasses import dataclass, field
from typing import Literal

from tenfold.data.captions.config import CaptionDataConfig, TextEncoderConfig
from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError


@dataclass(frozen=True)
class LatentDataConfig:
    """Which images a latent flow learns, and the autoencoder and text encoder that it sees them through.

    Attributes:
        kind: "images" (with classes, or without) or "captioned".
        images: the images of kind "images".
        captioned: those of kind "captioned", with their captions.
        text: the encoder of the captions.
        autoencoder: run or model folder, folder or file of published weights, or hub id.
        decoder: the same, for a decoder that was taught to remove the latents' noise; "" for none.
        cache: folder of the encoded latents and captions; "" for a folder beside the autoencoder.
        rebuild: encode anew where the cache is of other images or another autoencoder.
    """

    kind: Literal["images", "captioned"] = "images"
    images: ImageDataConfig = field(default_factory=ImageDataConfig)
    captioned: CaptionDataConfig = field(default_factory=CaptionDataConfig)
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    autoencoder: str = ""
    decoder: str = ""
    cache: str = ""
    rebuild: bool = False


@dataclass(frozen=True)
class LatentObjective:
    """What a latent flow is trained on.

    Attributes:
        sigma: standard deviation of the Gaussian noise on the scaled latents (published: 0.3).
        condition_dropout: share of training labels or texts replaced by "none".
        norm_penalty: weight of the mean squares of what enters each block, summed over the blocks.
    """

    sigma: float = 0.3
    condition_dropout: float = 0.1
    norm_penalty: float = 1e-4

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sigma) and self.sigma >= 0):
            raise UsageError(f"sigma is {self.sigma}; a standard deviation cannot be negative")
        if not 0.0 <= self.condition_dropout < 1.0:
            raise UsageError(f"condition_dropout is {self.condition_dropout}; it must lie in [0, 1)")
        if not self.norm_penalty >= 0:
            raise UsageError(f"norm_penalty is {self.norm_penalty}; it must be at least 0")


@dataclass(frozen=True)
class StarFlowEvaluation:
    """How a trained latent flow is measured.

    Attributes:
        draws: noise draws behind a likelihood.
        samples: generated images behind every row about samples; 0 leaves them out.
        guidance: guidance weights at which samples are drawn, by both rules.
        images: test images behind reconstruction rows; 0 leaves them out.
        timing: images whose sampling is timed; 0 for none.
        calibrate: latents behind the calibration of the "auto" sampler that is saved with the weights; 0 for none.
    """

    draws: int = 16
    samples: int = 1000
    guidance: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 5.0)
    images: int = 1000
    timing: int = 64
    calibrate: int = 0

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("samples", 0), ("images", 0), ("timing", 0), ("calibrate", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if any(not weight >= 0 for weight in self.guidance):
            raise UsageError(f"guidance is {self.guidance}; weights must be at least 0 (0 is no guidance)")


@dataclass(frozen=True)
class StarFlowSampling:
    """Options of ``tenfold sample`` for a latent flow.

    Attributes:
        num: how many images.
        classes: class label, or None for no label.
        text: caption of all images; for flows with text.
        ratio: aspect ratio of the images, width:height; "" for that of training, or the first of several.
        guidance: guidance weight w ≥ 0 (the published images have 3 by class and 4 by text).
        rule: how the branches combine; None for the flow's own ("starflow" for softplus scales).
        what: which of log-scale (a) and shift (b) rule "tarflow" extrapolates.
        schedule: constant weight, or linear over the tokens.
        blocks: "all", "top", a number n (the first n sampled blocks), or comma-separated indices.
        attention_temperature: of the second branch, for guiding without a condition.
        decoder: "auto" takes the decoder that removes noise if there is one; "plain" the autoencoder's own;
            "denoise" the autoencoder's own after one step along the flow's score.
        autoencoder: decodes instead of the one that the run names: run or model folder, published weights or hub id.
        solver: how the inverse is computed.
        tolerance: residual at which a parallel solver stops; its own default if not given.
        seed: of the noise.
    """

    num: int = 16
    classes: int | None = None
    text: str = ""
    ratio: str = ""
    guidance: float = 0.0
    rule: Literal["tarflow", "starflow"] | None = None
    what: Literal["ab", "a", "b"] = "ab"
    schedule: Literal["const", "linear"] = "const"
    blocks: str = "all"
    attention_temperature: float = 1.0
    decoder: Literal["auto", "plain", "denoise"] = "auto"
    autoencoder: str = ""
    solver: Literal["sequential", "jacobi", "gs", "selective", "frontier", "auto"] = "auto"
    tolerance: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class StarFlowScoring:
    """Options of ``tenfold score`` for a latent flow.

    Attributes:
        classes: class label y of log p(latent|y); without one, p is averaged over the classes where there are any.
        text: caption of all images, for flows with text; without one the null text stands.
        draws: noise draws for each image, of the noise that the flow was trained with.
        resize: scale and crop image files to the model's size, as training does.
        key: which array of an .npz file.
        autoencoder: encodes instead of the one that the run names.
        seed: of the noise.
    """

    classes: int | None = None
    text: str = ""
    draws: int = 16
    resize: bool = False
    key: str = ""
    autoencoder: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise UsageError(f"draws is {self.draws}; give at least 1")
