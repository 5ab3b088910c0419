"""The training objective and the noise that the data get (arXiv 2412.06329, sections 3.2 and 3.3)."""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import floats
from tenfold.nn.precision import at_least_single


def negative_log_likelihood(z: Float[Tensor, "b t d"], logdet: Float[Tensor, "b"]) -> Float[Tensor, ""]:
    """mean ½z² − mean logdet: the negative log-likelihood in nats per dimension, less ½ ln 2π.

    z (b, T, D) and logdet (b,) (a mean over dimensions) as ``TarFlow.forward`` returns them. Volume-preserving
    flows are trained with it too, as in the reference, whatever their prior's variance."""
    return 0.5 * at_least_single(z).square().mean() - logdet.mean()


def dequantise(pixels: Tensor, levels: int, noise: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *shape"]:
    """Uniform dequantisation onto [−1, 1]: 2 (v + noise) / levels − 1 for integers v in [0, levels) and noise
    in [0, 1).

    Raises UsageError for integers outside the range or other than integers."""
    return (_of_levels(pixels, levels, "dequantisation").to(noise.dtype) + noise) * (2.0 / levels) - 1.0


def to_unit_range(pixels: Tensor, levels: int) -> Float[Tensor, "b *shape"]:
    """Integers in [0, levels) onto [−1, 1], both ends included: 2 v / (levels − 1) − 1 (Gaussian-noise runs).

    Raises UsageError for integers outside the range or other than integers."""
    return _of_levels(pixels, levels, "the scale [-1, 1]").float() * (2.0 / (levels - 1)) - 1.0


def _of_levels(pixels: Tensor, levels: int, reader: str) -> Tensor:
    """Pixels as integers that PyTorch computes with; on accelerators their range is not looked at."""
    if levels < 2:
        raise UsageError(f"levels is {levels}; pixels have at least 2 integer levels")
    if pixels.is_floating_point() or pixels.is_complex():
        raise UsageError(f"{reader} reads integer levels, but the images have dtype {pixels.dtype}")
    pixels = pixels if pixels.dtype in (torch.uint8, torch.int64) else pixels.to(torch.int64)
    if pixels.device.type == "cpu" and pixels.numel():
        low, high = int(pixels.min()), int(pixels.max())
        if low < 0 or high >= levels:
            raise UsageError(
                f"pixel value {low if low < 0 else high} is outside [0, {levels}); "
                f"set levels to {high + 1 if low >= 0 else levels} or rescale the images"
            )
    return pixels


def to_levels(x: Float[Tensor, "b *shape"], levels: int) -> Integer[Tensor, "b *shape"]:
    """Values in [−1, 1] to the nearest integer level, clipped to [0, levels); uint8 up to 256 levels."""
    x = floats(x, "the images", x.dtype)
    value = ((x + 1.0) * ((levels - 1) / 2.0)).round().clamp(0, levels - 1)
    return value.to(torch.uint8 if levels <= 256 else torch.int64)


def discrete_log_prob(log_prob: Float[Tensor, "*b"], dimensions: int, levels: int) -> Float[Tensor, "*b"]:
    """log of the density of (v + u) on [0, levels)^dims, a lower bound of log P(v) in expectation over u, from
    the density of x = 2 (v + u) / levels − 1: both in nats, summed over dimensions."""
    return log_prob - dimensions * math.log(levels / 2.0)
