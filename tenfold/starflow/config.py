"""What a user can set about STARFlow: its network, data, training, measuring and sampling. Imports no PyTorch."""

import math
from dataclasses import field
from typing import Literal

from tenfold.data.captions.config import CaptionDataConfig, TextEncoderConfig
from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError
from tenfold.flows.options import FlowConfig, GuidedSampling
from tenfold.nn.config import THIRD, LayerConfig
from tenfold.settings.checks import at_least, settings


def _layer() -> LayerConfig:
    return LayerConfig(width=256, head_size=64, rotary="interleaved")


@settings
class StarFlowConfig(FlowConfig):
    """Geometry of a STARFlow (arXiv 2506.06276): blocks in data-to-noise order, of which the last, the deep one, is
    sampled first and alone sees the text or class (``condition`` "top").

    Attributes:
        shape: (channels, height, width) of the latents of training; other heights and widths work on the same
            weights.
        patch: side of the square patches that become tokens.
        layers: transformer layers of each block; the last entry is the deep block's.
        shallow: layers of all blocks but the last.
        deep: layers of the last block.
        order: "L2R" reverses the blocks with even indices, "R2L" those with odd ones.
        start_token: a learned token before the first, so that token 0 is transformed as well.
        scale: map from network outputs to scales: "softplus" (1 at output 0) or "exp".
        soft_clip: c of the clip c·tanh(o / c) of the network's outputs; 0 for none.
        final_norm: RMSNorm before the output layer.
        classes: number of class labels, given as a prefix of one token; 0 for none.
        text_tokens: most tokens of a text prefix; 0 for no text.
        text_dim: width of the text encoder's vectors.
        condition: "top", the last block alone sees the prefix, or "all".
        deep_positions: rotary positions of the deep block: "grid", or "line" (a language model's, text and image on
            one line).
        side: side of the square whose mean extent positions have, in tokens; 0 takes it from ``shape``.
    """

    shape: tuple[int, ...] = (4, 32, 32)
    patch: int = 1
    layers: tuple[int, ...] = (2, 2, 2, 2, 2, 18)
    shallow: LayerConfig = field(default_factory=_layer)
    deep: LayerConfig = field(default_factory=_layer)
    order: Literal["L2R", "R2L"] = "L2R"
    start_token: bool = True
    scale: Literal["softplus", "exp"] = "softplus"
    soft_clip: float = 4.0
    final_norm: bool = True
    classes: int = 0
    text_tokens: int = 0
    text_dim: int = 0
    condition: Literal["top", "all"] = "top"
    deep_positions: Literal["grid", "line"] = "grid"
    side: float = 0.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise UsageError(f"shape is {self.shape}; give the latents' (channels, height, width)")
        if self.patch < 1 or self.shape[1] % self.patch or self.shape[2] % self.patch:
            raise UsageError(
                f"latents of {self.shape[1]}x{self.shape[2]} cannot be cut into {self.patch}x{self.patch} patches; "
                "choose a patch that divides both sides"
            )
        if not self.layers or min(self.layers) < 1:
            raise UsageError(f"layers is {self.layers}; give the transformer layers of each block, such as 2,2,2,8")
        if not (self.soft_clip >= 0 and math.isfinite(self.soft_clip)):
            raise UsageError(f"soft_clip is {self.soft_clip}; give a positive bound, or 0 for none")
        at_least(self, "", classes=0, text_tokens=0, text_dim=0)
        if bool(self.text_tokens) != bool(self.text_dim):
            raise UsageError(
                f"text_tokens is {self.text_tokens} and text_dim {self.text_dim}; set both, or both to 0 for no text"
            )
        if self.classes and self.text_tokens:
            raise UsageError("set classes or text_tokens, not both: a flow takes one kind of condition")
        if not 0 <= self.side < math.inf:
            raise UsageError(f"side is {self.side}; it must be at least 0 (0 takes it from shape)")
        for name, layer in (("shallow", self.shallow), ("deep", self.deep)):
            if layer.rotary == "none":
                raise UsageError(f"{name}.rotary is none; STARFlow has rotary positions, interleaved or half")
            if self.prefix and layer.head_size // 2 <= THIRD:
                raise UsageError(
                    f"{name}.head_size is {layer.head_size}; rotary positions with a prefix of text or class keep "
                    f"{THIRD} pairs of a head for it, so that heads must be wider than {2 * THIRD}"
                )
            if layer.head_size % 4 and (name == "shallow" or self.deep_positions == "grid"):
                raise UsageError(
                    f"{name}.head_size is {layer.head_size}; it must be a multiple of 4, so that rows and columns have "
                    "equally many pairs of a head"
                )

    @property
    def blocks(self) -> int:
        """K, the number of blocks."""
        return len(self.layers)

    @property
    def prefix(self) -> int:
        """Most tokens before the latent: of text, 1 for a class, 0 without a condition."""
        return self.text_tokens or int(self.classes > 0)

    @property
    def prefix_dim(self) -> int:
        """Width of a prefix vector: the text encoder's, or a one-hot of the classes and "none"."""
        return self.text_dim or (self.classes + 1 if self.classes else 0)

    @property
    def extent(self) -> float:
        """Side of the square whose mean extent positions have, in tokens."""
        return self.side or math.sqrt(self.tokens)

    def reverse(self, index: int) -> bool:
        """Whether a block reads the tokens from the last to the first."""
        return (index % 2 == 0) == (self.order == "L2R")

    layout = "channel_last"


@settings
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


@settings
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
        at_least(self, "", norm_penalty=0)


@settings
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
        at_least(self, "evaluation", draws=1, samples=0, images=0, timing=0, calibrate=0)
        if any(not 0 <= weight < math.inf for weight in self.guidance):
            raise UsageError(f"guidance is {self.guidance}; weights must be at least 0 (0 is no guidance)")


@settings
class StarFlowSampling(GuidedSampling):
    """Options of ``tenfold sample`` for a latent flow.

    Attributes:
        text: caption of all images; for flows with text.
        ratio: aspect ratio of the images, width:height; "" for that of training, or the first of several.
        guidance: guidance weight w ≥ 0 (the published images have 3 by class and 4 by text).
        rule: how the branches combine; None for the flow's own ("starflow" for softplus scales).
        decoder: "auto" takes the decoder that removes noise if there is one; "plain" the autoencoder's own;
            "denoise" the autoencoder's own after one step along the flow's score.
        autoencoder: decodes instead of the one that the run names: run or model folder, published weights or hub id.
    """

    num: int = 16
    text: str = ""
    ratio: str = ""
    decoder: Literal["auto", "plain", "denoise"] = "auto"
    autoencoder: str = ""


@settings
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
        at_least(self, "", draws=1)
