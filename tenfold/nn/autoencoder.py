"""The convolutional autoencoder of latent flows and latent diffusion."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.hub.fetch import LAYOUTS
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.nn.border import Values, as_tensor, finite, visible
from tenfold.nn.norm import GroupNorm

# Beyond these the variance of a posterior over- or underflows float32.
_LOG_VARIANCE = (-30.0, 20.0)
T = TypeVar("T", bound="Autoencoder")


class AutoencoderOutput(NamedTuple):
    """The training computation's results: the image rebuilt from a draw of the posterior, and the posterior."""

    reconstruction: Float[Tensor, "b c h w"]
    mean: Float[Tensor, "b l i j"]
    log_variance: Float[Tensor, "b l i j"]


def _norm(width: int, groups: int) -> GroupNorm:
    return GroupNorm(groups, width, eps=1e-6)


class Residual(nn.Module):
    """x + conv(silu(norm(conv(silu(norm x))))), with a 1x1 convolution on x where the width changes."""

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(before, groups), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = _norm(after, groups), nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.conv_shortcut = nn.Conv2d(before, after, 1)
        self.widens = before != after

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """One residual layer."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.conv_shortcut(x) if self.widens else x) + h


class SpatialAttention(nn.Module):
    """Single-head self-attention over all positions, on a residual branch."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = _norm(width, groups)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """One attention layer."""
        tokens = self.group_norm(x).flatten(2).transpose(1, 2).unsqueeze(1)  # one head
        mixed = F.scaled_dot_product_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        return x + self.to_out[0](mixed).squeeze(1).transpose(1, 2).reshape(x.shape)


class MidBlock(nn.Module):
    """The lowest level: a residual layer, attention if asked for, a residual layer."""

    def __init__(self, width: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Residual(width, width, groups) for _ in range(2)])
        if attention:
            self.attentions = nn.ModuleList([SpatialAttention(width, groups)])
        self.attends = attention

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Same shape."""
        x = self.resnets[0](x)
        x = self.attentions[0](x) if self.attends else x
        return self.resnets[1](x)


class Downsample(nn.Module):
    """Strided convolution that halves both sides; padded below and to the right only."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """(b, c, h, w) -> (b, c, h/2, w/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Every pixel doubled, then a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """(b, c, h, w) -> (b, c, 2h, 2w)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """One level of the encoder or the decoder: residual layers, then half or twice the sides (``resizer`` under
    its published name; none at the last level)."""

    def __init__(
        self, before: int, after: int, layers: int, groups: int, *resizer: tuple[str, type[nn.Module]]
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Residual(after if i else before, after, groups) for i in range(layers)])
        for name, kind in resizer:
            self.add_module(name, nn.ModuleList([kind(after)]))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """(b, c, h, w) -> (b, d, h/2, w/2) or (b, d, 2h, 2w), or (b, d, h, w) at the last level."""
        for part in self.children():
            for layer in cast(nn.ModuleList, part):
                x = layer(x)
        return x


def _levels(widths: tuple[int, ...], layers: int, groups: int, resizer: tuple[str, type[nn.Module]]) -> Iterator[Level]:
    for i, width in enumerate(widths):
        yield Level(widths[max(i - 1, 0)], width, layers, groups, *[resizer] * (i < len(widths) - 1))


class Encoder(nn.Module):
    """Image to the moments of the posterior: (b, c, h, w) -> (b, 2 latent, h/f, w/f), means first."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.widths, config.norm_groups
        self.conv_in = nn.Conv2d(config.channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_levels(widths, config.layers_per_block, groups, ("downsamplers", Downsample)))
        self.mid_block = MidBlock(widths[-1], groups, config.mid_attention)
        self.conv_norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b m i j"]:
        """Moments of the posterior, before ``quant_conv``."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latent to image: (b, latent, h, w) -> (b, c, f h, f w)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, groups = config.widths[::-1], config.norm_groups
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], groups, config.mid_attention)
        self.up_blocks = nn.ModuleList(_levels(widths, config.layers_per_block + 1, groups, ("upsamplers", Upsample)))
        self.conv_norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], config.channels, 3, padding=1)

    def forward(self, z: Float[Tensor, "b l h w"]) -> Float[Tensor, "b c i j"]:
        """Image, after ``post_quant_conv``."""
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class Autoencoder(nn.Module):
    """Variational autoencoder in the layout of Stable Diffusion's, whose weights it loads under their names.

    Images (b, channels, h, w) on [−1, 1], of any sides that ``factor`` divides; latents (b, latent_channels,
    h / factor, w / factor). ``encode`` and ``decode`` are about scaled latents, (mean − shift) · scale;
    ``posterior`` and ``forward`` about unscaled ones. Rombach et al., "High-resolution image synthesis with
    latent diffusion models" (arXiv 2112.10752), appendix G.

    >>> import torch
    >>> autoencoder = Autoencoder(AutoencoderConfig(widths=(8, 8, 16), norm_groups=4))
    >>> latents = autoencoder.encode(torch.zeros(2, 1, 40, 24))
    >>> tuple(latents.shape), tuple(autoencoder.decode(latents).shape)
    ((2, 4, 10, 6), (2, 1, 40, 24))
    """

    model_type: ClassVar[str] = "autoencoder"
    config_class: ClassVar[type] = AutoencoderConfig

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        if config.quant_convs:
            self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
            self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    @property
    def factor(self) -> int:
        """How many times smaller than an image's sides a latent's are (8 for Stable Diffusion)."""
        return self.config.factor

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 wraps, and activation checkpointing recomputes, one by one."""
        encoder, decoder = self.encoder, self.decoder
        return [*encoder.down_blocks, encoder.mid_block, decoder.mid_block, *decoder.up_blocks]

    def posterior(self, x: Values) -> tuple[Float[Tensor, "b l i j"], Float[Tensor, "b l i j"]]:
        """Mean and logarithm of the variance of q(latent | x), unscaled.

        Raises UsageError for another number of channels and for sides that ``factor`` does not divide."""
        x = self._taken(x, "images", "the autoencoder reads", self.config.channels, 16.0)
        self.config.latent_shape(x.shape[2], x.shape[3])
        moments = self.encoder(x)
        moments = self.quant_conv(moments) if self.config.quant_convs else moments
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance.clamp(*_LOG_VARIANCE)

    def encode(self, x: Values) -> Float[Tensor, "b l i j"]:
        """Scaled latents, (posterior mean − shift) · scale."""
        return (self.posterior(x)[0] - self.config.shift_factor) * self.config.scale_factor

    def decode(self, latents: Values) -> Float[Tensor, "b c h w"]:
        """Images of scaled latents; not clipped to [−1, 1].

        Raises UsageError for another number of latent channels."""
        latents = self._taken(latents, "latents", "the autoencoder's have", self.config.latent_channels, 1e4)
        return self._rebuilt(latents / self.config.scale_factor + self.config.shift_factor)

    def forward(self, x: Float[Tensor, "b c h w"], noise: Float[Tensor, "b l i j"] | None = None) -> AutoencoderOutput:
        """The training computation: images rebuilt from mean + exp(½ log variance) · noise, and the posterior.

        Args:
            x: images on [−1, 1].
            noise: standard normal, of the latents' shape; None rebuilds from the mean.
        """
        mean, log_variance = self.posterior(x)
        z = mean if noise is None else mean + (0.5 * log_variance).exp() * noise
        return AutoencoderOutput(self._rebuilt(z), mean, log_variance)

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and the weights in the layout of diffusers, whose ``AutoencoderKL`` loads the folder
        too. ``extra`` are further JSON values about the model's making."""
        hub.save_pretrained(self, folder, extra, foreign=self.config.of_diffusers, weights=LAYOUTS[1][0])

    @classmethod
    def from_pretrained(
        cls: type[T],
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> T:
        """The autoencoder of a model folder of ours or of a hub repository, in evaluation mode; published ones are read
        by ``tenfold.starflow.load_autoencoder``. Raises as ``tenfold.hub.from_pretrained``."""
        model: T = hub.from_pretrained(cls, source, revision=revision, device=device)
        return model

    def _taken(self, x: Values, what: str, has: str, channels: int, reach: float) -> Float[Tensor, "b c h w"]:
        """The border: floating-point values (b, channels, h, w) in the type of the weights; outside of training also
        finite and within ``reach`` of the scale."""
        weight = self.decoder.conv_in.weight
        x = as_tensor(x, what, weight.dtype)
        if x.ndim != 4:
            raise UsageError(f"{what} have shape {tuple(x.shape)}; give (batch, channels, height, width)")
        if x.shape[1] != channels:
            raise UsageError(f"{what} have {x.shape[1]} channels, but {has} {channels}")
        if not x.is_floating_point():
            raise UsageError(f"{what} have dtype {x.dtype}; give floating-point values (images on [-1, 1])")
        if self.training:
            return x
        x = finite(x.to(weight.dtype), what)
        if visible(x) and x.numel() and (largest := float(x.detach().abs().max())) > reach:
            raise UsageError(f"{what} reach {largest:.4g}; images lie in [-1, 1], latents have about unit variance")
        return x

    def _rebuilt(self, z: Float[Tensor, "b l i j"]) -> Float[Tensor, "b c h w"]:
        return self.decoder(self.post_quant_conv(z) if self.config.quant_convs else z)
