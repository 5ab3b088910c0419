"""How far a metric would move with other pictures: the bootstrap over pictures."""

from typing import NamedTuple

import numpy as np
import torch

from tenfold import progress
from tenfold.detection.evaluation.matching import Matches, require_matches
from tenfold.detection.evaluation.precision import precision_curves
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import Draws


class Interval(NamedTuple):
    """Where the middle ``level`` of the replicates lies, and their standard deviation."""

    low: float
    high: float
    deviation: float


@read_arguments
def bootstrap_intervals(
    matches: Matches, replicates: int = 200, level: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Intervals of the numbers of ``PrecisionCurves.summary``: pictures are drawn with replacement, as many as there
    are, ``replicates`` times (the percentile bootstrap). Matching is done once.

    Pictures count as independent; tiles of one photograph are not, and their intervals come out too narrow. A number
    that is −1 in a replicate, because no object of its size was drawn, is left out there.

    Raises UsageError for fewer than 2 replicates, and for a level outside (0, 1).
    """
    require_matches(matches)
    if replicates < 2:
        raise UsageError(f"replicates is {replicates}; give at least 2")
    if not 0 < level < 1:
        raise UsageError(f"level is {level:g}; give a share between 0 and 1, 0.95 say")
    draws = Draws(seed, 0)
    rows = []
    for number in progress.track(range(replicates), "bootstrap", unit="replicates"):
        places = draws.integers("bootstrap", torch.tensor([number]), matches.pictures, (matches.pictures,))[0]
        weights = np.bincount(places.numpy(), minlength=matches.pictures).astype(float)
        rows.append(precision_curves(matches, weights).summary())
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if row[name] >= 0])
        if len(values) < 2:
            found[name] = Interval(-1.0, -1.0, 0.0)
            continue
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        found[name] = Interval(float(low), float(high), float(values.std(ddof=1)))
    return found
