"""Normalisation layers."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.nn.precision import at_least_single


class LayerNorm(nn.LayerNorm):
    """Layer normalisation whose statistics are taken in float32 at least, whatever the input's dtype."""

    def forward(self, x: Float[Tensor, "*b width"]) -> Float[Tensor, "*b width"]:
        """Same shape and dtype."""
        wide, weight, bias = map(at_least_single, (x, self.weight, self.bias))
        return F.layer_norm(wide, self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class RMSNorm(nn.Module):
    """x / rms(x) · (1 + weight), in float32 at least; the weight is stored as its offset from one."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "*b width"]) -> Float[Tensor, "*b width"]:
        """Same shape and dtype."""
        wide = at_least_single(x)
        return F.rms_norm(wide, self.weight.shape, 1.0 + self.weight.to(wide.dtype), self.eps).to(x.dtype)


class GroupNorm(nn.GroupNorm):
    """Group normalisation whose statistics are taken in float32 at least, whatever the input's dtype."""

    def forward(self, x: Float[Tensor, "b width *size"]) -> Float[Tensor, "b width *size"]:
        """Same shape and dtype."""
        wide, weight, bias = map(at_least_single, (x, self.weight, self.bias))
        return F.group_norm(wide, self.num_groups, weight, bias, self.eps).to(x.dtype)


def norm_of(kind: Literal["layer", "rms"], width: int) -> nn.Module:
    """The normalisation that a layer's configuration names."""
    return LayerNorm(width) if kind == "layer" else RMSNorm(width)
