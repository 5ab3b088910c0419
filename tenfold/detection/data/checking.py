"""What is odd about labels: every kind of it, how often, and where first."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tenfold.detection.data.rows import Size
from tenfold.detection.evaluation.recalls import ANGLES, CROWDS, SIZES
from tenfold.detection.geometry.angles import SQUARE, long_side_first
from tenfold.detection.geometry.boxes import areas, horizontal
from tenfold.detection.geometry.overlap import sparse_iou
from tenfold.detection.tables import Labels, require_table

DUPLICATE = 0.95  # IoU
_EXAMPLES = 3


class Finding(NamedTuple):
    """Something odd: what, how often, and the first places."""

    kind: str
    number: int
    examples: tuple[str, ...]


def finding(kind: str, places: Sequence[str]) -> list[Finding]:
    """One, or none where it does not occur."""
    return [Finding(kind, len(places), tuple(places[:_EXAMPLES]))] if places else []


def odd_labels(labels: Labels, places: Sequence[str], sizes: Mapping[str, Size]) -> list[Finding]:
    """Objects without area, duplicates (IoU above 0.95 in one class), and what lies outside its picture.

    Args:
        places: of each object, for the examples.
        sizes: of the pictures; those that are not known are not looked at.
    """

    def at(rows: Tensor) -> list[str]:
        return [places[k] for k in rows.nonzero()[:, 0].tolist()]

    found = finding("without area", at(areas(labels.boxes) == 0))
    group = labels.image * len(labels.classes) + labels.label
    pairs, iou = sparse_iou(labels.boxes, labels.boxes, "union", group, group)
    again = torch.zeros(len(labels), dtype=torch.bool)
    again[pairs[1, (pairs[0] < pairs[1]) & (iou > DUPLICATE)]] = True
    found += finding("duplicate of another object", at(again))
    nan = (math.nan, math.nan)
    limits = torch.tensor([sizes.get(name, nan) for name in labels.images], dtype=torch.float64).reshape(-1, 2)
    limits = limits[labels.image]
    hull, centre = horizontal(labels.boxes.double()), labels.boxes[:, :2].double()
    outside = ((centre < 0) | (centre > limits)).any(1)
    beyond = ((hull[:, :2] < -0.5) | (hull[:, 2:] > limits + 0.5)).any(1) & ~limits.isnan().any(1)
    outside &= ~limits.isnan().any(1)
    found += finding("centre outside the picture", at(outside))
    return found + finding("partly outside the picture", at(beyond & ~outside))


class LabelStatistics(NamedTuple):
    """Counts: objects by class, and as (low, high, objects) by √area in pixels, by angle in degrees modulo 90 of what
    is no square, and pictures by their number of objects."""

    by_class: dict[str, int]
    by_size: list[tuple[float, float, int]]
    by_angle: list[tuple[float, float, int]]
    by_crowd: list[tuple[float, float, int]]
    mean_size: float


def statistics(labels: Labels) -> LabelStatistics:
    """Of all objects; the mean size is NaN without any."""
    require_table(labels, Labels)
    counts = Counter(labels.label.tolist())
    boxes = long_side_first(labels.boxes.double())
    size = areas(boxes).sqrt().numpy()
    angle = np.degrees(boxes[:, 4].numpy()) % 90
    long = (boxes[:, 2] >= SQUARE * boxes[:, 3]).numpy()
    crowd = np.bincount(labels.image.numpy(), minlength=len(labels.images))
    return LabelStatistics(
        {name: counts[k] for k, name in enumerate(labels.classes)},
        _histogram(size, SIZES),
        _histogram(angle[long], ANGLES),
        _histogram(crowd, (0, *CROWDS)),
        float(size.mean()) if len(size) else math.nan,
    )


def _histogram(values: np.ndarray, edges: Sequence[float]) -> list[tuple[float, float, int]]:
    place = np.searchsorted(np.array(edges[1:-1]), values, side="right")
    counts = np.bincount(place, minlength=len(edges) - 1).tolist()
    return list(zip(edges[:-1], edges[1:], counts, strict=True))
