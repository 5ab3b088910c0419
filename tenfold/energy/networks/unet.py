"""A small U-Net: residual convolutions at several resolutions, attention at the lowest."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.energy.config import BackboneConfig
from tenfold.energy.networks.attention import SelfAttention
from tenfold.energy.networks.embedding import ACTIVATIONS, LevelAndClass
from tenfold.nn.attention import differentiable_attention

_GROUPS = 8


class ConvolutionBlock(nn.Module):
    """skip(h) + conv(act(norm(conv(act(norm(h)))·(1 + scale) + shift))), scale and shift from the condition."""

    def __init__(self, inward: int, outward: int, width: int, activation: str) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(_GROUPS, inward), nn.GroupNorm(_GROUPS, outward)
        self.inner = nn.Conv2d(inward, outward, 3, padding=1)
        self.outer = nn.Conv2d(outward, outward, 3, padding=1)
        self.condition = nn.Linear(width, 2 * outward)
        self.skip = nn.Conv2d(inward, outward, 1) if inward != outward else nn.Identity()
        self.activation = ACTIVATIONS[activation]()

    def forward(self, h: Float[Tensor, "n c h w"], condition: Float[Tensor, "n width"]) -> Float[Tensor, "n o h w"]:
        """One block."""
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, 1)
        inside = self.inner(self.activation(self.norm_in(h)))
        inside = self.activation(self.norm_out(inside) * (1 + scale) + shift)
        out: Tensor = self.skip(h) + self.outer(inside)
        return out


class UNet(nn.Module):
    """Down to the lowest resolution and up again, with what was seen on the way down beside what comes up."""

    def __init__(self, config: BackboneConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        channels = [config.width * 2 ** min(1, level) for level in range(config.resolutions)]
        inner = 2 * config.width
        self.condition = LevelAndClass(config, classes, inner)
        self.activation = ACTIVATIONS[config.activation]()

        def block(inward: int, outward: int) -> ConvolutionBlock:
            return ConvolutionBlock(inward, outward, inner, config.activation)

        self.enter = nn.Conv2d(shape[0], channels[0], 3, padding=1)
        self.down, self.up, here, kept = nn.ModuleList(), nn.ModuleList(), channels[0], [channels[0]]
        for level, wide in enumerate(channels):
            blocks = nn.ModuleList()
            for _ in range(config.layers):
                blocks.append(block(here, wide))
                here = wide
                kept.append(here)
            self.down.append(blocks)
            if level < len(channels) - 1:
                kept.append(here)
        self.before, self.attention, self.after = (
            block(here, here),
            SelfAttention(here, config.head_size),
            block(here, here),
        )
        for wide in reversed(channels):
            blocks = nn.ModuleList()
            for _ in range(config.layers + 1):
                blocks.append(block(here + kept.pop(), wide))
                here = wide
            self.up.append(blocks)
        self.norm, self.leave = nn.GroupNorm(_GROUPS, here), nn.Conv2d(here, shape[0], 3, padding=1)

    def forward(
        self, y: Float[Tensor, "n c h w"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """N(y, c_noise, label)."""
        condition = self.activation(self.condition(noise, label))
        h = self.enter(y)
        kept = [h]
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, condition)
                kept.append(h)
            if level < len(self.down) - 1:
                h = F.avg_pool2d(h, 2)
                kept.append(h)
        h = self.before(h, condition)
        tokens = h.flatten(2).transpose(1, 2)
        with differentiable_attention(y):
            h = h + self.attention(tokens).transpose(1, 2).view_as(h)
        h = self.after(h, condition)
        for level, blocks in enumerate(self.up):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(torch.cat([h, kept.pop()], 1), condition)
            if level < len(self.up) - 1:
                h = F.interpolate(h, scale_factor=2.0, mode="nearest")
        out: Tensor = self.leave(self.activation(self.norm(h)))
        return out
