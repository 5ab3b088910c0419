"""Normalisation layers."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LayerNorm(nn.LayerNorm):
    """Layer normalisation whose statistics are taken in float32 at least, whatever the input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width), same dtype."""
        if x.dtype in (torch.bfloat16, torch.float16):
            return F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps).to(
                x.dtype
            )
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """x / rms(x) · (1 + weight), in float32 at least; the weight is stored as its offset from one."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width), same dtype."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return F.rms_norm(wide, self.weight.shape, 1.0 + self.weight.to(wide.dtype), self.eps).to(x.dtype)


def norm_of(kind: Literal["layer", "rms"], width: int) -> nn.Module:
    """The normalisation that a layer's configuration names."""
    return LayerNorm(width) if kind == "layer" else RMSNorm(width)
