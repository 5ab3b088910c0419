"""The pre-norm transformer layer."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.nn.attention import CausalAttention, KeyValueCache
from tenfold.nn.norm import LayerNorm


class FeedForward(nn.Module):
    """Pre-norm two-layer perceptron with exact GELU."""

    def __init__(self, width: int, expansion: int = 4) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.up = nn.Linear(width, expansion * width)
        self.down = nn.Linear(expansion * width, width)

    def forward(self, x: Float[Tensor, "*b width"]) -> Float[Tensor, "*b width"]:
        """(..., width) -> (..., width)."""
        return self.down(F.gelu(self.up(self.norm(x))))


class TransformerLayer(nn.Module):
    """h += attention(h); h += feed_forward(h), with ``dropout`` on both branches in training mode."""

    def __init__(self, width: int, head_size: int, expansion: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = CausalAttention(width, head_size)
        self.mlp = FeedForward(width, expansion)
        self.dropout = dropout

    def forward(
        self,
        h: Float[Tensor, "b n width"],
        cache: KeyValueCache | None = None,
        temperature: float | Float[Tensor, "b"] = 1.0,
    ) -> Float[Tensor, "b n width"]:
        """One layer over n tokens (see ``CausalAttention`` for cache and temperature)."""
        h = h + F.dropout(self.attention(h, cache, temperature), self.dropout, self.training)
        return h + F.dropout(self.mlp(h), self.dropout, self.training)
