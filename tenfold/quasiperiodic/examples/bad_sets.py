"""How often an orbit meets the θ where a finite-volume determinant is small.

B = {θ ∈ T : |det(H_M(θ) − E)| < e^{−M^s}} is the kind of set that large-deviation estimates make: a sublevel set of an
analytic function, hence of polynomial degree once cut off, and of small measure. Any determinant can be plugged in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError
from tenfold.figures import lines
from tenfold.quasiperiodic.counting.hits import first_hit, hits, running_counts
from tenfold.quasiperiodic.counting.separation import separation_bound
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.quasiperiodic.sets.shapes import intervals
from tenfold.quasiperiodic.spectral.goodbox import Determinants
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.shifts import Frequency, Kronecker

Determinant = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class BadSet:
    """The sublevel set as intervals, ends bisected to 2^−44 of the grid's spacing; ``fraction`` of the grid in it, and
    ``length`` of the intervals. Numerical: excursions that the grid does not see, without a change of sign, are
    missed."""

    region: Set | None
    ends: tuple[tuple[float, float], ...]
    fraction: float
    length: float
    level: float
    grid: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "intervals": [list(e) for e in self.ends], "fraction": self.fraction, "length": self.length,
            "log_level": self.level, "grid": self.grid, "certified": False,
        }  # fmt: skip


def almost_mathieu(sites: int, coupling: float, energy: float, frequency: Any) -> Determinant:
    """θ ↦ (sign, log |det|) of H_M(θ) − E, (H u)_n = u_{n+1} + u_{n−1} + 2λ cos 2π(θ + n α) u_n on n = 0 … M − 1."""
    phases = Kronecker(frequency).points(0, sites)[:, 0]

    def determinant(theta: Float64[np.ndarray, " n"]) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        values = 2 * coupling * np.cos(2 * np.pi * (theta[:, None] + phases)) - energy
        chain = Determinants(len(values), 1.0)
        chain.extend(values)
        size, sign = chain.log_abs, chain.sign
        return sign, size

    return determinant


def sublevel(determinant: Determinant, log_level: float, grid: int = 1 << 14) -> BadSet:
    """{θ : log |det(θ)| < log_level} on [0, 1): found on a grid, and at every change of sign, ends by bisection."""
    if grid < 16:
        raise UsageError(f"the grid has {grid} points; expected at least 16")
    theta = np.arange(grid) / grid
    sign, size = determinant(theta)
    below = size < log_level
    # A zero between two grid points lies in the set even where both are outside.
    crossed = np.flatnonzero((sign[:-1] * sign[1:] < 0) & ~below[:-1] & ~below[1:])
    zero = _bisected(lambda t: determinant(t)[0] == sign[crossed], theta[crossed], theta[crossed + 1])
    change = np.flatnonzero(below[:-1] != below[1:])
    outside = np.concatenate([theta[crossed], theta[crossed + 1], theta[change + ~below[change + 1]]])
    inside = np.concatenate([zero, zero, theta[change + below[change + 1]]])
    edge = _bisected(lambda t: determinant(t)[1] >= log_level, outside, inside)
    left, right, rest = np.split(edge, [len(crossed), 2 * len(crossed)])
    opens = np.concatenate([[0.0] if below[0] else [], rest[below[change + 1]]])
    closes = np.concatenate([rest[~below[change + 1]], [1.0] if below[-1] else []])
    ends = [*zip(left, right, strict=True), *zip(opens, closes, strict=True)]
    # Where the determinant rounds to 0 the interval may shrink to a float: it keeps its point.
    kept = sorted((a, max(b, np.nextafter(a, 2.0))) for a, b in ends)
    region = intervals([(float(a), float(min(b, 1.0))) for a, b in kept if a < 1.0]) if kept else None
    length = float(sum(b - a for a, b in kept))
    return BadSet(region, tuple((float(a), float(b)) for a, b in kept), float(below.mean()), length, log_level, grid)


def _bisected(stays: Callable[[np.ndarray], np.ndarray], outside: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Where a property that holds at ``outside`` ends, towards ``inside``; all at once."""
    outside, inside = outside.copy(), inside.copy()
    for _ in range(44 if len(outside) else 0):
        middle = 0.5 * (outside + inside)
        still = stays(middle)
        outside, inside = np.where(still, middle, outside), np.where(still, inside, middle)
    return inside


SIDES, QUICK_SIDES = (8, 12, 16, 24, 32, 48, 64), (8, 12, 16, 24, 32)


def run(
    figures: Path,
    quick: bool,
    progress: Callable[[float], None],
    coupling: float = 1.0,
    energy: float = 0.0,
    s: float = 0.5,
) -> Outcome:
    """Almost Mathieu determinants at λ = ``coupling``, E = ``energy`` along the golden rotation, M = 8 … 64."""
    frequency = Frequency.named("golden")
    sides = QUICK_SIDES if quick else SIDES
    N = 10**4 if quick else 10**6
    orbit = Kronecker(frequency)
    rows: list[Measurement] = []
    kept, sets, counts, bounds, data = [], [], [], [], []
    for i, M in enumerate(sides):
        bad = sublevel(almost_mathieu(M, coupling, energy, frequency), -(M**s), 1 << (12 if quick else 15))
        progress((i + 1) / len(sides))
        if bad.region is None:  # the energy lies off this box's eigenvalues for all θ
            continue
        found = hits(bad.region, orbit, 0, N)
        bound = separation_bound(bad.region, frequency, N)
        after = next((n for n in range(len(found) + 1) if n >= len(found) or found[n] != n), 0)
        kept.append(M)
        sets.append(bad)
        counts.append(len(found))
        bounds.append(bound.bound)
        at, expected = f"M = {M}, N = {N}", f"N · measure = {N * bad.length:.1f}"
        intervals_ = f"{len(bad.ends)} intervals"
        rows += [
            Measurement("bad_set_measure", bad.length, "", f"M = {M}", "almost Mathieu", note=intervals_),
            Measurement("hits", len(found), "", at, "golden orbit", note=expected),
            Measurement("block_separation_bound", bound.bound, "", at, "every θ", note=f"block {bound.block}"),
        ]
        data.append(
            {"M": M, "set": bad.to_dict(), "bound": bound.to_dict(), "hits": [int(n) for n in found[:1000]],
             "first_hit": first_hit(bad.region, orbit, 0, N), "first_good_box": int(after)}
        )  # fmt: skip
    if not kept:
        raise UsageError(
            f"at E = {energy}, λ = {coupling} no box has a determinant below its level; choose another energy"
        )
    lines(
        {"measure": (kept, [bad.length for bad in sets]), "e^(-M^s)": (kept, np.exp(-np.array(kept, float) ** s))},
        figures / "measure.png", "M", "measure", "Measure of the θ with a small determinant", (False, True),
        ("e^(-M^s)",),
    )  # fmt: skip
    lines(
        {"hits, 0 ≤ n ≤ N": (kept, counts), "block separation bound": (kept, bounds)},
        figures / "hits.png", "M", f"hits (N = {N:,})", "Hits along the orbit, and their bound", (False, True),
    )  # fmt: skip
    ladder = np.unique(np.geomspace(10, N, 40).astype(int))
    last = sets[-1]
    assert last.region is not None
    running = np.array(running_counts(last.region, orbit, ladder.tolist()))
    lines(
        {f"hits, M = {kept[-1]}": (ladder, np.maximum(running, 0.5)), "N · measure": (ladder, ladder * last.length)},
        figures / "running.png", "N", "hits in 0 … N", "Running count", (True, True), ("N · measure",),
    )  # fmt: skip
    captions = {
        "measure.png": f"Measured on a grid with bisected ends: λ = {coupling}, E = {energy}, level e^(−M^{s}).",
        "hits.png": "Counted exactly by floor sums; the bound (derived, by separated blocks) holds for every θ.",
        "running.png": "Hits of the largest M's set along the orbit (0 drawn at 0.5).",
    }
    return Outcome(
        rows, captions, {"coupling": coupling, "energy": energy, "s": s, "N": N, "M": list(sides)}, {"sets": data}
    )
