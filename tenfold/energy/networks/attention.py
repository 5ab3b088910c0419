"""Attention of every token to every other."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Pre-norm multi-head self-attention without a mask."""

    def __init__(self, width: int, head_size: int) -> None:
        super().__init__()
        self.heads, self.norm = width // head_size, nn.LayerNorm(width)
        self.packed, self.leave = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, h: Float[Tensor, "n t width"]) -> Float[Tensor, "n t width"]:
        """Without the residual."""
        n, tokens, width = h.shape
        packed = self.packed(self.norm(h)).view(n, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        out: Tensor = self.leave(mixed.transpose(1, 2).reshape(n, tokens, width))
        return out
