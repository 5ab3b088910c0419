"""Networks over vectors: residual layers, and plain linear layers as PITA publishes them."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.energy.config import BackboneConfig
from tenfold.energy.networks.embedding import ACTIVATIONS, LevelAndClass


class ResidualLayer(nn.Module):
    """h + W₂ act(W₁ LayerNorm(h) + condition)."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width), nn.Linear(width, width)
        self.condition, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, h: Float[Tensor, "n width"], condition: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """One layer."""
        changed: Tensor = h + self.outer(self.activation(self.inner(self.norm(h)) + self.condition(condition)))
        return changed


class ResidualMLP(nn.Module):
    """Residual layers over the flattened sample."""

    def __init__(self, config: BackboneConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        width, dimensions = config.width, math.prod(shape)
        self.condition = LevelAndClass(config, classes, width)
        self.activation = ACTIVATIONS[config.activation]()
        self.enter = nn.Linear(dimensions, width)
        self.layers = nn.ModuleList(ResidualLayer(width, config.activation) for _ in range(config.layers))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, dimensions)

    def forward(
        self, y: Float[Tensor, "n *shape"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n *shape"]:
        """N(y, c_noise, label)."""
        condition = self.activation(self.condition(noise, label))
        h = self.enter(y.flatten(1))
        for layer in self.layers:
            h = layer(h, condition)
        out: Tensor = self.leave(self.norm(h))
        return out.view_as(y)


class Perceptron(nn.Module):
    """Linear layers l1, l2, ... with SiLU between them over (y, c_noise, inverse temperature)."""

    def __init__(self, config: BackboneConfig, shape: tuple[int, ...]) -> None:
        super().__init__()
        widths = [shape[0] + 2, *[config.width] * (config.layers - 1), shape[0]]
        for i in range(config.layers):
            self.add_module(f"l{i + 1}", nn.Linear(widths[i], widths[i + 1]))
        self.inverse_temperature = config.inverse_temperature

    def forward(
        self, y: Float[Tensor, "n d"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n d"]:
        """N(y, c_noise); there are no classes."""
        h = torch.cat([y, noise[:, None], torch.full_like(noise[:, None], self.inverse_temperature)], 1)
        *inner, last = self.children()
        for layer in inner:
            h = F.silu(layer(h))
        out: Tensor = last(h)
        return out
