"""What a user can set about transformer layers. Imports no PyTorch."""

import math
from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

# Pairs of a head's coordinates that belong to the third axis of rotary positions (text or time), where there is one.
THIRD = 8


@settings
class LayerConfig:
    """Shape of a pre-norm transformer layer.

    Attributes:
        width: width of the residual stream.
        head_size: width of an attention head.
        heads: query heads; 0 takes width / head_size.
        kv_heads: key and value heads, each shared by heads / kv_heads queries; 0 takes as many as ``heads``.
        expansion: hidden width of the feed-forward part, in multiples of ``width``.
        norm: "layer" (LayerNorm) or "rms" (RMSNorm).
        feed_forward: "gelu" (two matrices, exact GELU) or "swiglu" (gated, with the tanh form of GELU).
        bias: biases of the linear maps.
        qk_norm: RMSNorm of queries and keys, head by head.
        post_norm: RMSNorm of each branch's output before it is added.
        rotary: rotary positions: "none", "interleaved" (pairs of neighbours) or "half" (the two halves of a head).
        dropout: dropout rate of both branches while training.
    """

    width: int = 64
    head_size: int = 64
    heads: int = 0
    kv_heads: int = 0
    expansion: float = 4.0
    norm: Literal["layer", "rms"] = "layer"
    feed_forward: Literal["gelu", "swiglu"] = "gelu"
    bias: bool = True
    qk_norm: bool = False
    post_norm: bool = False
    rotary: Literal["none", "interleaved", "half"] = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "", width=1, head_size=1, heads=0, kv_heads=0)
        if not self.heads and self.width % self.head_size:
            raise UsageError(f"width {self.width} is not a multiple of head_size {self.head_size}; change one of them")
        if self.query_heads % self.key_heads:
            raise UsageError(
                f"{self.query_heads} heads cannot share {self.key_heads} key-value heads evenly; choose kv_heads that "
                f"divides {self.query_heads}"
            )
        if not 0 < self.expansion < math.inf or int(self.width * self.expansion) < 1:
            raise UsageError(f"expansion is {self.expansion}; the feed-forward part needs at least one hidden unit")
        if self.rotary != "none" and self.head_size % 2:
            raise UsageError(f"head_size is {self.head_size}; rotary positions need an even one")
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"dropout is {self.dropout}; it must lie in [0, 1)")

    @property
    def query_heads(self) -> int:
        """Query heads."""
        return self.heads or self.width // self.head_size

    @property
    def key_heads(self) -> int:
        """Key and value heads."""
        return self.kv_heads or self.query_heads

    @property
    def hidden(self) -> int:
        """Hidden width of the feed-forward part."""
        return int(self.width * self.expansion)

    @property
    def plain(self) -> bool:
        """Whether this is the textbook layer (LayerNorm, biases, GELU, one key head a query head), whatever its
        positions."""
        usual = (self.norm, self.feed_forward, self.bias) == ("layer", "gelu", True)
        return usual and not self.qk_norm and not self.post_norm and self.key_heads == self.query_heads
