"""How far points are from evenly spread: one front door for the discrepancies of points in [0, 1)^d.

Every result says which discrepancy it is, whether it is exact or between bounds, and whether it is a root or a
square. Sup discrepancies compare counts/N with volumes; L2 ones are root mean squares of that difference.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.stats import qmc

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.discrepancies import boxes
from tenfold.quasiperiodic.discrepancies.bounds import star_bounds
from tenfold.settings.arguments import read_arguments
from tenfold.shifts import costs
from tenfold.shifts.arrays import reals
from tenfold.shifts.kronecker import Kronecker

SUP = ("star", "extreme", "cube", "halfplane")
_SCIPY = {"L2star": "L2-star", "centred": "CD", "wraparound": "WD", "mixture": "MD"}
KINDS = (*SUP, *_SCIPY, "periodic")
DEFINITIONS = {
    "star": "sup over boxes [0, z) of |count/N − volume|",
    "extreme": "sup over all axis-parallel boxes in [0, 1]^d of |count/N − volume|",
    "cube": "sup over axis-parallel cubes in [0, 1]^d of |count/N − volume|",
    "halfplane": "sup over half-planes H of |count/N − area(H ∩ [0, 1]²)|, d = 2",
    "L2star": "root mean square over boxes [0, z) (Warnock's formula)",
    "centred": "Hickernell's centred L2 discrepancy",
    "wraparound": "Hickernell's wrap-around L2 discrepancy",
    "mixture": "mixture L2 discrepancy of Zhou, Fang and Ning",
    "periodic": "root mean square over boxes on the torus, invariant under shifts",
}
LIMIT = 10**8
_PAIRS = 1 << 22  # coordinates of pairs that a short measurement looks at
_QUICKER = (
    "a part of the points is quicker by the square of the ratio; of a Kronecker sequence periodic_discrepancy is exact "
    "in O(N d)"
)


@dataclass(frozen=True)
class Discrepancy:
    """``low`` ≤ value ≤ ``high``; ``value`` is exact up to rounding where ``exact``, else the middle."""

    kind: str
    value: float
    low: float
    high: float
    exact: bool
    squared: bool
    points: int
    dim: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the definition in words."""
        return {**asdict(self), "definition": DEFINITIONS[self.kind]}


@read_arguments
def discrepancy(
    points: Any, kind: str = "star", squared: bool = False, exact: bool | None = None, budget: int = 200_000
) -> Discrepancy:
    """A discrepancy of points (N, d) in [0, 1)^d.

    kind: "star", "extreme", "cube", "halfplane" (d = 2), "L2star", "centred", "wraparound", "mixture", "periodic".
    squared: the square of an L2 discrepancy instead of its root (scipy.stats.qmc reports centred, wrap-around and
        mixture squared, L2-star as a root).
    exact: True refuses bounds, False asks for bounds; by default exact where its cost (N^d box corners for "star",
        N^{2d−1} for "extreme" and "cube") is at most 10^8, and d ≤ 3 for "star", 2 for "extreme" and "cube".
    budget: number of boxes that bounds may look at.

    Raises UsageError for points outside [0, 1], an unknown kind, or an exact value that costs too much."""
    if kind not in KINDS:
        raise UsageError(f"there is no discrepancy {kind!r}{suggest(kind, KINDS)}")
    x = reals(points, "points")
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size:
        raise UsageError(f"points have shape {np.shape(points)}; expected (N, d) with N ≥ 1")
    if not ((x >= 0) & (x <= 1)).all():
        raise UsageError("a point lies outside [0, 1]; a discrepancy is of points of the unit cube")
    if budget < 1:
        raise UsageError(f"budget is {budget}; expected at least 1 box")
    n, d = x.shape
    if kind in SUP:
        if squared:
            raise UsageError(f"the {kind} discrepancy is a supremum and has no squared form; leave squared away")
        low, high, known = _supremum(x, kind, exact, budget)
        return Discrepancy(kind, low if known else (low + high) / 2, low, high, known, False, n, d)
    some = max(2, int((_PAIRS / d) ** 0.5))
    if n > some:
        began = costs.now()
        _square(x[:some], kind)
        seconds = (costs.now() - began) * (n / some) ** 2
        costs.say(seconds, f"the {kind} discrepancy of {n} points, over all pairs,", _QUICKER)
    square = _square(x, kind)
    value = square if squared else float(np.sqrt(max(square, 0.0)))
    return Discrepancy(kind, value, value, value, True, squared, n, d)


@read_arguments
def periodic_discrepancy(sequence: Kronecker, N: int, squared: bool = False) -> Discrepancy:
    """The periodic L2 discrepancy of x_0, …, x_{N−1} in O(N d): it depends on differences m α alone, each of which
    occurs N − |m| times, so that θ plays no part.

    D² = −3^{−d} + N^{−2} Σ_{|m|<N} (N − |m|) ∏_j (½ − {m α_j} (1 − {m α_j}))."""
    if not isinstance(sequence, Kronecker):
        raise UsageError(f"the sequence is a {type(sequence).__name__}; expected a Kronecker sequence")
    if N < 1:
        raise UsageError(f"N is {N}; expected at least 1 point")
    origin = sequence.at_origin()
    d, total = sequence.dim, N * 0.5**sequence.dim
    watch = costs.Watch(f"the periodic discrepancy of {N} points", "fewer points are quicker, by as much")
    for begin in range(1, N, 1 << 16):
        stop = min(begin + (1 << 16), N)
        x = origin.points(begin, stop)
        weights = 2.0 * (N - np.arange(begin, stop, dtype=np.float64))
        total += float(weights @ np.prod(0.5 - x * (1 - x), axis=1))
        watch(stop, N)
    square = max(total / N**2 - 3.0**-d, 0.0)
    value = square if squared else float(np.sqrt(square))
    return Discrepancy("periodic", value, value, value, True, squared, N, d)


def _supremum(x: Float64[np.ndarray, "n d"], kind: str, exact: bool | None, budget: int) -> tuple[float, float, bool]:
    n, d = x.shape
    if kind == "halfplane":
        if d != 2:
            raise UsageError(f"the half-plane discrepancy is for d = 2, but the points have d = {d}")
        if n**3 > 50 * LIMIT:
            raise UsageError(f"{n} points are too many for the half-plane discrepancy; give at most 1700")
        value = boxes.halfplane(x)
        return value, value, True
    cost, most = (float(n) ** d, 3) if kind == "star" else (float(n) ** (2 * d - 1), 2)
    feasible = d == 1 or (d <= most and cost <= LIMIT)
    if exact and not feasible:
        raise UsageError(
            f"the exact {kind} discrepancy of {n} points in dimension {d} looks at about {cost:.1g} boxes, over 1e8 or "
            f"in too many dimensions (up to {most}); leave exact away for certified bounds"
        )
    if feasible and exact is not False:
        value = {"star": boxes.star, "extreme": boxes.extreme, "cube": boxes.cube}[kind](x)
        return value, value, True
    low, high = star_bounds(x, budget)
    if kind == "star":
        return low, high, False
    # star ≤ extreme ≤ 2^d star; a cube is a box, so that its discrepancy has the same upper bound.
    top = min(1.0, 2.0**d * high)
    return (low if kind == "extreme" else boxes.cube_lower(x)), top, False


def _square(x: Float64[np.ndarray, "n d"], kind: str) -> float:
    return _periodic(x) if kind == "periodic" else _scipy(x, kind)


def _scipy(x: Float64[np.ndarray, "n d"], kind: str) -> float:
    value = float(qmc.discrepancy(x, method=_SCIPY[kind]))
    return value**2 if kind == "L2star" else value


def _periodic(x: Float64[np.ndarray, "n d"]) -> float:
    n, d = x.shape
    total = 0.0
    rows = max(1, (1 << 20) // n)
    for begin in range(0, n, rows):
        gap = np.abs(x[begin : begin + rows, None] - x[None])
        total += float(np.prod(0.5 - gap * (1 - gap), axis=2).sum())
    return max(total / n**2 - 3.0**-d, 0.0)
