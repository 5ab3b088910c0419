"""What a user can set about STARFlow's network. Imports no PyTorch."""

import math
from dataclasses import dataclass, field
from typing import Literal

from tenfold.errors import UsageError
from tenfold.nn.config import THIRD, LayerConfig


def _layer() -> LayerConfig:
    return LayerConfig(width=256, head_size=64, rotary="interleaved")


@dataclass(frozen=True)
class StarFlowConfig:
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
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "layers", tuple(int(n) for n in self.layers))
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
        for name in ("classes", "text_tokens", "text_dim"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if bool(self.text_tokens) != bool(self.text_dim):
            raise UsageError(
                f"text_tokens is {self.text_tokens} and text_dim {self.text_dim}; set both, or both to 0 for no text"
            )
        if self.classes and self.text_tokens:
            raise UsageError("set classes or text_tokens, not both: a flow takes one kind of condition")
        if not self.side >= 0:
            raise UsageError(f"side is {self.side}; it must be at least 0 (0 takes it from shape)")
        for name, layer in (("shallow", self.shallow), ("deep", self.deep)):
            if layer.rotary == "none":
                raise UsageError(f"{name}.rotary is none; STARFlow has rotary positions, interleaved or half")
            if self.prefix and layer.head_size // 2 <= THIRD:
                raise UsageError(
                    f"{name}.head_size is {layer.head_size}; rotary positions with a prefix of text or class keep "
                    f"{THIRD} pairs of a head for it, so that heads must be wider than {2 * THIRD}"
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
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return self.shape[1] // self.patch, self.shape[2] // self.patch

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return self.grid[0] * self.grid[1]

    @property
    def token_dim(self) -> int:
        """D, the dimensions of a token."""
        return self.shape[0] * self.patch**2

    @property
    def dimensions(self) -> int:
        """T·D, the dimensions of a latent."""
        return math.prod(self.shape)

    @property
    def extent(self) -> float:
        """Side of the square whose mean extent positions have, in tokens."""
        return self.side or math.sqrt(self.tokens)

    def reverse(self, index: int) -> bool:
        """Whether a block reads the tokens from the last to the first."""
        return (index % 2 == 0) == (self.order == "L2R")

    # What the code for all flows asks of a configuration
    is_image = True
    layout = "channel_last"
    context = 0
    volume_preserving = False
