"""Normalisation layers."""

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
