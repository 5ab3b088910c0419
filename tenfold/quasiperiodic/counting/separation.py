"""Certificates on hit counts from the separation of orbit points; derived, exact and free of constants.

Separation bound: let δ = min_{1≤n≤N} ‖n α‖ and K = ⌈1/δ⌉. Two of x_0, …, x_N in one half-open grid cell of side 1/K
would be nearer than δ in every coordinate, so each cell holds at most one, and for every θ
    #{0 ≤ n ≤ N : x_n ∈ S} ≤ cov(S, K).
Block bound: of any L consecutive points the same holds with δ_{L−1}, so that for every L
    #{0 ≤ n ≤ N : x_n ∈ S} ≤ ⌈(N + 1)/L⌉ · cov(S, ⌈1/δ_{L−1}⌉).
"""

from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil
from typing import Any

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.covering import MAX_K, Cover, cover
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.settings.arguments import read_arguments
from tenfold.shifts import arrays
from tenfold.shifts.diophantine import best_simultaneous
from tenfold.shifts.frequency import Frequency
from tenfold.shifts.kronecker import Kronecker


@dataclass(frozen=True)
class HitBound:
    """hits ≤ ``bound`` = ⌈(N + 1)/block⌉ · cells over 0 ≤ n ≤ N inclusive, for every θ. ``delta`` is a lower bound of
    δ_{block−1}, ``K`` = ⌈1/δ⌉, ``cells`` ≥ cov(S, K) certified by intervals; ``plain`` is the bound with one block,
    or None where its grid is finer than can be walked along, or δ is 0."""

    bound: int
    N: int
    block: int
    delta: float
    K: int
    cells: int
    cover: Cover
    plain: int | None
    frequency: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            **self.__dict__, "cover": self.cover.to_dict(), "range": [0, self.N], "range_inclusive": True,
            "norm": "sup", "statement": "derived: separation of orbit points, for every theta",
        }  # fmt: skip


@read_arguments
def separation_bound(region: Set, sequence: Kronecker | Any, N: int, block: str | int | None = "auto") -> HitBound:
    """An upper bound on #{0 ≤ n ≤ N : x_n ∈ S} for every θ.

    block: "auto" takes the best length: δ_{L−1} only changes at the record times of ‖n α‖, so these and N + 1 hold
        the minimum over all L. A number is that L, None the plain bound (L = N + 1).

    Raises UsageError when dimensions differ, N < 0, or every admissible grid is too fine."""
    if not isinstance(region, Set):
        raise UsageError(f"the set is a {type(region).__name__}; expected a Set")
    frequency = sequence.frequency if isinstance(sequence, Kronecker) else Frequency.of(sequence)
    if frequency.dim != region.dim:
        raise UsageError(f"the set has b = {region.dim} dimensions, but the frequency {frequency.dim}; they must agree")
    if N < 0:
        raise UsageError(f"N is {N}; expected at least 0")
    records = best_simultaneous(frequency, max(N, 1))
    lengths = _lengths(records.sizes, N, block)
    deltas = {L: records.smallest(L - 1) if L > 1 else Fraction(1) for L in lengths}
    sides = {L: ceil(1 / delta) for L, delta in deltas.items() if delta}
    # In dimension 1 a grid of any fineness is counted from the roots.
    walked = {L: K for L, K in sides.items() if region.dim == 1 or K <= MAX_K}
    if not walked:
        K = sides.get(max(lengths), "infinitely many")
        raise UsageError(
            f"the grid of the separation bound would have K = {K} cells a side, over {MAX_K}; take block='auto' or a "
            "shorter range"
        )
    covers = {K: cover(region, K) for K in set(walked.values())}
    values = {L: -(-(N + 1) // L) * covers[K].cells for L, K in walked.items()}
    L = min(values, key=lambda L: (values[L], L))
    K = walked[L]
    return HitBound(
        values[L], N, L, -arrays.above(-deltas[L]), K, covers[K].cells, covers[K], values.get(N + 1), str(frequency)
    )  # fmt: skip


def _lengths(sizes: tuple[int, ...], N: int, block: str | int | None) -> list[int]:
    if block is None:
        return [N + 1]
    if block == "auto":
        return sorted({L for L in (1, *sizes, N + 1) if L <= N + 1})
    if isinstance(block, str) or not 1 <= block <= N + 1:
        raise UsageError(f"block is {block!r}; expected 'auto', None, or a length from 1 to N + 1 = {N + 1}")
    return [block]


@dataclass(frozen=True)
class GoodBoxDistance:
    """Within how many shifts N a good box of size M must lie, in dimension 1 (derived; hypotheses as given).

    ``case`` "degree": N = max(3 M^q, 2 M^q + 4), as q_{k+1} ≤ e^{M^s}/2; "denominator": N = q_{k+1}."""

    N: int
    case: str
    M: float
    q: float
    s: float
    below: int
    above: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the hypotheses."""
        return {
            **self.__dict__,
            "hypotheses": "bad set of degree at most M^q, so of at most M^q + 1 intervals, and measure at most "
            "exp(-M^s); b = 1; derived, any theta",
        }  # fmt: skip


@read_arguments
def good_box_distance(frequency: Any, M: float, q: float, s: float) -> GoodBoxDistance:
    """The N with a point x_n ∉ S, 0 ≤ n ≤ N, for every bad set S ⊂ T of degree at most M^q, hence at most M^q + 1
    intervals, and Leb S ≤ e^{−M^s}.

    With R = max(3 M^q, 2 M^q + 4) and q_k ≤ R < q_{k+1} the best approximation denominators around it (derived): each
    interval of length l meets at most K l + 2 cells and K = ⌈1/δ_N⌉ ≤ 2 q_{k+1} for N < q_{k+1}, so there are at most
    2 (M^q + 1) + 2 q_{k+1} e^{−M^s} ≤ 2 M^q + 3 hits among R + 1 points when q_{k+1} ≤ e^{M^s}/2; otherwise the
    q_{k+1} points 0 … q_{k+1} − 1 contain fewer than q_{k+1} hits, as q_{k+1} (1 − 2 e^{−M^s}) > 2 (M^q + 1).

    Raises UsageError where M, q or s are not positive, e^{−M^s} ≥ 1/6, or a number outgrows 10^200."""
    frequency = Frequency.of(frequency)
    if frequency.dim != 1:
        raise UsageError(f"the frequency {frequency} has {frequency.dim} components; the argument is for dimension 1")
    if not (M > 0 and q > 0 and s > 0):
        raise UsageError(f"M, q, s are {M}, {q}, {s}; expected positive numbers")
    # Whole powers are exact, others right to 60 digits.
    with localcontext(prec=60):
        try:
            degree, smallness = Decimal(repr(M)) ** Decimal(repr(q)), Decimal(repr(M)) ** Decimal(repr(s))
        except ArithmeticError:
            degree = smallness = Decimal("1e300")
        if not smallness > Decimal("1.8"):
            size = 2.718281828 ** -float(smallness)
            raise UsageError(f"exp(-M^s) is {size:.3g} for M = {M}, s = {s}; the argument needs it below 1/6")
        if max(degree, smallness) > Decimal("1e200"):
            raise UsageError(f"M^q or M^s is over 1e200 for M = {M}, q = {q}, s = {s}; take smaller ones")
        target = ceil(max(3 * degree, 2 * degree + 4))
        found = best_simultaneous(frequency, 2 * target)
        while found.sizes[-1] <= target and found.limit < target << 200 and found.distances[-1]:
            found = best_simultaneous(frequency, found.limit << 16)
        above = next((n for n in found.sizes if n > target), None)
        if above is None and not found.distances[-1]:
            raise UsageError(
                f"the frequency {found.frequency} is rational with denominator {found.sizes[-1]}; its orbit is finite"
            )
        if above is None:
            raise UsageError(
                f"the frequency {found.frequency} has no q_k from {target} to {found.limit}; take another M"
            )
        below = max(n for n in found.sizes if n <= target)
        if Decimal(above).ln() <= smallness - Decimal(2).ln():
            return GoodBoxDistance(target, "degree", M, q, s, below, above)
        if not above * (1 - 2 * (-smallness).exp()) > 2 * (degree + 1):
            raise UsageError(f"no good box is guaranteed for M = {M}, q = {q}, s = {s}; take a larger M")
        return GoodBoxDistance(above, "denominator", M, q, s, below, above)
