"""What a user can set about an autoencoder. Imports no PyTorch."""

import math
from typing import Any

from tenfold.errors import UsageError
from tenfold.settings.checks import settings


@settings
class AutoencoderConfig:
    """Geometry of a convolutional autoencoder (the KL autoencoder of latent diffusion, arXiv 2112.10752) and
    the scale of its latents.

    Attributes:
        channels: image channels.
        latent_channels: channels of a latent.
        widths: channels of each level, from the image downwards; every level but the last halves both sides.
        layers_per_block: residual layers of each level of the encoder; the decoder has one more.
        norm_groups: groups of every group normalisation; divides all widths.
        mid_attention: single-head self-attention at the lowest level.
        quant_convs: 1x1 convolutions on either side of the latent.
        scale_factor: what latents are multiplied by; 1 / standard deviation makes them of unit variance.
        shift_factor: what is subtracted from latents before that.
    """

    channels: int = 1
    latent_channels: int = 4
    widths: tuple[int, ...] = (32, 64)
    layers_per_block: int = 1
    norm_groups: int = 8
    mid_attention: bool = True
    quant_convs: bool = True
    scale_factor: float = 1.0
    shift_factor: float = 0.0

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise UsageError(f"widths are {self.widths}; give the channels of each level, (32, 64) say")
        for name in ("channels", "latent_channels", "layers_per_block", "norm_groups"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for width in self.widths:
            if width % self.norm_groups:
                raise UsageError(
                    f"width {width} cannot be split into {self.norm_groups} groups; choose widths that are multiples "
                    "of norm_groups, or another norm_groups"
                )
        if not (math.isfinite(self.scale_factor) and self.scale_factor > 0):
            raise UsageError(
                f"scale_factor is {self.scale_factor}; give what latents are multiplied by, a finite number above 0 "
                "(0.18215 for Stable Diffusion 1)"
            )
        if not math.isfinite(self.shift_factor):
            raise UsageError(
                f"shift_factor is {self.shift_factor}; give what is subtracted from latents, 0 for nothing"
            )

    @property
    def factor(self) -> int:
        """How many times smaller than an image's sides a latent's are."""
        return 2 ** (len(self.widths) - 1)

    @property
    def of_diffusers(self) -> dict[str, Any]:
        """The same geometry as ``AutoencoderKL`` of the package diffusers reads it."""
        return {
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": list(self.widths),
            "down_block_types": ["DownEncoderBlock2D"] * len(self.widths),
            "in_channels": self.channels,
            "latent_channels": self.latent_channels,
            "layers_per_block": self.layers_per_block,
            "mid_block_add_attention": self.mid_attention,
            "norm_num_groups": self.norm_groups,
            "out_channels": self.channels,
            "scaling_factor": self.scale_factor,
            "shift_factor": self.shift_factor,
            "up_block_types": ["UpDecoderBlock2D"] * len(self.widths),
            "use_post_quant_conv": self.quant_convs,
            "use_quant_conv": self.quant_convs,
        }

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(channels, height, width) of the latent of an image of ``height`` x ``width`` pixels.

        Raises UsageError for sides that are no multiples of ``factor``.

        >>> AutoencoderConfig(widths=(32, 64, 64)).latent_shape(40, 24)
        (4, 10, 6)
        """
        factor = self.factor
        if height < 1 or width < 1 or height % factor or width % factor:
            near = [max(1, round(side / factor)) * factor for side in (height, width)]
            raise UsageError(
                f"an image of {height}x{width} cannot be encoded: both sides must be multiples of {factor}; "
                f"resize it, to {near[0]}x{near[1]} say"
            )
        return self.latent_channels, height // factor, width // factor
