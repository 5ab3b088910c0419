"""The pre-norm transformer layer."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.nn.attention import CausalAttention, KeyValueCache
from tenfold.nn.config import LayerConfig
from tenfold.nn.norm import RMSNorm, norm_of


class FeedForward(nn.Module):
    """Pre-norm perceptron: down(GELU(up)), or gated, down(GELU(gate) · up) with the tanh form of GELU."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.norm = norm_of(config.norm, config.width)
        self.gate = None
        if config.feed_forward == "swiglu":
            self.gate = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.up = nn.Linear(config.width, config.hidden, bias=config.bias)
        self.down = nn.Linear(config.hidden, config.width, bias=config.bias)
        self.post_norm = RMSNorm(config.width) if config.post_norm else None

    def forward(self, x: Float[Tensor, "*b width"]) -> Float[Tensor, "*b width"]:
        """(..., width) -> (..., width)."""
        x = self.norm(x)
        hidden = F.gelu(self.up(x)) if self.gate is None else F.gelu(self.gate(x), approximate="tanh") * self.up(x)
        result = self.down(hidden)
        return result if self.post_norm is None else self.post_norm(result)


class TransformerLayer(nn.Module):
    """h += attention(h); h += feed_forward(h), with dropout on both branches in training mode."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.config = config
        self.attention = CausalAttention(config)
        self.mlp = FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self,
        h: Float[Tensor, "b n width"],
        cache: KeyValueCache | None = None,
        temperature: float | Float[Tensor, "b"] = 1.0,
        rotary: Float[Tensor, "2 n half"] | None = None,
    ) -> Float[Tensor, "b n width"]:
        """One layer over n tokens (see ``CausalAttention`` for the arguments)."""
        h = h + F.dropout(self.attention(h, cache, temperature, rotary), self.dropout, self.training)
        return h + F.dropout(self.mlp(h), self.dropout, self.training)
