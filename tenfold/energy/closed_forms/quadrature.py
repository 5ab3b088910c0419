"""Normalisers and moments of densities in one or two dimensions by quadrature: what powers and quotients are tested
against."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError

_ROWS = 1 << 18


class Moments(NamedTuple):
    """log ∫ γ, and mean and covariance of γ normalised."""

    log_z: Float[Tensor, ""]
    mean: Float[Tensor, " d"]
    covariance: Float[Tensor, "d d"]


def quadrature_moments(
    log_density: Callable[[Tensor], Tensor], low: Float[Tensor, " d"], high: Float[Tensor, " d"], points: int
) -> Moments:
    """Of γ = exp(log_density) on a box, by the trapezoidal rule, float64.

    For smooth densities that vanish at the border its error falls faster than any power of the number of points.

    Args:
        log_density: (n, d) to (n,).
        low, high: corners, d = 1 or 2.
        points: per axis.

    Raises:
        UsageError: another dimension, or fewer than 3 points.
    """
    d = len(low)
    if d not in (1, 2) or points < 3:
        raise UsageError(f"quadrature in {d} dimension(s) with {points} points per axis; 1 or 2, and at least 3 points")
    axes = [torch.linspace(float(a), float(b), points, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    grid = torch.cartesian_prod(*axes).reshape(-1, d)
    logs = torch.cat([log_density(part) for part in grid.split(_ROWS)]).double()
    ends = [torch.where((axis == axis[0]) | (axis == axis[-1]), 0.5, 1.0).double() for axis in axes]
    weight = ends[0] if d == 1 else (ends[0][:, None] * ends[1]).flatten()
    logs = logs + weight.log()
    cell = sum((axis[1] - axis[0]).log() for axis in axes)
    share = logs.softmax(0)
    mean = share @ grid
    off = grid - mean
    return Moments(logs.logsumexp(0) + cell, mean, off.mT @ (share[:, None] * off))
