"""Latents of many images, and their scale."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from tenfold.data.images.splits import read_all
from tenfold.errors import TenfoldError
from tenfold.flows.loss import to_unit_range
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.training.task import MapSource

CHUNK = 128


def at_once(autoencoder: Autoencoder, height: int, width: int) -> int:
    """Images that are encoded or decoded together: ``CHUNK`` of small ones, of large ones as many as keep the widest
    layer at 2²⁶ numbers (256 MB)."""
    each = max(1, max(autoencoder.config.widths[:2]) * height * width)
    return max(1, min(CHUNK, (1 << 26) // each))


def first_images(source: Any, count: int) -> Integer[Tensor, "n ..."]:
    """The first ``count`` images of a split, or of a stream, lane by lane in turn."""
    if isinstance(source, MapSource):
        return read_all(source, count)[0]
    rows = math.ceil(count / source.lanes)
    records = [record for lane in range(source.lanes) for record in islice(source.read(lane, 0), rows)]
    return source.collate(records[:count])["image"]


@torch.no_grad()
def posterior_moments(
    autoencoder: Autoencoder, images: UInt8[Tensor, "n c h w"], levels: int
) -> tuple[Float[Tensor, "n l i j"], Float[Tensor, "n l i j"]]:
    """Mean and log variance of the posterior of uint8 images, unscaled, on the CPU."""
    like = next(autoencoder.parameters())
    chunk = at_once(autoencoder, *images.shape[2:])
    parts = [autoencoder.posterior(to_unit_range(part, levels).to(like)) for part in images.split(chunk)]
    mean, log_variance = zip(*parts, strict=True)
    return torch.cat(mean).float().cpu(), torch.cat(log_variance).float().cpu()


@torch.no_grad()
def decode_all(autoencoder: Autoencoder, latents: Float[Tensor, "n l i j"]) -> Float[Tensor, "n c h w"]:
    """Images of scaled latents, clipped to [−1, 1], on the CPU."""
    like = next(autoencoder.parameters())
    chunk = at_once(autoencoder, *(side * autoencoder.factor for side in latents.shape[2:]))
    parts = [autoencoder.decode(part.to(like)).float().cpu() for part in latents.split(chunk)]
    return torch.cat(parts).clamp(-1, 1)


def scaled(mean: Float[Tensor, "n l i j"], config: AutoencoderConfig) -> Float[Tensor, "n l i j"]:
    """Posterior means as ``Autoencoder.encode`` returns them."""
    return (mean - config.shift_factor) * config.scale_factor


def measured_scale(mean: Float[Tensor, "n l i j"], config: AutoencoderConfig) -> AutoencoderConfig:
    """The configuration with ``shift_factor`` = mean and ``scale_factor`` = 1 / standard deviation of the
    posterior means, over all images, channels and positions.

    Raises TenfoldError for latents that are all alike."""
    values = mean.double().numpy()
    deviation = float(np.std(values))
    if not (math.isfinite(deviation) and deviation > 1e-6):
        raise TenfoldError(
            f"the latents of the training images have standard deviation {deviation:.2g}, so that they say nothing; "
            "lower --objective.kl_weight or train for longer"
        )
    return replace(config, scale_factor=1.0 / deviation, shift_factor=float(np.mean(values)))
