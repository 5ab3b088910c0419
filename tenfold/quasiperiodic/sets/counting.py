"""How often an orbit meets a set: three methods that agree, and what is certain about the number.

Ranges are inclusive: n0 ≤ n ≤ n1, as in the hit counts #{0 ≤ n ≤ N : x_n ∈ S}.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.cells import Cells, Classifier, meeting
from tenfold.quasiperiodic.sets.covering import MAX_K
from tenfold.quasiperiodic.sets.floor_sums import count_in, first_in, list_in, widened
from tenfold.quasiperiodic.sets.lattice_hits import lattice_hits
from tenfold.quasiperiodic.sets.membership import UNIT
from tenfold.quasiperiodic.sets.roots import PhaseRanges, phase_ranges
from tenfold.quasiperiodic.sets.sets import Set
from tenfold.shifts.kronecker import Kronecker

Method = Literal["auto", "enumerate", "floor_sum", "lattice"]
METHODS = ("auto", "enumerate", "floor_sum", "lattice")
CHUNK = 1 << 17
FEW = 1 << 18
KEPT_HITS = 10_000_000
MOST_RECHECKS = 20_000


class Orbit(Protocol):
    """What is counted: a Kronecker sequence or a skew shift."""

    moduli: tuple[int, ...]
    bits: int

    @property
    def dim(self) -> int: ...

    def points(self, start: int, stop: int) -> np.ndarray: ...

    def at(self, n: Any) -> np.ndarray: ...

    def exact_at(self, n: int) -> tuple[int, ...]: ...

    def slack(self, n: int) -> tuple[int, ...]: ...

    def phase_error(self, n: int) -> float: ...

    def to_dict(self) -> dict[str, Any]: ...


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
    hits: np.ndarray | None = field(default=None, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; hits as a list."""
        plain = {k: v for k, v in self.__dict__.items() if k != "hits"}
        return {
            **plain, "range": [self.n0, self.n1], "range_inclusive": True,
            "hits": None if self.hits is None else [int(n) for n in self.hits],
        }  # fmt: skip


def count(
    region: Set,
    orbit: Orbit,
    n0: int,
    n1: int,
    method: Method = "auto",
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
    check(region, orbit, n0, n1)
    chosen = _chosen(region, orbit, n0, n1, method)
    if chosen == "floor_sum":
        return _by_floor_sum(region, orbit, n0, n1, exact, _ranges_of(region, orbit))[0]
    test = _Test(region, orbit, n0, n1, exact)
    if chosen == "enumerate":
        hits, cells = np.concatenate(list(_enumerated(test, n0, n1, progress))), None
    else:
        points = n1 - n0 + 1
        K = grid_side(points, region.dim)
        parts = meeting(region, K)
        hits, cells = lattice_hits(orbit, n0, points, K, parts, test.hits_among)  # type: ignore[arg-type]
    return HitCount(
        len(hits), n0, n1, chosen, test.exact, test.rechecked, test.error, region.degree, cells,
        hits if len(hits) <= KEPT_HITS else None,
    )  # fmt: skip


def hits(region: Set, orbit: Orbit, n0: int, n1: int, method: Method = "auto") -> np.ndarray:
    """All n0 ≤ n ≤ n1 with x_n in the set, sorted: int64; in dimension 1 by bisection on the floor sum where hits
    are few."""
    check(region, orbit, n0, n1)
    chosen = _chosen(region, orbit, n0, n1, method)
    if chosen == "floor_sum":
        ranges = _ranges_of(region, orbit)
        found, moved = _by_floor_sum(region, orbit, n0, n1, True, ranges)
        # One bisected hit costs as much as some hundred thousand enumerated points.
        if found.count << 18 < n1 - n0 or n1 - n0 > 1 << 30:
            listed = {n0 + i for i in _listed(ranges, orbit, n0, n1)}
            listed = listed - {n for n, inside in moved.items() if not inside} | {
                n for n, inside in moved.items() if inside
            }
            return np.array(sorted(listed), dtype=np.int64)
        chosen = "enumerate"
    kept = count(region, orbit, n0, n1, chosen).hits
    if kept is None:
        raise UsageError(f"the set has over {KEPT_HITS} hits in the range; count them, or list a shorter range")
    return kept


def first_hit(region: Set, orbit: Orbit, n0: int, n1: int) -> int | None:
    """The least n0 ≤ n ≤ n1 with x_n in the set, or None: by bisection in dimension 1, else over growing ranges."""
    check(region, orbit, n0, n1)
    if _floor_sum_applies(region, orbit):
        ranges = _ranges_of(region, orbit)
        _, moved = _by_floor_sum(region, orbit, n0, n1, True, ranges)
        (modulus,) = orbit.moduli
        dropped = [n for n, inside in moved.items() if not inside]
        at: int | None = n0
        while at is not None and at <= n1:
            step = first_in(ranges.inside, orbit.exact_at(at)[0], _step(orbit), modulus, n1 - at + 1)
            at = None if step is None else at + step
            if at not in dropped:
                break
            at = at + 1 if at is not None else None
        candidates = [n for n, inside in moved.items() if inside] + ([at] if at is not None and at <= n1 else [])
        return min(candidates, default=None)
    begin, size = n0, 1 << 12
    while begin <= n1:
        end = min(n1, begin + size - 1)
        found_here = hits(region, orbit, begin, end)
        if len(found_here):
            return int(found_here[0])
        begin, size = end + 1, size * 4
    return None


def running_counts(region: Set, orbit: Orbit, ladder: Sequence[int], n0: int = 0, method: Method = "auto") -> list[int]:
    """#{n0 ≤ n ≤ N : x_n ∈ S} for every N of an increasing ladder, in one pass."""
    steps = [int(n) for n in ladder]
    if not steps or steps != sorted(steps):
        raise UsageError(f"the ladder is {steps}; expected increasing N, at least one")
    check(region, orbit, n0, steps[-1])
    if steps[0] < n0:
        raise UsageError(f"the ladder begins at N = {steps[0]}, before n0 = {n0}")
    if _chosen(region, orbit, n0, steps[-1], method) == "floor_sum":
        ranges = _ranges_of(region, orbit)
        return [_by_floor_sum(region, orbit, n0, n, True, ranges)[0].count for n in steps]
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
    method: Method = "auto",
    allow_resonant: bool = False,
) -> ThetaCounts:
    """Counts over 0 ≤ n ≤ N for each θ of a batch; cells and roots are found once for all."""
    if not len(thetas):
        raise UsageError("there is no theta; give at least one")
    orbits = [Kronecker(frequency, t, bits, allow_resonant=allow_resonant or i > 0) for i, t in enumerate(thetas)]
    check(region, orbits[0], 0, N)
    chosen = _chosen(region, orbits[0], 0, N, method)
    counts, certified = [], True
    parts: list[Cells] | None = None
    ranges: dict[int, PhaseRanges] = {}
    for orbit in orbits:
        if chosen == "floor_sum":
            (modulus,) = orbit.moduli
            ranges.setdefault(modulus, phase_ranges(region, modulus))
            found, _ = _by_floor_sum(region, orbit, 0, N, True, ranges[modulus])
            counts.append(found.count)
            certified &= found.certified
            continue
        test = _Test(region, orbit, 0, N, True)
        if chosen == "enumerate":
            counts.append(sum(len(h) for h in _enumerated(test, 0, N, None)))
            continue
        K = grid_side(N + 1, region.dim)
        parts = parts if parts is not None else list(meeting(region, K, Classifier(region)))
        counts.append(len(lattice_hits(orbit, 0, N + 1, K, parts, test.hits_among)[0]))
    at = max(range(len(counts)), key=counts.__getitem__)
    return ThetaCounts(tuple(counts), counts[at], str(thetas[at]), N, certified)


# --- choices ---------------------------------------------------------------------------------------------


def check(region: Set, orbit: Orbit, n0: int, n1: int) -> None:
    """Refuse what cannot be counted."""
    if region.dim != orbit.dim:
        raise UsageError(f"the set has b = {region.dim} dimensions, but the sequence {orbit.dim}; they must agree")
    if n1 < n0:
        raise UsageError(f"the range is reversed: N = {n1} is below n0 = {n0}; give n0 ≤ N (both ends are counted)")
    if max(abs(n0), abs(n1)) >= 1 << 63:
        raise UsageError(f"n reaches {max(abs(n0), abs(n1))}; counting goes to |n| < 2^63")


def grid_side(points: int, dim: int) -> int:
    """K = ⌊points^{1/b}⌋, at least 1."""
    K = round(points ** (1 / dim))
    while K**dim > points:
        K -= 1
    return max(1, K)


def _floor_sum_applies(region: Set, orbit: Orbit) -> bool:
    return region.dim == 1 and isinstance(orbit, Kronecker)


def _chosen(region: Set, orbit: Orbit, n0: int, n1: int, method: str) -> Method:
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")
    kronecker, points = isinstance(orbit, Kronecker), n1 - n0 + 1
    if method == "floor_sum" and not _floor_sum_applies(region, orbit):
        raise UsageError("method 'floor_sum' counts Kronecker sequences in dimension 1; use 'lattice' or 'enumerate'")
    if method == "lattice" and not kronecker:
        raise UsageError("method 'lattice' counts Kronecker sequences; a skew shift is counted by 'enumerate'")
    K = grid_side(points, region.dim)
    if method == "lattice" and K > MAX_K:
        raise UsageError(
            f"method 'lattice' needs a grid of K = {K} cells a side, and goes to {MAX_K}; shorten the range"
        )
    if method != "auto":
        return method  # type: ignore[return-value]
    if _floor_sum_applies(region, orbit):
        return "floor_sum"
    if not kronecker or points <= FEW or K > MAX_K:
        return "enumerate"
    # A coarse cover tells how many cells a fine one has.
    coarse = region.cover(min(K, 64 if region.dim < 3 else 16))
    ratio = K / coarse.K
    expected = coarse.boundary * ratio ** (region.dim - 1) + coarse.inside * ratio**region.dim
    if expected > points / 16:
        return "enumerate"
    try:
        from tenfold.quasiperiodic.sets.lattice_hits import OrbitLattice

        OrbitLattice.of(orbit, n0, points, K)  # type: ignore[arg-type]
    except UsageError:
        return "enumerate"
    return "lattice"


# --- the methods -----------------------------------------------------------------------------------------


class _Test:
    """Exact membership of orbit points, with a tally of what float64 could not decide."""

    def __init__(self, region: Set, orbit: Orbit, n0: int, n1: int, exact: bool) -> None:
        self.region, self.orbit, self.exact = region, orbit, exact
        self.error = max(orbit.phase_error(n0), orbit.phase_error(n1))
        self.delta = UNIT + self.error
        self.rechecked = 0

    def decide(self, points: np.ndarray, index: Callable[[int], int]) -> np.ndarray:
        inside, unknown = self.region.membership.test(points, self.delta if self.exact else 0.0)
        if not self.exact:
            return inside | (unknown & _as_floats_have_it(self.region, points))
        for i in np.flatnonzero(unknown):
            inside[i] = self._recheck(index(int(i)))
        return inside

    def hits_among(self, n: np.ndarray) -> np.ndarray:
        return n[self.decide(self.orbit.at(n), lambda i: int(n[i]))]

    def _recheck(self, n: int) -> bool:
        self.rechecked += 1
        if self.rechecked > MOST_RECHECKS and self.error > UNIT:
            numerators = self.orbit.exact_at(n)
            raise too_few_bits(self.orbit, n, self.region.membership.closest(numerators, self.orbit.moduli))
        return decided(self.region, self.orbit, n)


def _as_floats_have_it(region: Set, points: np.ndarray) -> np.ndarray:
    inside = np.zeros(len(points), bool)
    values = dict(zip(region.polynomials, region.membership.values(points), strict=True))
    compare = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal, "==": np.equal}
    for clause in region.clauses:
        inside |= np.logical_and.reduce([compare[s](values[p], 0.0) for p, s in clause])
    return inside


def decided(region: Set, orbit: Orbit, n: int) -> bool:
    """Membership of one real orbit point: in the stored bits, and where these do not tell, in up to sixteen times as
    many, or as an exact fraction.

    Raises UsageError where that does not tell either."""
    numerators = orbit.exact_at(n)
    answer = region.membership.exact(numerators, orbit.moduli, orbit.slack(n))
    if isinstance(orbit, Kronecker):
        bits = orbit.bits
        while answer is None and bits < 16 * orbit.bits:
            bits *= 2
            answer = region.membership.exact(*orbit.real_at(n, bits))
    if answer is None:
        raise too_few_bits(orbit, n, region.membership.closest(numerators, orbit.moduli))
    return answer


def too_few_bits(orbit: Orbit, n: int, closest: float) -> UsageError:
    """The refusal of a count whose phases are too coarse."""
    return UsageError(
        f"{orbit.bits} bits are too few: point n = {n} is known to {orbit.phase_error(n):.2g} (n·2^-{orbit.bits}), but "
        f"there the closest |P| is {closest:.2g}; use more bits (64, 128 or 256), or exact=False (--inexact)"
    )


def _enumerated(test: _Test, n0: int, n1: int, progress: Callable[[float], None] | None) -> Iterator[np.ndarray]:
    buffer = np.empty((min(CHUNK, n1 - n0 + 1), test.orbit.dim))
    kronecker = isinstance(test.orbit, Kronecker)
    for begin in range(n0, n1 + 1, CHUNK):
        stop = min(begin + CHUNK, n1 + 1)
        if kronecker:
            points = test.orbit.points(begin, stop, out=buffer[: stop - begin])  # type: ignore[call-arg]
        else:
            points = test.orbit.points(begin, stop)
        yield np.flatnonzero(test.decide(points, lambda i, first=begin: first + i)) + begin  # type: ignore[misc]
        if progress is not None:
            progress((stop - n0) / (n1 - n0 + 1))


def _step(orbit: Orbit) -> int:
    return orbit.steps[0]  # type: ignore[attr-defined]


def _ranges_of(region: Set, orbit: Orbit) -> PhaseRanges:
    return phase_ranges(region, orbit.moduli[0])


def _by_floor_sum(
    region: Set, orbit: Orbit, n0: int, n1: int, exact: bool, ranges: PhaseRanges
) -> tuple[HitCount, dict[int, bool]]:
    """The count, and the n whose real point is on the other side of a boundary than the stored one."""
    (modulus,), (start,) = orbit.moduli, orbit.exact_at(n0)
    points, step = n1 - n0 + 1, _step(orbit)
    total = count_in(ranges.inside, start, step, modulus, points)
    error = max(orbit.phase_error(n0), orbit.phase_error(n1))
    moved: dict[int, bool] = {}
    rechecked = 0
    if exact and error:
        # Only points within the error of a boundary (or of the seam at 0) can be on its other side in truth.
        reach = max(orbit.slack(n0)[0], orbit.slack(n1)[0]) + 1
        near = widened(sorted({0, *ranges.critical}), reach, modulus)
        suspects = count_in(near, start, step, modulus, points)
        if suspects > MOST_RECHECKS:
            i = next(list_in(near, start, step, modulus, points))
            raise too_few_bits(orbit, n1, region.membership.closest(orbit.exact_at(n0 + i), orbit.moduli))
        for i in list_in(near, start, step, modulus, points) if suspects else ():
            rechecked += 1
            r = (start + i * step) % modulus
            stored = any(low <= r < high for low, high in ranges.inside)
            real = decided(region, orbit, n0 + i)
            if real != stored:
                moved[n0 + i] = real
                total += 1 if real else -1
    return HitCount(total, n0, n1, "floor_sum", exact, rechecked, error, region.degree), moved


def _listed(ranges: PhaseRanges, orbit: Orbit, n0: int, n1: int) -> Iterator[int]:
    (modulus,), (start,) = orbit.moduli, orbit.exact_at(n0)
    return list_in(ranges.inside, start, _step(orbit), modulus, n1 - n0 + 1)
