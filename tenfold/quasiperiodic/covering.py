"""Covering numbers: how many cells of a grid meet a set."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.cells import Classifier, meeting
from tenfold.quasiperiodic.sets import Set

MAX_K = 10**7


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
        return self.boundary / (self.degree * float(self.K) ** (self.b - 1))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "constant": self.constant, "cell": "half-open, side 1/K"}


def cover(region: Set, K: int) -> Cover:
    """Count the cells of side 1/K that meet the set, by adaptive subdivision: O(boundary cells) work.

    Raises UsageError for K < 1, or K > 10^7 in two dimensions and more (in one, K ≤ 2^40)."""
    check_side(K, region.dim)
    inside = boundary = hit = 0
    test = region.membership
    for part in meeting(region, K, Classifier(region)):
        sizes = part.high - part.low
        if part.inside:
            inside += (
                int(sum(int(np.prod(s.astype(object))) for s in sizes)) if K > 1 << 20 else int(sizes.prod(1).sum())
            )
            continue
        boundary += len(sizes)
        found = np.zeros(len(sizes), bool)
        for offset in (0.5, 0.0, 0.96):
            sure, unknown = test.test((part.low + offset) / K, 0.0)
            found |= sure & ~unknown
        hit += int(found.sum())
    return Cover(K, inside + boundary, inside + hit, inside, boundary, region.dim, region.degree)


def check_side(K: int, dim: int) -> None:
    """Refuse grids that are too fine to walk along."""
    limit = MAX_K if dim > 1 else 1 << 40
    if not 1 <= K <= limit:
        raise UsageError(
            f"K is {K}; a grid of b = {dim} dimensions has 1 ≤ K ≤ {limit} cells a side, take a shorter range or block"
        )
