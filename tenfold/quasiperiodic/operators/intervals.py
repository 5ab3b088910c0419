"""Rigorous spectral intervals, without diagonalisation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel
from tenfold.quasiperiodic.operators.windows import Window

_MOST_POINTS = 1 << 18


class SpectralInterval(NamedTuple):
    """[low, high] that contains a spectrum."""

    low: float
    high: float

    @property
    def centre(self) -> float:
        """(low + high)/2."""
        return 0.5 * (self.low + self.high)

    @property
    def half_width(self) -> float:
        """(high − low)/2."""
        return 0.5 * (self.high - self.low)


def spectral_interval(window: Window, potential: Float64[np.ndarray, "*batch N"]) -> SpectralInterval:
    """[min symbol + min V, max symbol + max V]: a compression P A P has no spectrum outside A's, and A + V none
    outside the sum of the ranges. A kernel's part is Gershgorin's. In a ring the symbol is that of the ring, which is
    within the same range."""
    hopping = window.hopping
    if isinstance(hopping, Kernel):
        matrix = window.hopping_matrix
        rows = np.asarray(np.abs(matrix).sum(1)).ravel()
        diagonal = np.real(matrix.diagonal())
        spread = rows - np.abs(diagonal)
        low, high = (diagonal - spread).min(), (diagonal + spread).max()
    else:
        low, high = symbol_range(hopping)
    low, high = float(low + potential.min()), float(high + potential.max())
    # Rounding of the sums above, and a width that is never zero.
    slack = 1e-14 * max(abs(low), abs(high), 1e-300)
    return SpectralInterval(low - slack, high + slack)


def symbol_range(hopping: Hopping) -> tuple[float, float]:
    """Bounds on min_k and max_k of the symbol Σ a_m e^{ik·m}: the extremes over a grid, widened by its error.

    At an extremum the gradient vanishes and a grid point is within h_j/2 along each axis, so that the grid misses by
    at most ½ Σ |a_m| (Σ_j |m_j| h_j/2)²; where Σ|a_m| is tighter it is used."""
    radius = hopping.radius
    points = grid(radius, 128, _MOST_POINTS)
    zero = ~hopping.offsets.any(1)
    middle = float(np.real(hopping.coefs[zero]).sum())
    plain = float(np.abs(hopping.coefs[~zero]).sum())
    if any(2 * r >= g for r, g in zip(radius, points, strict=True) if r):
        return middle - plain, middle + plain
    values = hopping.symbol(points)
    half = np.pi / np.array(points)
    missed = 0.5 * float((np.abs(hopping.coefs) * (np.abs(hopping.offsets) @ half) ** 2).sum()) + 1e-14 * plain
    return max(float(values.min()) - missed, middle - plain), min(float(values.max()) + missed, middle + plain)


def grid(radius: Sequence[int], fine: int, most: int) -> list[int]:
    """Points along each axis of a grid for a symbol: powers of two above ``fine`` times the radius, about ``most`` in
    all."""
    points = [1 << int(np.ceil(np.log2(fine * r + 1))) if r else 1 for r in radius]
    while np.prod(points) > most and max(points) > 8:
        points[int(np.argmax(points))] //= 2
    return points
