"""A transformer over patches of an image, whose layers are told noise level and class (DiT, arXiv 2212.09748)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.energy.config import BackboneConfig
from tenfold.energy.networks.attention import SelfAttention
from tenfold.energy.networks.embedding import ACTIVATIONS, LevelAndClass
from tenfold.nn.attention import differentiable_attention


class ConditionedLayer(nn.Module):
    """Attention and perceptron, each scaled, shifted and gated by the condition."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.attention = SelfAttention(width, config.head_size)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), ACTIVATIONS[config.activation](), nn.Linear(4 * width, width)
        )
        self.condition = nn.Linear(width, 6 * width)

    def forward(self, h: Float[Tensor, "n t width"], condition: Float[Tensor, "n width"]) -> Float[Tensor, "n t width"]:
        """One layer."""
        scales = self.condition(condition)[:, None].chunk(6, -1)
        h = h + (1 + scales[0]) * self.attention(h * (1 + scales[1]) + scales[2])
        inside = self.mlp(self.norm(h) * (1 + scales[3]) + scales[4])
        out: Tensor = h + (1 + scales[5]) * inside
        return out


class PatchTransformer(nn.Module):
    """Patches with learned positions, layers, and back."""

    def __init__(self, config: BackboneConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.patch, width = config.patch, config.width
        pixels = shape[0] * config.patch**2
        self.condition = LevelAndClass(config, classes, width)
        self.activation = ACTIVATIONS[config.activation]()
        self.enter = nn.Linear(pixels, width)
        self.places = nn.Parameter(0.1 * torch.randn((shape[1] // config.patch) * (shape[2] // config.patch), width))
        self.layers = nn.ModuleList(ConditionedLayer(config) for _ in range(config.layers))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, pixels)

    def forward(
        self, y: Float[Tensor, "n c h w"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """N(y, c_noise, label)."""
        condition = self.activation(self.condition(noise, label))
        h = self.enter(F.unfold(y, self.patch, stride=self.patch).transpose(1, 2)) + self.places
        with differentiable_attention(y):
            for layer in self.layers:
                h = layer(h, condition)
        pixels = self.leave(self.norm(h)).transpose(1, 2)
        return F.fold(pixels, (y.shape[2], y.shape[3]), self.patch, stride=self.patch)
