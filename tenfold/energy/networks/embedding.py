"""What a network is told besides its input: the noise level and the class."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.energy.config import BackboneConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "softplus": nn.Softplus}
_HIGHEST = 32.0


class LevelAndClass(nn.Module):
    """Noise level and class as one vector.

    The level, c_noise, is told by sines and cosines of 1 to 32 times it, the class by a learned vector; label −1 is
    the vector of no class.
    """

    frequencies: Tensor

    def __init__(self, config: BackboneConfig, classes: int, width: int) -> None:
        super().__init__()
        rates = _HIGHEST ** torch.linspace(0, 1, config.frequencies)
        self.register_buffer("frequencies", rates, persistent=False)
        self.level = nn.Sequential(
            nn.Linear(2 * config.frequencies, width), ACTIVATIONS[config.activation](), nn.Linear(width, width)
        )
        self.label = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None) -> Float[Tensor, "n width"]:
        """c_noise and labels in [−1, classes) to vectors; no labels are −1 everywhere."""
        angles = noise[:, None] * self.frequencies.to(noise)
        vector: Tensor = self.level(torch.cat([angles.sin(), angles.cos()], 1))
        if self.label is None:
            return vector
        number = torch.full(noise.shape, -1, device=noise.device) if label is None else label
        vector = vector + self.label(number + 1)
        return vector
