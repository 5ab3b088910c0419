"""Semi-algebraic sets on the torus, and the questions that they answer exactly or between bounds."""

from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.covering import Cover, cover
from tenfold.quasiperiodic.sets.formulas import Formula
from tenfold.quasiperiodic.sets.measure import Measure, measure
from tenfold.quasiperiodic.sets.membership import Membership
from tenfold.settings.arguments import read_all_arguments
from tenfold.shifts.arrays import as_table, reals


@read_all_arguments
class Set(Formula):
    """⋃_c ⋂_l {x ∈ [0, 1)^b : P_{c,l}(x) s 0}, s one of >=, <=, >, <, ==.

    Coordinates are those of the torus in [0, 1): the point 1 is the point 0. ``degree`` is that of this
    representation, the number of its polynomials times their largest degree; the set may have a better one.

    >>> from tenfold.quasiperiodic.sets.text import parse_set
    >>> band = parse_set("abs(y - x^2) <= 1/50", 2)
    >>> band.degree, band.contains([[0.5, 0.26], [0.5, 0.5]]).tolist()
    (4, [True, False])
    """

    @cached_property
    def membership(self) -> Membership:
        """The compiled test."""
        return Membership(self)

    def contains(self, x: Any) -> Bool[np.ndarray, "..."]:
        """Whether points (…, b), floats and fractions taken exactly, lie in the set, decided exactly."""
        given, points = as_table(x, "points"), reals(x, "points")
        if points.shape[-1:] != (self.dim,):
            raise UsageError(
                f"points have shape {points.shape}, but the set has b = {self.dim}; expected (…, {self.dim})"
            )
        flat = points.reshape(-1, self.dim)
        if not ((flat >= 0) & (flat <= 1)).all():
            raise UsageError("a point lies outside [0, 1]; reduce coordinates modulo 1 first")
        return self.membership.of_numbers(flat, given.reshape(-1, self.dim)).reshape(points.shape[:-1])

    def cover(self, K: int) -> Cover:
        """cov(S, K): grid cells of side 1/K that meet the set (see ``covering.cover``)."""
        return cover(self, K)

    def measure(self, tol: float = 1e-4) -> Measure:
        """Lebesgue measure, exact or between rigorous bounds (see ``measure.measure``)."""
        return measure(self, tol)
