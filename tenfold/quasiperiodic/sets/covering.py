"""Covering numbers: how many cells of a grid meet a set."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.cells import Classifier, meeting
from tenfold.quasiperiodic.sets.formulas import Formula
from tenfold.quasiperiodic.sets.membership import Membership
from tenfold.quasiperiodic.sets.roots import merged, phase_ranges
from tenfold.shifts.costs import Watch

MAX_K = 10**7
_COARSE = 64


@dataclass(frozen=True)
class Cover:
    """cov(S, K), the number of half-open cells ∏ [i_j/K, (i_j + 1)/K) that meet S: ``low`` ≤ cov ≤ ``cells``.

    ``inside`` cells lie wholly in S, ``boundary`` cells are undecided by intervals; of these, ``low`` counts those
    with a sampled point of S. ``cells`` = inside + boundary is what every bound uses."""

    K: int
    cells: int
    low: int
    inside: int
    boundary: int
    b: int
    degree: int

    @property
    def constant(self) -> float:
        """The boundary cells over B K^{b−1}: C_b of cov ≤ K^b Leb S + C_b B K^{b−1}, as measured here."""
        return self.boundary / (self.degree * self.K ** (self.b - 1))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "constant": self.constant, "cell": "half-open, side 1/K"}


def cover(region: Formula, K: int) -> Cover:
    """Count the cells of side 1/K that meet the set, by adaptive subdivision in O(boundary cells), in dimension 1 from
    its roots.

    Raises UsageError for K < 1, K > 10^7 in two dimensions and more, or work of days."""
    if K < 1 or (K > MAX_K and region.dim > 1):
        raise UsageError(
            f"K is {K}; a grid of b = {region.dim} dimensions has 1 ≤ K ≤ {MAX_K} cells a side, take a shorter range "
            "or block"
        )
    if region.dim == 1:
        return _on_the_line(region, K)
    inside = boundary = hit = 0
    watch = Watch(f"covering by cells of side 1/{K}", "a coarser grid is quicker, and its bound larger")
    whole = _boundary(region, K)
    test = Membership(region)
    for part in meeting(region, K, Classifier(region)):
        sizes = part.high - part.low
        if part.inside:
            inside += int(sizes.astype(object if K**region.dim >> 62 else np.int64).prod(axis=1).sum())
            continue
        boundary += len(sizes)
        found = np.zeros(len(sizes), bool)
        # Inside the cell by more than rounding: a sample on its edge might be its neighbour's.
        for offset in (0.5, 2.0**-16, 0.96):
            sure, unknown = test.test((part.low + offset) / K, 0.0)
            found |= sure & ~unknown
        hit += int(found.sum())
        watch(boundary, whole)
    return Cover(K, inside + boundary, inside + hit, inside, boundary, region.dim, region.degree)


def _boundary(region: Formula, K: int) -> float:
    """About how many cells a fine grid has on the boundary of the set, by a coarse one."""
    if K <= 16 * _COARSE:
        return 0.0
    return cover(region, _COARSE).boundary * (K / _COARSE) ** (region.dim - 1)


def _on_the_line(region: Formula, K: int) -> Cover:
    """Dimension 1: cells of the ranges of phases that lie in the set, and of its polynomials' roots, where it may have
    a point between two phases."""
    modulus = 1 << max(192, K.bit_length() + 64)
    ranges = phase_ranges(region, modulus)
    sure = merged([(low * K // modulus, (high - 1) * K // modulus + 1) for low, high in ranges.inside])
    roots = {cell for g in ranges.critical for cell in (g * K // modulus, ((g + 1) * K - 1) // modulus)}
    maybe = merged([*sure, *((c, c + 1) for c in roots)])
    full = [(-(-low * K // modulus), high * K // modulus) for low, high in ranges.inside]
    inside = sum(max(0, b - a) - sum(a <= c < b for c in roots) for a, b in full if b > a)
    cells = sum(b - a for a, b in maybe)
    return Cover(K, cells, sum(b - a for a, b in sure), inside, cells - inside, 1, region.degree)
