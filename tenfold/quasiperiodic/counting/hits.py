"""How often an orbit meets a set: three methods that agree, and what is certain about the number.

Ranges are inclusive: n0 ≤ n ≤ n1, as in the hit counts #{0 ≤ n ≤ N : x_n ∈ S}.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.counting.decisions import OrbitTest, Shift
from tenfold.quasiperiodic.counting.lattice import OrbitLattice, lattice_hits
from tenfold.quasiperiodic.counting.line import LineHits
from tenfold.quasiperiodic.sets.cells import Cells, meeting
from tenfold.quasiperiodic.sets.covering import MAX_K
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.shifts.constants import integer_root
from tenfold.shifts.kronecker import Kronecker

KEPT_HITS = 10_000_000
METHODS = ("auto", "enumerate", "floor_sum", "lattice")
FEW = 1 << 18


@dataclass(frozen=True)
class HitCount:
    """#{n0 ≤ n ≤ n1 : x_n ∈ S}.

    ``certified``: the number is exact for the real frequency, not only for its stored bits: every point that
    float64 left open was re-evaluated in whole numbers (``rechecked`` of them), and with more bits where it lay
    within ``phase_error``, the largest distance between a real and a stored point, of a boundary. ``hits`` lists
    the n where the method finds them. ``cells`` is what the lattice method visited."""

    count: int
    n0: int
    n1: int
    method: str
    certified: bool
    rechecked: int
    phase_error: float
    degree: int
    cells: int | None = None
    hits: Int64[np.ndarray, " hits"] | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; hits as a list."""
        plain = {k: v for k, v in self.__dict__.items() if k != "hits"}
        return {
            **plain, "range": [self.n0, self.n1], "range_inclusive": True,
            "hits": None if self.hits is None else [int(n) for n in self.hits],
        }  # fmt: skip


def count(
    region: Set,
    orbit: Shift,
    n0: int,
    n1: int,
    method: str = "auto",
    exact: bool = True,
    progress: Callable[[float], None] | None = None,
) -> HitCount:
    """Count the hits of ``region`` by x_n, n0 ≤ n ≤ n1 (both inclusive).

    method: "enumerate" looks at every point (any orbit); "floor_sum" is O(log N) in dimension 1; "lattice" costs
        about the cells that meet the set, B N^{1−1/b} + N Leb S; "auto" takes the quickest that applies.
    exact: decide every point exactly, and refuse with a UsageError where ``bits`` are too few for that. Without it,
        points within rounding of a boundary are counted as float64 has them (``certified`` is then False).
    progress: called with the fraction done, now and then.

    Raises UsageError for mismatched dimensions, a reversed range, |n| ≥ 2^63, or a method that does not apply."""
    way = _chosen(region, orbit, n0, n1, method)
    return _counted(region, orbit, n0, n1, way, exact, progress)


def _check(region: Set, orbit: Shift, n0: int, n1: int) -> None:
    """Refuse what cannot be counted."""
    if region.dim != orbit.dim:
        raise UsageError(f"the set has b = {region.dim} dimensions, but the sequence {orbit.dim}; they must agree")
    if n1 < n0:
        raise UsageError(f"the range is reversed: N = {n1} is below n0 = {n0}; give n0 ≤ N (both ends are counted)")
    if max(abs(n0), abs(n1)) >= 1 << 63:
        raise UsageError(f"n reaches {max(abs(n0), abs(n1))}; counting goes to |n| < 2^63")


def _chosen(region: Set, orbit: Shift, n0: int, n1: int, method: str) -> str:
    """The method for n0 ≤ n ≤ n1: the one that is asked for, or the quickest. Raises UsageError where it does not
    apply, and for what cannot be counted."""
    _check(region, orbit, n0, n1)
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")
    kronecker, points = isinstance(orbit, Kronecker), n1 - n0 + 1
    on_the_line = region.dim == 1 and kronecker
    if method == "floor_sum" and not on_the_line:
        raise UsageError("method 'floor_sum' counts Kronecker sequences in dimension 1; use 'lattice' or 'enumerate'")
    if method == "lattice" and not kronecker:
        raise UsageError("method 'lattice' counts Kronecker sequences; a skew shift is counted by 'enumerate'")
    K = integer_root(points, region.dim)
    if method == "lattice" and K > MAX_K:
        raise UsageError(
            f"method 'lattice' needs a grid of K = {K} cells a side, and goes to {MAX_K}; shorten the range"
        )
    if method != "auto":
        return method
    if on_the_line:
        return "floor_sum"
    if not isinstance(orbit, Kronecker) or points <= FEW or K > MAX_K:
        return "enumerate"
    # A coarse cover tells how many cells a fine one has.
    coarse = region.cover(min(K, 64 if region.dim < 3 else 16))
    ratio = K / coarse.K
    expected = coarse.boundary * ratio ** (region.dim - 1) + coarse.inside * ratio**region.dim
    if expected > points / 16:
        return "enumerate"
    try:
        OrbitLattice.of(orbit, n0, points, K)
    except UsageError:
        return "enumerate"
    return "lattice"


def _counted(
    region: Set,
    orbit: Shift,
    n0: int,
    n1: int,
    way: str,
    exact: bool = True,
    progress: Callable[[float], None] | None = None,
    parts: list[Cells] | None = None,
) -> HitCount:
    test = OrbitTest(region, orbit, n0, n1, exact)
    found, cells = None, None
    if way == "floor_sum":
        assert isinstance(orbit, Kronecker)
        line = LineHits(region, orbit).count(n0, n1, exact)
        total, rechecked = line.total, line.rechecked
    else:
        if way == "enumerate":
            found = np.concatenate(list(test.enumerated(progress)))
        else:
            assert isinstance(orbit, Kronecker)
            points = n1 - n0 + 1
            K = integer_root(points, region.dim)
            found, cells = lattice_hits(orbit, n0, points, K, parts or meeting(region, K), test.hits_among)
        total, rechecked = len(found), test.rechecked
    kept = found if found is not None and total <= KEPT_HITS else None
    return HitCount(total, n0, n1, way, exact, rechecked, test.error, region.degree, cells, kept)


def hits(region: Set, orbit: Shift, n0: int, n1: int, method: str = "auto") -> Int64[np.ndarray, " hits"]:
    """All n0 ≤ n ≤ n1 with x_n in the set, sorted; in dimension 1 by bisection on the floor sum where hits
    are few."""
    way = _chosen(region, orbit, n0, n1, method)
    if way == "floor_sum":
        assert isinstance(orbit, Kronecker)
        line = LineHits(region, orbit)
        found = line.count(n0, n1)
        # One bisected hit costs as much as some hundred thousand enumerated points.
        if found.total << 18 < n1 - n0 or n1 - n0 > 1 << 30:
            return line.hits(n0, n1, found.moved)
        way = "enumerate"
    kept = _counted(region, orbit, n0, n1, way).hits
    if kept is None:
        raise UsageError(f"the set has over {KEPT_HITS} hits in the range; count them, or list a shorter range")
    return kept


def first_hit(region: Set, orbit: Shift, n0: int, n1: int) -> int | None:
    """The least n0 ≤ n ≤ n1 with x_n in the set, or None: by bisection in dimension 1, else over growing ranges."""
    _check(region, orbit, n0, n1)
    if region.dim == 1 and isinstance(orbit, Kronecker):
        return LineHits(region, orbit).first(n0, n1)
    begin, size = n0, 1 << 12
    while begin <= n1:
        end = min(n1, begin + size - 1)
        found = hits(region, orbit, begin, end)
        if len(found):
            return int(found[0])
        begin, size = end + 1, size * 4
    return None


def running_counts(region: Set, orbit: Shift, ladder: Sequence[int], n0: int = 0, method: str = "auto") -> list[int]:
    """#{n0 ≤ n ≤ N : x_n ∈ S} for every N of an increasing ladder, in one pass."""
    steps = [int(n) for n in ladder]
    if not steps or steps != sorted(steps):
        raise UsageError(f"the ladder is {steps}; expected increasing N, at least one")
    if steps[0] < n0:
        raise UsageError(f"the ladder begins at N = {steps[0]}, before n0 = {n0}")
    if _chosen(region, orbit, n0, steps[-1], method) == "floor_sum":
        assert isinstance(orbit, Kronecker)
        line = LineHits(region, orbit)
        return [line.count(n0, n).total for n in steps]
    found = hits(region, orbit, n0, steps[-1], method)
    return [int(i) for i in np.searchsorted(found, steps, side="right")]


@dataclass(frozen=True)
class ThetaCounts:
    """Counts for several θ, range 0 ≤ n ≤ N inclusive, and their largest."""

    counts: tuple[int, ...]
    largest: int
    theta: str
    N: int
    certified: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**self.__dict__, "counts": list(self.counts), "range": [0, self.N], "range_inclusive": True}


def count_over_theta(
    region: Set,
    frequency: Any,
    thetas: Sequence[Any],
    N: int,
    bits: int = 128,
    method: str = "auto",
    allow_resonant: bool = False,
) -> ThetaCounts:
    """Counts over 0 ≤ n ≤ N for each θ of a batch; cells and roots are found once for all."""
    if not len(thetas):
        raise UsageError("there is no theta; give at least one")
    orbits = [Kronecker(frequency, t, bits, allow_resonant=allow_resonant or i > 0) for i, t in enumerate(thetas)]
    way = _chosen(region, orbits[0], 0, N, method)
    parts = list(meeting(region, integer_root(N + 1, region.dim))) if way == "lattice" else None
    found = [_counted(region, orbit, 0, N, way, parts=parts) for orbit in orbits]
    counts = tuple(f.count for f in found)
    at = max(range(len(counts)), key=counts.__getitem__)
    return ThetaCounts(counts, counts[at], str(thetas[at]), N, all(f.certified for f in found))
