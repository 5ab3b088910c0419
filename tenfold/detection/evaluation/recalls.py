"""Which objects are found: recall by size, by crowd, by angle and by shape."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from tenfold.detection.evaluation.matching import Matches, check_matches
from tenfold.detection.geometry.angles import SQUARE, long_side_first
from tenfold.detection.geometry.boxes import areas
from tenfold.detection.tables import Labels
from tenfold.settings.arguments import read_arguments

SIZES = (0, 4, 6, 8, 10, 12, 16, 24, 32, 64, math.inf)  # √area, pixels
CROWDS = (1, 5, 20, 50, 100, 300, math.inf)  # objects of the picture
ANGLES = tuple(range(0, 91, 15))  # degrees, modulo 90
ASPECTS = (1, SQUARE, 1.5, 2, 3, 5, math.inf)


class RecallRow(NamedTuple):
    """Objects with a value in [low, high), and how many of them were found."""

    low: float
    high: float
    objects: int
    found: int

    @property
    def recall(self) -> float:
        """NaN without objects."""
        return self.found / self.objects if self.objects else math.nan


def recall_by(values: ndarray, found: Bool[ndarray, " g"], edges: tuple[float, ...]) -> list[RecallRow]:
    """Rows between neighbouring edges.

    >>> recall_by(np.array([1.0, 2.0, 5.0]), np.array([True, False, True]), (0, 3, 9))
    [RecallRow(low=0, high=3, objects=2, found=1), RecallRow(low=3, high=9, objects=1, found=1)]
    """
    place = np.searchsorted(np.array(edges[1:-1]), values, side="right")
    objects = np.bincount(place, minlength=len(edges) - 1)
    hits = np.bincount(place[found], minlength=len(edges) - 1)
    return [RecallRow(*row) for row in zip(edges[:-1], edges[1:], objects.tolist(), hits.tolist(), strict=True)]


@read_arguments
def recall_tables(labels: Labels, matches: Matches, threshold: float = 0.5) -> dict[str, list[RecallRow]]:
    """Recall at a threshold of the metric by ``size`` (√area, pixels), ``crowd`` (objects of the picture), ``angle``
    (degrees modulo 90, of objects that are no squares) and ``aspect`` (long side over short one).

    Raises UsageError for a threshold that the metric does not have, and matches of other labels.
    """
    check_matches(labels, matches)
    found = matches.found[:, matches.metric.place_of(threshold), 0]
    boxes = long_side_first(labels.boxes.double())
    size = areas(boxes).sqrt().numpy()
    crowd = np.bincount(matches.object_image, minlength=matches.pictures)[matches.object_image]
    aspect = (boxes[:, 2] / boxes[:, 3].clamp(min=1e-12)).numpy().clip(1)
    angle = np.degrees(boxes[:, 4].numpy()) % 90
    long = aspect >= SQUARE
    return {
        "size": recall_by(size, found, SIZES),
        "crowd": recall_by(crowd, found, CROWDS),
        "angle": recall_by(angle[long], found[long], ANGLES),
        "aspect": recall_by(aspect, found, ASPECTS),
    }
