"""Rigorous spectral intervals, without diagonalisation, and spectra of periodic approximants."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel

if TYPE_CHECKING:
    from tenfold.quasiperiodic.operators.boxes import Box
    from tenfold.quasiperiodic.operators.operators import LongRange

_MOST_POINTS = 1 << 18


@dataclass(frozen=True)
class Interval:
    """[low, high] that contains a spectrum; ``method`` says why."""

    low: float
    high: float
    method: str

    @property
    def centre(self) -> float:
        """(low + high)/2."""
        return 0.5 * (self.low + self.high)

    @property
    def half_width(self) -> float:
        """(high − low)/2."""
        return 0.5 * (self.high - self.low)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"low": self.low, "high": self.high, "method": self.method}


def spectral_interval(box: "Box") -> Interval:
    """[min symbol + min V, max symbol + max V]: a compression P A P has no spectrum outside A's, and A + V none
    outside the sum of the ranges. A kernel's part is Gershgorin's. In a ring the symbol is that of the ring, which is
    within the same range."""
    hopping = box.operator.hopping
    if isinstance(hopping, Kernel):
        matrix = box._hopping_matrix
        rows = np.asarray(np.abs(matrix).sum(1)).ravel()
        diagonal = np.real(matrix.diagonal())
        spread = rows - np.abs(diagonal)
        low, high, method = (diagonal - spread).min(), (diagonal + spread).max(), "Gershgorin + range of V"
    else:
        low, high = symbol_range(hopping)
        method = "range of the symbol + range of V"
    low, high = float(low + box.potential.min()), float(high + box.potential.max())
    # Rounding of the sums above, and a width that is never zero.
    slack = 1e-14 * max(abs(low), abs(high), 1e-300)
    return Interval(low - slack, high + slack, method)


def symbol_range(hopping: Hopping) -> tuple[float, float]:
    """Bounds on min_k and max_k of the symbol Σ a_m e^{ik·m}: the extremes over a grid, widened by its error.

    At an extremum the gradient vanishes and a grid point is within h_j/2 along each axis, so that the grid misses by
    at most ½ Σ |a_m| (Σ_j |m_j| h_j/2)²; where Σ|a_m| is tighter it is used."""
    radius = hopping.radius
    points = [1 << int(np.ceil(np.log2(128 * r + 1))) if r else 1 for r in radius]
    while np.prod(points) > _MOST_POINTS and max(points) > 8:
        points[int(np.argmax(points))] //= 2
    zero = ~hopping.offsets.any(1)
    middle = float(np.real(hopping.coefs[zero]).sum())
    plain = float(np.abs(hopping.coefs[~zero]).sum())
    if any(2 * r >= g for r, g in zip(radius, points, strict=True) if r):
        return middle - plain, middle + plain
    values = hopping.symbol(points)
    half = np.pi / np.array(points)
    missed = 0.5 * float((np.abs(hopping.coefs) * (np.abs(hopping.offsets) @ half) ** 2).sum()) + 1e-14 * plain
    return max(float(values.min()) - missed, middle - plain), min(float(values.max()) + missed, middle + plain)


def eigenvalues(box: "Box") -> np.ndarray:
    """All eigenvalues, ascending, (N,) or (batch, N); band solvers for an open one-dimensional box of short range."""
    from scipy.linalg import eigvals_banded

    reach = box.operator.hopping.range
    if len(box.shape) == 1 and box.boundary == "open" and box.potential.ndim == 1 and reach < box.size / 8:
        return eigvals_banded(box.banded()[reach:], lower=True)
    return np.linalg.eigvalsh(box.dense())


def bloch_spectrum(operator: "LongRange", period: int, phases: np.ndarray) -> np.ndarray:
    """Eigenvalues (len(phases), period), ascending, of the one-dimensional p/period approximant at Bloch phases κ:
    u_{n + period} = e^{iκ} u_n. Hopping ranges of more than a period fold over.

    Raises UsageError in higher dimensions, for kernels, and for a batch of θ."""
    hopping = operator.hopping
    if operator.dim != 1 or isinstance(hopping, Kernel) or operator.orbit is None or operator.orbit.batched:
        raise UsageError("Bloch spectra are for one-dimensional translation-invariant hopping with one theta")
    values = replace(operator, orbit=operator.orbit.approximant(period)).values([0], [period])
    n = np.arange(period)
    found = []
    for kappa in np.atleast_1d(phases):
        matrix = np.diag(values).astype(np.complex128)
        for m, a in zip(hopping.offsets[:, 0].tolist(), hopping.coefs, strict=True):
            source = n - m
            np.add.at(matrix, (n, source % period), a * np.exp(1j * kappa * (source // period)))
        found.append(np.linalg.eigvalsh(matrix))
    return np.array(found)
