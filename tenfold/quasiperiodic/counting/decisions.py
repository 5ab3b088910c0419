"""Whether points of an orbit lie in a set, in truth: float64 first, whole numbers where it leaves a point open."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.membership import UNIT
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.skew import SkewShift

# What is counted.
Shift = Kronecker | SkewShift
CHUNK = 1 << 17
MOST_RECHECKS = 20_000


class OrbitTest:
    """Exact membership of orbit points n0 … n1, with a tally of what float64 could not decide (``rechecked``).

    ``error`` is the largest distance between a real and a stored point. Without ``exact``, points near a boundary are
    as float64 has them."""

    def __init__(self, region: Set, orbit: Shift, n0: int, n1: int, exact: bool = True) -> None:
        self.region, self.orbit, self.n0, self.n1, self.exact = region, orbit, n0, n1, exact
        self.error = max(orbit.phase_error(n0), orbit.phase_error(n1))
        self.delta = UNIT + self.error
        self.rechecked = 0

    def decide(self, points: Float64[np.ndarray, "m b"], index: Callable[[int], int]) -> Bool[np.ndarray, " m"]:
        """Which of the points lie in the set; ``index`` tells the n of each."""
        inside, unknown = self.region.membership.test(points, self.delta if self.exact else 0.0)
        if not self.exact:
            return inside | (unknown & self.region.membership.as_floats_have_it(points))
        for i in np.flatnonzero(unknown):
            inside[i] = self._recheck(index(int(i)))
        return inside

    def hits_among(self, n: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " hits"]:
        """Those of the indices that are hits."""
        return n[self.decide(self.orbit.at(n), lambda i: int(n[i]))]

    def enumerated(self, progress: Callable[[float], None] | None = None) -> Iterator[Int64[np.ndarray, " hits"]]:
        """The hits of all points, in blocks."""
        buffer = np.empty((min(CHUNK, self.n1 - self.n0 + 1), self.orbit.dim))
        for begin in range(self.n0, self.n1 + 1, CHUNK):
            stop = min(begin + CHUNK, self.n1 + 1)
            points = self.orbit.points(begin, stop, out=buffer[: stop - begin])
            yield np.flatnonzero(self.decide(points, begin.__add__)) + begin
            if progress is not None:
                progress((stop - self.n0) / (self.n1 - self.n0 + 1))

    def _recheck(self, n: int) -> bool:
        self.rechecked += 1
        if self.rechecked > MOST_RECHECKS and self.error > UNIT:
            raise too_few_bits(self.region, self.orbit, n)
        return decided(self.region, self.orbit, n)


def decided(region: Set, orbit: Shift, n: int) -> bool:
    """Membership of one real orbit point: in the stored bits, and where these do not tell, in up to sixteen times as
    many, or as an exact fraction.

    Raises UsageError where that does not tell either."""
    answer = region.membership.exact(orbit.exact_at(n), orbit.moduli, orbit.slack(n))
    bits = orbit.bits
    while answer is None and bits < 16 * orbit.bits:
        bits *= 2
        answer = region.membership.exact(*orbit.real_at(n, bits))
    if answer is None:
        raise too_few_bits(region, orbit, n)
    return answer


def too_few_bits(region: Set, orbit: Shift, n: int, near: int | None = None) -> UsageError:
    """The refusal of a count whose phases are too coarse at n; ``near`` is the point whose polynomials are told."""
    closest = region.membership.closest(orbit.exact_at(n if near is None else near), orbit.moduli)
    return UsageError(
        f"{orbit.bits} bits are too few: point n = {n} is known to {orbit.phase_error(n):.2g} (n·2^-{orbit.bits}), but "
        f"there the closest |P| is {closest:.2g}; use more bits (64, 128 or 256), or exact=False (--inexact)"
    )
