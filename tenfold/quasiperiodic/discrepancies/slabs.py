"""Slabs that an orbit misses, or fills, by about N^{1−1/b}: why the hit bounds cannot be better.

Derived: by Dirichlet there is a whole k with |k| ≤ N^{1/b} and ‖k · α‖ ≤ 1/N, so that x_0, …, x_{cN} stay near the
hyperplanes k · x ∈ Z; a slab of degree 2 between two of them has volume about N^{−1/b} and no points.
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.counting.hits import count
from tenfold.quasiperiodic.sets.measure import halfspace_volume
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.quasiperiodic.sets.shapes import slab
from tenfold.settings.arguments import read_arguments
from tenfold.shifts.costs import Watch
from tenfold.shifts.diophantine import dual_rows, signed
from tenfold.shifts.frequency import Frequency
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.reduction import in_box

DIRECTIONS = 25
MAX_POINTS = 1 << 24
_CHUNK = 1 << 17


@dataclass(frozen=True)
class WorstSlab:
    """The half-slab {low ≤ k · x < high} with the largest | count − N · volume | among those tried, over the N points
    0 ≤ n < N. A lower estimate of the supremum over slabs: it bounds nothing from above."""

    k: tuple[int, ...]
    low: Fraction
    high: Fraction
    count: int
    volume: Fraction
    deviation: float
    N: int
    directions: int

    @property
    def region(self) -> Set:
        """The slab as a set."""
        return slab(self.k, self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "k": list(self.k), "low": str(self.low), "high": str(self.high), "count": self.count,
            "volume": float(self.volume), "deviation": self.deviation, "N": self.N, "directions": self.directions,
            "range": [0, self.N - 1], "range_inclusive": True, "statement": "lower estimate of the supremum over slabs",
        }  # fmt: skip


@read_arguments
def worst_slab(sequence: Kronecker | Any, N: int, theta: Any = 0) -> WorstSlab:
    """Try the 25 vectors k, |k|_∞ ≤ 2 N^{1/b}, of least N ‖k · α‖ + |k|_∞ / N^{1/b}, and for each all half-slabs
    j/2 + o ≤ k · x < (j + 1)/2 + o, o = 0 or 1/4, over the points x_0, …, x_{N−1}.

    ``sequence`` is a Kronecker sequence, or a frequency to start at ``theta``. Raises UsageError for N < 4 or N over
    2^24."""
    if isinstance(sequence, Kronecker) and not (np.ndim(theta) == 0 and theta == 0):
        raise UsageError("theta starts a frequency; a Kronecker sequence has its own, so leave theta away")
    orbit = sequence if isinstance(sequence, Kronecker) else Kronecker(sequence, theta)
    if not 4 <= N <= MAX_POINTS:
        raise UsageError(f"N is {N}; a search for slabs takes 4 ≤ N ≤ {MAX_POINTS} points")
    vectors = small_forms(orbit.frequency, N, DIRECTIONS)
    tried = [(k, offset) for k in vectors for offset in (Fraction(0), Fraction(1, 4))]
    firsts = [2 * sum(min(x, 0) for x in k) - 1 for k, _ in tried]
    counts = [np.zeros(2 * sum(map(abs, k)) + 3, np.int64) for k, _ in tried]
    watch = Watch(f"looking for slabs among {N} points", "fewer points are quicker; their slab is another one")
    for begin in range(0, N, _CHUNK):
        points = orbit.points(begin, min(begin + _CHUNK, N))
        values = points @ np.array(vectors, dtype=np.float64).T
        for i, (found, first) in enumerate(zip(counts, firsts, strict=True)):
            bins = np.floor(2 * (values[:, i // 2] - float(tried[i][1]))).astype(np.int64) - first
            found += np.bincount(bins, minlength=len(found))
        watch(min(begin + _CHUNK, N), N)
    best: tuple[float, tuple[int, ...], Fraction] | None = None
    watch = Watch(f"the volumes of {len(tried)} families of slabs", "fewer coordinates are quicker by 2^b")
    for i, ((k, offset), first, found) in enumerate(zip(tried, firsts, counts, strict=True)):
        watch(i, len(tried))
        edges = (np.arange(len(found) + 1) + first) / 2 + float(offset)
        deviations = np.abs(found - N * np.diff(_volumes(k, edges)))
        at = int(deviations.argmax())
        if best is None or deviations[at] > best[0]:
            best = (float(deviations[at]), k, Fraction(at + first, 2) + offset)
    assert best is not None
    _, k, low_end = best
    # Floats chose the slab; what is told of it is counted exactly.
    number = count(slab(k, low_end, low_end + Fraction(1, 2)), orbit, 0, N - 1, "enumerate", keep=0).count
    volume = halfspace_volume(k, low_end + Fraction(1, 2)) - halfspace_volume(k, low_end)
    deviation = abs(float(number - N * volume))
    return WorstSlab(k, low_end, low_end + Fraction(1, 2), number, volume, deviation, N, len(vectors))


def small_forms(frequency: Any, N: int, number: int) -> list[tuple[int, ...]]:
    """The ``number`` whole k ≠ 0 (one of ±k), |k|_∞ ≤ 2 N^{1/b}, with the least N ‖k · α‖ + |k|_∞ / N^{1/b}.

    Found in boxes |k|_∞ ≤ c N^{1/b}, ‖k · α‖ ≤ c / N of the dual lattice: a box holds every k of score up to c."""
    alpha = Frequency.of(frequency)
    b, side = alpha.dim, N ** (1 / alpha.dim)
    bits = 128 + 2 * N.bit_length()
    rows = dual_rows(alpha.fixed(bits), 1 << bits)
    limit = math.floor(2 * side)
    c = 1.0
    while True:
        box = [max(1, min(limit, math.ceil(c * side)))] * b + [min((1 << bits - 1), math.ceil(c * (1 << bits) / N))]
        found = [(N * abs(v[-1]) / (1 << bits), signed(v[:-1])) for v, _ in in_box(rows, box) if any(v[:-1])]
        scored = sorted({(near + max(map(abs, k)) / side, k) for near, k in found})
        if sum(score <= c for score, _ in scored) >= number or (box[0] == limit and box[-1] == 1 << bits - 1):
            return [k for _, k in scored[:number]]
        c *= 1.5


def _volumes(k: tuple[int, ...], bounds: Float64[np.ndarray, " c"]) -> Float64[np.ndarray, " c"]:
    """vol {x ∈ [0, 1]^b : k · x ≤ c} for many c."""
    used = [x for x in k if x]
    total = np.zeros(len(bounds))
    for vertex in itertools.product((0, 1), repeat=len(used)):
        shift = sum(a for a, v in zip(used, vertex, strict=True) if v)
        total += (-1) ** sum(vertex) * np.maximum(bounds - shift, 0.0) ** len(used)
    return total / (math.factorial(len(used)) * math.prod(used))
