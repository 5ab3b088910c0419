"""The masked network over the channels of a position: what Mix-1 predicts of channel i from the body's features and
the channels before it (arXiv:2507.00425, appendix on costs: sizes; the features of a channel are not published)."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

_FEATURES = 3  # of a channel: z, sin z, cos z, so that a far channel does not swamp the others


class MaskedLinear(nn.Linear):
    """A linear map of which some weights are 0 always."""

    mask: Tensor

    def __init__(self, mask: Bool[Tensor, "out into"]) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)
        # Rows that see little would start too small.
        with torch.no_grad():
            seen = mask.sum(1, keepdim=True).clamp_min(1)
            self.weight.mul_((mask.shape[1] / seen).sqrt())

    def forward(self, x: Float[Tensor, "*b into"]) -> Float[Tensor, "*b out"]:
        """(..., into) -> (..., out)."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MaskedChannels(nn.Module):
    """(..., c, 3K) numbers from features (..., w) and channels (..., c), those of channel i from channels before i.

    Three masked maps: 3(c − 1) -> E(c − 1), [w, E(c − 1)] -> (D/2)c, (D/2)c -> 3Kc, E = min(max(1, ⌊9D/16/(c − 1)⌋),
    96), D = ``hidden``. The last starts at zero, the means spread over [−3, 3]; of a coupling ``behind`` others, whose
    channels are nearly normal, over [−½, ½] with variance 1 in all, so that it begins nearly as the identity."""

    def __init__(self, channels: int, width: int, hidden: int, components: int, behind: bool = False) -> None:
        super().__init__()
        self.channels, self.components = channels, components
        earlier, half = channels - 1, hidden // 2
        size = min(max(1, int(hidden * 9 / 16 / earlier)), 96) if earlier else 0
        place = torch.arange(channels)
        known = place[:-1].repeat_interleave(_FEATURES)
        joined = torch.cat([torch.full((width,), -1), place[:-1].repeat_interleave(size)])
        middle, last = place.repeat_interleave(half), place.repeat_interleave(3 * components)
        self.embed = MaskedLinear(joined[width:, None] >= known) if earlier else None
        self.join = MaskedLinear(middle[:, None] > joined)
        self.out = MaskedLinear(last[:, None] >= middle)
        with torch.no_grad():
            self.out.weight.zero_()
            reach = 0.5 if behind else 3.0
            spread = torch.linspace(-reach, reach, components) if components > 1 else torch.zeros(1)
            # Its variance in a formula, since the network may be made without numbers.
            between = reach**2 * (components + 1) / (3 * (components - 1)) if components > 1 else 0.0
            scale = math.sqrt(1 - between) if behind else min(1.0, 8 / components)
            log_scale = torch.full((components,), scale).log()
            self.out.bias.copy_(torch.cat([torch.zeros(components), spread, log_scale]).repeat(channels))

    def forward(self, features: Float[Tensor, "*b w"], values: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c outputs"]:
        """All channels in one pass; the last channel is not looked at."""
        parts = [features]
        if self.embed is not None:
            z = values[..., :-1].to(features.dtype)
            read = torch.stack([z, z.sin(), z.cos()], -1).flatten(-2)
            parts.append(F.gelu(self.embed(read)))
        return self.out(F.gelu(self.join(torch.cat(parts, -1)))).unflatten(-1, (self.channels, 3 * self.components))
