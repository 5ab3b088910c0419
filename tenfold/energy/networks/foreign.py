"""Networks of the package diffusers as N(y, c_noise, label), the network inside of EDM's scalings with σ_d = 1."""

import json
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.energy.config import DenoisingConfig
from tenfold.errors import UsageError
from tenfold.nn.attention import differentiable_attention


class DiffusersNetwork(nn.Module):
    """A ``UNet2DModel``; c_noise is the (fractional) index of its step.

    It reads x_t = x / √(1 + σ²), which is y; what it predicts becomes N = (D − c_skip x) / c_out:
    −v, or σ y − √(1 + σ²) ε, or (√(1 + σ²) x_0 − y) / σ.
    """

    levels: Tensor

    def __init__(self, config: DenoisingConfig) -> None:
        super().__init__()
        settings = json.loads(config.network.definition)
        self.unet: Any = diffusers_network().from_config(settings)
        self.prediction, self.classes = config.network.prediction, config.classes
        self.register_buffer("levels", torch.tensor(config.steps, dtype=torch.float64).log(), persistent=False)

    def forward(
        self, y: Float[Tensor, "n c h w"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """N. Raises UsageError for a network of classes that is told none."""
        if self.classes and label is None:
            raise UsageError(f"the network knows {self.classes} classes; say which, with given(label)")
        with differentiable_attention(y):
            out: Tensor = self.unet(y, noise, class_labels=label if self.classes else None).sample
        if self.prediction == "v":
            return -out
        below = noise.floor().long().clamp(0, len(self.levels) - 2)
        levels = self.levels.to(noise)
        sigma = torch.lerp(levels[below], levels[below + 1], noise - below).exp().view(-1, 1, 1, 1)
        root = (1 + sigma.square()).sqrt()
        return sigma * y - root * out if self.prediction == "epsilon" else (root * out - y) / sigma


def diffusers_network() -> Any:
    """The class ``UNet2DModel``. Raises UsageError where the package is missing."""
    try:
        from diffusers import UNet2DModel
    except ImportError:
        raise UsageError(
            "networks in diffusers' format need that package; run: pip install 'tenfold[diffusers]'"
        ) from None
    return UNet2DModel
