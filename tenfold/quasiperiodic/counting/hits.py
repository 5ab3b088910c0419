"""How often an orbit meets a set: three methods that agree, and what is certain about the number.

Ranges are inclusive: n0 ≤ n ≤ n1, as in the hit counts #{0 ≤ n ≤ N : x_n ∈ S}.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.counting.decisions import CHUNK, OrbitTest, Shift
from tenfold.quasiperiodic.counting.lattice import OrbitLattice, lattice_hits
from tenfold.quasiperiodic.counting.line import LineHits
from tenfold.quasiperiodic.sets.cells import Cells, meeting
from tenfold.quasiperiodic.sets.covering import MAX_K
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import read
from tenfold.shifts.arrays import listed
from tenfold.shifts.constants import integer_root
from tenfold.shifts.costs import Watch, require
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.skew import SkewShift

KEPT_HITS = 10_000_000
METHODS = ("auto", "enumerate", "floor_sum", "lattice")
FEW = 1 << 18
_ABOUT = "N times the set's measure is quicker and off by the order of B N^(1 - 1/b), which is no bound"


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


@read_arguments
def count(
    region: Set,
    orbit: Shift,
    n0: int,
    n1: int,
    method: str = "auto",
    exact: bool = True,
    progress: Callable[[float], None] | None = None,
    keep: int = KEPT_HITS,
) -> HitCount:
    """Count the hits of ``region`` by x_n, n0 ≤ n ≤ n1 (both inclusive).

    method: "enumerate" looks at every point (any orbit); "floor_sum" is O(log N) in dimension 1; "lattice" costs
        about the cells that meet the set, B N^{1−1/b} + N Leb S; "auto" takes the quickest that applies.
    exact: decide every point exactly, and refuse with a UsageError where ``bits`` are too few for that. Without it,
        points within rounding of a boundary are counted as float64 has them (``certified`` is then False).
    progress: called with the fraction done, now and then.
    keep: the hits are listed while there are at most this many, and only counted beyond.

    Raises UsageError for mismatched dimensions, a reversed range, |n| ≥ 2^63, or a method that does not apply."""
    way = _chosen(region, orbit, n0, n1, method)
    return _counted(region, orbit, n0, n1, way, exact, progress, keep=keep)


def _check(region: Set, orbit: Shift, n0: int, n1: int) -> None:
    """Refuse what cannot be counted."""
    if not isinstance(region, Set) or not isinstance(orbit, Kronecker | SkewShift):
        what = f"{type(region).__name__} and {type(orbit).__name__}"
        raise UsageError(f"counting is given {what}; expected a Set, and a Kronecker sequence or a SkewShift")
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
    if _expected_cells(region, K) > points / 16:
        return "enumerate"
    try:
        OrbitLattice.of(orbit, n0, points, K)
    except UsageError:
        return "enumerate"
    return "lattice"


def _expected_cells(region: Set, K: int) -> float:
    # A coarse cover tells how many cells a fine one has.
    coarse = region.cover(min(K, 64 if region.dim < 3 else 16))
    ratio = K / coarse.K
    return coarse.boundary * ratio ** (region.dim - 1) + coarse.inside * ratio**region.dim


def _blocks(
    test: OrbitTest, way: str, progress: Callable[[float], None] | None, parts: list[Cells] | None = None
) -> Iterator[tuple[Int64[np.ndarray, " hits"], int]]:
    """The hits, each once, in blocks, and how many cells each block visited. What will take minutes is said after a
    moment's work."""
    region, orbit, n0, points = test.region, test.orbit, test.n0, test.n1 - test.n0 + 1
    if way == "enumerate":
        whole = float(points)
        made: Iterator[tuple[np.ndarray, int]] = ((n, CHUNK) for n in test.enumerated(progress))
        what, cheaper = f"looking at {points} points", f"a thin set is quicker by method 'lattice'; {_ABOUT}"
    else:
        assert isinstance(orbit, Kronecker)
        K = integer_root(points, region.dim)
        whole, cheaper = _expected_cells(region, K), _ABOUT
        what = f"visiting the cells of side 1/{K} that meet the set"
        found = parts or meeting(region, K)
        made = lattice_hits(orbit, n0, points, K, found, test.hits_among, test.error)
    watch, done = Watch(what, cheaper), 0
    for n, size in made:
        yield n, size
        done += size
        watch(done, whole)


def _counted(
    region: Set,
    orbit: Shift,
    n0: int,
    n1: int,
    way: str,
    exact: bool = True,
    progress: Callable[[float], None] | None = None,
    parts: list[Cells] | None = None,
    keep: int = KEPT_HITS,
) -> HitCount:
    test = OrbitTest(region, orbit, n0, n1, exact)
    if way == "floor_sum":
        assert isinstance(orbit, Kronecker)
        line = LineHits(region, orbit).count(n0, n1, exact)
        return HitCount(line.total, n0, n1, way, exact, line.rechecked, test.error, region.degree)
    total, cells, kept = 0, 0, [np.empty(0, np.int64)]
    for n, size in _blocks(test, way, progress, parts):
        total, cells = total + len(n), cells + size
        if total > keep:
            kept.clear()
        elif len(n):
            kept.append(n)
    found, visited = np.concatenate(kept) if kept else None, None
    if way == "lattice":
        found, visited = None if found is None else np.sort(found), cells
    return HitCount(total, n0, n1, way, exact, test.rechecked, test.error, region.degree, visited, found)


@read_arguments
def hits(region: Set, orbit: Shift, n0: int, n1: int, method: str = "auto") -> Int64[np.ndarray, " hits"]:
    """All n0 ≤ n ≤ n1 with x_n in the set, sorted; in dimension 1 by bisection on the floor sum where hits
    are few."""
    way = _chosen(region, orbit, n0, n1, method)
    if way == "floor_sum":
        assert isinstance(orbit, Kronecker)
        line = LineHits(region, orbit)
        found = line.count(n0, n1)
        # One bisected hit costs as much as some hundred thousand enumerated points.
        if found.total <= KEPT_HITS and (found.total << 18 < n1 - n0 or n1 - n0 > 1 << 30):
            return line.hits(n0, n1, found)
        if found.total > KEPT_HITS:
            raise _too_many()
        way = "enumerate"
    kept = _counted(region, orbit, n0, n1, way).hits
    if kept is None:
        raise _too_many()
    return kept


def _too_many() -> UsageError:
    return UsageError(f"the set has over {KEPT_HITS} hits in the range; count them, or list a shorter range")


@read_arguments
def first_hit(region: Set, orbit: Shift, n0: int, n1: int) -> int | None:
    """The least n0 ≤ n ≤ n1 with x_n in the set, or None: by bisection in dimension 1, else over growing ranges."""
    _check(region, orbit, n0, n1)
    if region.dim == 1 and isinstance(orbit, Kronecker):
        return LineHits(region, orbit).first(n0, n1)
    begin, size = n0, 1 << 12
    while begin <= n1:
        end = min(n1, begin + size - 1)
        way = _chosen(region, orbit, begin, end, "auto")
        least = (int(n.min()) for n, _ in _blocks(OrbitTest(region, orbit, begin, end), way, None) if len(n))
        found = next(least, None) if way == "enumerate" else min(least, default=None)
        if found is not None:
            return found
        begin, size = end + 1, size * 4
    return None


@read_arguments
def running_counts(
    region: Set, orbit: Shift, ladder: Any, n0: int = 0, method: str = "auto", exact: bool = True
) -> list[int]:
    """#{n0 ≤ n ≤ N : x_n ∈ S} for every N of an increasing ladder, in one pass; ``exact`` as in ``count``."""
    steps = read(list[int], listed(ladder, "the ladder"), "the ladder")
    if not steps or steps != sorted(steps):
        raise UsageError(f"the ladder is {steps}; expected increasing N, at least one")
    if steps[0] < n0:
        raise UsageError(f"the ladder begins at N = {steps[0]}, before n0 = {n0}")
    way = _chosen(region, orbit, n0, steps[-1], method)
    if way == "floor_sum":
        assert isinstance(orbit, Kronecker)
        line, found = LineHits(region, orbit), []
        watch = Watch(f"counting to {len(steps)} N", "a shorter ladder is quicker, and as exact")
        for n in steps:
            found.append(line.count(n0, n, exact).total)
            watch(len(found), len(steps))
        return found
    running = np.zeros(len(steps), np.int64)
    for n, _ in _blocks(OrbitTest(region, orbit, n0, steps[-1], exact), way, None):
        running += np.searchsorted(np.sort(n), steps, side="right")
    return [int(total) for total in running]


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


@read_arguments
def count_over_theta(
    region: Set,
    frequency: Any,
    thetas: Any,
    N: int,
    bits: int = 128,
    method: str = "auto",
    allow_resonant: bool = False,
) -> ThetaCounts:
    """Counts over 0 ≤ n ≤ N for each θ of a batch; cells and roots are found once for all."""
    thetas = listed(thetas, "thetas")
    if not thetas:
        raise UsageError("there is no theta; give at least one")
    orbits = [Kronecker(frequency, t, bits, allow_resonant=allow_resonant or i > 0) for i, t in enumerate(thetas)]
    way = _chosen(region, orbits[0], 0, N, method)
    parts = None
    if way == "lattice":
        K = integer_root(N + 1, region.dim)
        size = 16.0 * region.dim * _expected_cells(region, K)
        require(size, f"the cells of side 1/{K}, for several theta,", "count one theta after the other")
        parts = list(meeting(region, K))
    found, watch = [], Watch(f"counting at {len(orbits)} theta", "fewer theta are quicker; their largest is then lower")
    for orbit in orbits:
        found.append(_counted(region, orbit, 0, N, way, parts=parts))
        watch(len(found), len(orbits))
    counts = tuple(f.count for f in found)
    at = max(range(len(counts)), key=counts.__getitem__)
    return ThetaCounts(counts, counts[at], str(thetas[at]), N, all(f.certified for f in found))
