"""Networks of other libraries as N(y, c_noise, label)."""

import json
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.nn.attention import differentiable_attention


class DiffusersNetwork(nn.Module):
    """A ``UNet2DModel`` of the package diffusers. c_noise is the (fractional) index of its step."""

    def __init__(self, definition: str) -> None:
        super().__init__()
        kind, settings = diffusers_network(), json.loads(definition)
        self.unet: Any = kind.from_config(settings)
        self.classes = int(settings.get("num_class_embeds") or 0)

    def forward(
        self, y: Float[Tensor, "n c h w"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Its output. Raises UsageError for a network of classes that is told none."""
        if self.classes and label is None:
            raise UsageError(f"the network knows {self.classes} classes; say which, with given(label)")
        with differentiable_attention(y):
            out: Tensor = self.unet(y, noise, class_labels=label if self.classes else None).sample
        return out


def diffusers_network() -> Any:
    """The class ``UNet2DModel``. Raises UsageError where the package is missing."""
    try:
        from diffusers import UNet2DModel
    except ImportError:
        raise UsageError(
            "networks in diffusers' format need that package; run: pip install 'tenfold[diffusers]'"
        ) from None
    return UNet2DModel
