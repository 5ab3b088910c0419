"""The Kronecker sequence θ + n α mod 1, in exact 64-bit phases."""

from collections.abc import Sequence
from decimal import Decimal, localcontext

import numpy as np

from tenfold.errors import UsageError

_ONE = 1 << 64


def generalised_golden(dim: int) -> tuple[int, ...]:
    """The frequencies (g⁻¹, …, g⁻ᵈ) mod 1, g the positive root of g^{d+1} = g + 1, as 64-bit phases.

    d = 1 gives the golden ratio's 0.618…, d = 2 the plastic number's (Roberts' R_d sequence). Raises UsageError
    for dim < 1."""
    if dim < 1:
        raise UsageError(f"dim is {dim}; a sequence has at least one dimension")
    with localcontext() as context:
        context.prec = 60
        g = Decimal("1.5")
        for _ in range(200):
            # Newton on g^{d+1} − g − 1, quadratic from the right of the root.
            step = (g ** (dim + 1) - g - 1) / ((dim + 1) * g**dim - 1)
            g -= step
            if abs(step) < Decimal(10) ** -50:
                break
        return tuple(int((1 / g**k % 1) * _ONE) % _ONE for k in range(1, dim + 1))


class Kronecker:
    """Points x_n = θ + n α mod 1 for any n in [0, 2^64): phases are integers mod 2^64, so that x_n is exact
    for the 64-bit α and costs the same at every n.

    >>> Kronecker(generalised_golden(1)).points(0, 3).ravel().round(3).tolist()
    [0.0, 0.618, 0.236]
    """

    def __init__(self, frequencies: Sequence[int], offsets: Sequence[int] | None = None) -> None:
        self.alpha = np.array([int(f) % _ONE for f in frequencies], dtype=np.uint64)
        self.theta = np.array([int(t) % _ONE for t in offsets or [0] * len(self.alpha)], dtype=np.uint64)
        if len(self.theta) != len(self.alpha) or not len(self.alpha):
            raise UsageError(f"{len(self.alpha)} frequencies need as many offsets, not {len(self.theta)}")

    def phases(self, start: int, stop: int) -> np.ndarray:
        """Integers mod 2^64 of points start … stop − 1, uint64 (stop − start, d)."""
        n = np.arange(stop - start, dtype=np.uint64) + np.uint64(start % _ONE)
        return n[:, None] * self.alpha + self.theta

    def points(self, start: int, stop: int) -> np.ndarray:
        """Points start … stop − 1 in [0, 1), float64 (stop − start, d), rounded down to 53 bits."""
        return (self.phases(start, stop) >> np.uint64(11)).astype(np.float64) * 2.0**-53
