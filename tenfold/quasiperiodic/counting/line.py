"""Hits in dimension 1, in O(log N) a range of phases: sums of floors, and the points that rounding may have moved."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.counting.decisions import MOST_RECHECKS, decided, too_few_bits
from tenfold.quasiperiodic.sets.roots import Ranges, phase_ranges, widened
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.settings.arguments import read_arguments
from tenfold.shifts.costs import Watch
from tenfold.shifts.kronecker import Kronecker


@read_arguments
def floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Σ_{i<n} ⌊(a i + b)/m⌋ for n, a, b ≥ 0 and m ≥ 1, by the Euclid-like recursion, in whole numbers.

    >>> floor_sum(4, 10, 6, 3) == sum((6 * i + 3) // 10 for i in range(4))
    True
    """
    if min(n, a, b) < 0 or m < 1:
        raise UsageError(f"n, m, a, b are {n}, {m}, {a}, {b}; expected n, a, b of at least 0 and m of at least 1")
    return _floor_sum(n, m, a, b)


def _floor_sum(n: int, m: int, a: int, b: int) -> int:
    total = 0
    while n:
        if a >= m:
            total += (n - 1) * n // 2 * (a // m)
            a %= m
        if b >= m:
            total += n * (b // m)
            b %= m
        top = a * n + b
        if top < m:
            break
        n, b = divmod(top, m)
        m, a = a, m
    return total


def count_in(ranges: Ranges, start: int, step: int, modulus: int, n: int) -> int:
    """#{0 ≤ i < n : (start + i · step) mod modulus lies in one of the disjoint ranges [low, high)}."""
    total = 0
    for low, high in ranges:
        total += _floor_sum(n, modulus, step, start - low + modulus)
        total -= _floor_sum(n, modulus, step, start - high + modulus)
    return total


def first_in(ranges: Ranges, start: int, step: int, modulus: int, n: int) -> int | None:
    """The least 0 ≤ i < n in one of the ranges, by bisection on the count: O(log² n); None without."""
    if count_in(ranges, start, step, modulus, n) == 0:
        return None
    low, high = 0, n  # count(low) = 0 < count(high)
    while high - low > 1:
        middle = (low + high) // 2
        if count_in(ranges, start, step, modulus, middle):
            high = middle
        else:
            low = middle
    return low


def list_in(ranges: Ranges, start: int, step: int, modulus: int, n: int) -> Iterator[int]:
    """All such i in order, O(log² n) each."""
    begin = 0
    while begin < n:
        found = first_in(ranges, (start + begin * step) % modulus, step, modulus, n - begin)
        if found is None:
            return
        yield begin + found
        begin += found + 1


@dataclass(frozen=True)
class LineCount:
    """How many hits there are, and which n lie, in truth, on the other side of a boundary than the stored point:
    n → whether it is a hit."""

    total: int
    moved: dict[int, bool]
    rechecked: int


class LineHits:
    """The hits of a set in dimension 1 by a Kronecker sequence."""

    def __init__(self, region: Set, orbit: Kronecker) -> None:
        self.region, self.orbit = region, orbit
        (self.modulus,), (self.step,) = orbit.moduli, orbit.steps
        self.ranges = phase_ranges(region, self.modulus)

    def count(self, n0: int, n1: int, exact: bool = True) -> LineCount:
        """Hits with n0 ≤ n ≤ n1. Raises UsageError where too many points lie within rounding of a boundary."""
        (start,), points = self.orbit.exact_at(n0), n1 - n0 + 1
        total = count_in(self.ranges.inside, start, self.step, self.modulus, points)
        slack = max(self.orbit.slack(n0)[0], self.orbit.slack(n1)[0])
        if not (exact and slack):
            return LineCount(total, {}, 0)
        # Only points within the error of a boundary (or of the seam at 0) can be on its other side in truth.
        near = widened(sorted({0, *self.ranges.critical}), slack + 1, self.modulus)
        suspects = count_in(near, start, self.step, self.modulus, points)
        found = list_in(near, start, self.step, self.modulus, points)
        if suspects > MOST_RECHECKS:
            raise too_few_bits(self.region, self.orbit, n1, n0 + next(found))
        moved: dict[int, bool] = {}
        for i in found if suspects else ():
            r = (start + i * self.step) % self.modulus
            stored = any(low <= r < high for low, high in self.ranges.inside)
            real = decided(self.region, self.orbit, n0 + i)
            if real != stored:
                moved[n0 + i] = real
        return LineCount(total + sum(1 if real else -1 for real in moved.values()), moved, suspects)

    def hits(self, n0: int, n1: int, counted: LineCount) -> Int64[np.ndarray, " hits"]:
        """The n0 ≤ n ≤ n1 that are hits, sorted, by bisection: O(log² N) each."""
        (start,) = self.orbit.exact_at(n0)
        stored = set[int]()
        watch = Watch(f"listing {counted.total} hits", "counting them is done in no time, and as exact")
        for i in list_in(self.ranges.inside, start, self.step, self.modulus, n1 - n0 + 1):
            stored.add(n0 + i)
            watch(len(stored), counted.total)
        gone, new = ({n for n, inside in counted.moved.items() if inside is side} for side in (False, True))
        return np.array(sorted((stored - gone) | new), dtype=np.int64)

    def first(self, n0: int, n1: int) -> int | None:
        """The least n0 ≤ n ≤ n1 that is a hit, or None."""
        moved = self.count(n0, n1).moved
        candidates = [n for n, inside in moved.items() if inside]
        at = n0
        while at <= n1:
            (start,) = self.orbit.exact_at(at)
            step = first_in(self.ranges.inside, start, self.step, self.modulus, n1 - at + 1)
            if step is None:
                break
            at += step
            if moved.get(at, True):
                candidates.append(at)
                break
            at += 1
        return min(candidates, default=None)
