"""Which way of counting applies, and which is the quickest."""

from tenfold.errors import UsageError
from tenfold.quasiperiodic.counting.decisions import Shift
from tenfold.quasiperiodic.counting.lattice import OrbitLattice
from tenfold.quasiperiodic.sets.covering import MAX_K
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.shifts.kronecker import Kronecker

METHODS = ("auto", "enumerate", "floor_sum", "lattice")
FEW = 1 << 18


def check(region: Set, orbit: Shift, n0: int, n1: int) -> None:
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


def chosen(region: Set, orbit: Shift, n0: int, n1: int, method: str) -> str:
    """The method for n0 ≤ n ≤ n1: the one that is asked for, or the quickest. Raises UsageError where it does not
    apply, and for what cannot be counted."""
    check(region, orbit, n0, n1)
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}")
    kronecker, points = isinstance(orbit, Kronecker), n1 - n0 + 1
    on_the_line = region.dim == 1 and kronecker
    if method == "floor_sum" and not on_the_line:
        raise UsageError("method 'floor_sum' counts Kronecker sequences in dimension 1; use 'lattice' or 'enumerate'")
    if method == "lattice" and not kronecker:
        raise UsageError("method 'lattice' counts Kronecker sequences; a skew shift is counted by 'enumerate'")
    K = grid_side(points, region.dim)
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
