"""A network over particles that turns with them and does not know their order (EGNN, arXiv 2102.09844)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.energy.config import BackboneConfig
from tenfold.energy.molecules.centred import to_coordinates, to_positions
from tenfold.energy.networks.embedding import ACTIVATIONS, LevelAndClass


class EquivariantLayer(nn.Module):
    """Messages over all pairs move the particles along their differences, and change what is known of each."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        act = ACTIVATIONS[activation]
        # What the two particles know enters by a map of each alone, so that no tensor of pairs is twice as wide.
        self.own, self.other = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.lengths = nn.Linear(2, width, bias=False)
        self.message = nn.Sequential(act(), nn.Linear(width, width), act())
        self.weight = nn.Linear(width, 1)
        self.move = nn.Sequential(nn.Linear(width, width), act(), nn.Linear(width, 1, bias=False))
        self.update = nn.Sequential(nn.Linear(2 * width, width), act(), nn.Linear(width, width))

    def forward(
        self, x: Float[Tensor, "n p s"], h: Float[Tensor, "n p width"], first: Float[Tensor, "n p p"]
    ) -> tuple[Float[Tensor, "n p s"], Float[Tensor, "n p width"]]:
        """Positions and features after one layer; ``first`` are the squared distances that the network was given."""
        others = 1 - torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        between = x[:, :, None] - x[:, None]
        squared = between.square().sum(-1)
        told = self.own(h)[:, :, None] + self.other(h)[:, None] + self.lengths(torch.stack([squared, first], -1))
        message = self.message(told)
        message = message * (self.weight(message).sigmoid() * others[..., None])
        # Smooth at zero distance too, where the square root of it alone would have no derivative.
        share = self.move(message).squeeze(-1) * others / ((squared + 1e-4).sqrt() + 1) / (x.shape[1] - 1)
        moved: Tensor = x + (share[..., None] * between).sum(2)
        features: Tensor = h + self.update(torch.cat([h, message.sum(2) / (x.shape[1] - 1) ** 0.5], -1))
        return moved, features


class EquivariantNetwork(nn.Module):
    """Coordinates without the centre to positions, layers, and back: what the positions moved by, and a multiple of
    the positions that the noise level chooses."""

    def __init__(self, config: BackboneConfig, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.space = config.space
        self.condition = LevelAndClass(config, classes, config.width)
        self.layers = nn.ModuleList(EquivariantLayer(config.width, config.activation) for _ in range(config.layers))
        self.gain = nn.Linear(config.width, 1)

    def forward(
        self, y: Float[Tensor, "n k"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n k"]:
        """N(y, c_noise, label)."""
        start = to_positions(y, self.space)
        condition = self.condition(noise, label)
        h = condition[:, None].expand(-1, start.shape[1], -1)
        first = (start[:, :, None] - start[:, None]).square().sum(-1)
        x = start
        for layer in self.layers:
            x, h = layer(x, h, first)
        return to_coordinates(x - start + self.gain(condition)[:, :, None] * start)
