"""Average precision of VOC and DOTA at one threshold: every detection looks at the object that it overlaps most."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tenfold.detection.geometry.overlap import sparse_iou
from tenfold.detection.tables import Detections, Labels, check_same
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


class VocPrecision(NamedTuple):
    """By class, NaN where it has no objects that count; and the mean over the others."""

    by_class: Float[ndarray, " k"]
    mean: float


@read_arguments
def voc_average_precision(
    labels: Labels, detections: Detections, threshold: float = 0.5, points: str = "area"
) -> VocPrecision:
    """AP by class.

    Detections of a class go by decreasing score. One is true if the object of its picture and class with the highest
    IoU, of equals the first, has at least the threshold, is not ``difficult``, and was not found before; it counts
    neither way if that object is difficult, and is false otherwise.

    Args:
        points: ``area`` under the monotone curve, or ``11`` recalls 0, 0.1, ..., 1 (VOC 2007, the rule of DOTA; by its
            published code, where 0.6000000000000001 stands for 0.6, a recall of just 0.6 comes short).

    Raises:
        UsageError: for other pictures or classes than the labels', a threshold outside (0, 1], other points.
    """
    check_same(labels, detections)
    if not 0 < threshold <= 1:
        raise UsageError(f"threshold is {threshold:g}; give an IoU in (0, 1]")
    if points not in ("area", "11"):
        raise UsageError(f"points is {points!r}; choose area or 11")
    order = detections.scores.argsort(descending=True, stable=True)
    ordered = detections.chosen(order)
    groups = [table.image * len(labels.classes) + table.label for table in (ordered, labels)]
    (d, g), iou = sparse_iou(ordered.boxes.double(), labels.boxes.double(), "union", *groups)
    nearest, best = _nearest(len(ordered), d.numpy(), g.numpy(), iou.numpy())
    hit = best >= threshold
    difficult = labels.difficult.numpy()
    ignored = hit.copy()
    ignored[hit] = difficult[nearest[hit]]
    # Of the detections that look at one object, the first finds it.
    true = np.zeros(len(ordered), bool)
    looking = np.flatnonzero(hit & ~ignored)
    true[looking[np.unique(nearest[looking], return_index=True)[1]]] = True
    objects = np.bincount(labels.label.numpy()[~difficult], minlength=len(labels.classes))
    values = np.full(len(labels.classes), np.nan)
    for k, count in enumerate(objects.tolist()):
        if count:
            rows = (ordered.label.numpy() == k) & ~ignored
            values[k] = _area(true[rows], count) if points == "area" else _eleven(true[rows], count)
    known = values[~np.isnan(values)]
    return VocPrecision(values, float(known.mean()) if len(known) else float("nan"))


def _nearest(count: int, d: ndarray, g: ndarray, iou: ndarray) -> tuple[ndarray, ndarray]:
    """For each detection the first object of highest IoU, and that IoU; −1 where none is near."""
    order = np.lexsort((g, -iou, d))
    first, at = np.unique(d[order], return_index=True)
    nearest, best = np.full(count, -1), np.full(count, -1.0)
    nearest[first], best[first] = g[order][at], iou[order][at]
    return nearest, best


def _curve(true: ndarray, objects: int) -> tuple[ndarray, ndarray]:
    """Recall, and the highest precision at it or above."""
    hits = np.cumsum(true)
    precision = hits / np.arange(1, len(true) + 1)
    return hits / objects, np.maximum.accumulate(precision[::-1])[::-1]


def _eleven(true: ndarray, objects: int) -> float:
    recall, envelope = _curve(true, objects)
    at = np.searchsorted(recall, np.linspace(0, 1, 11), side="left")
    return float(np.append(envelope, 0.0)[at].mean())


def _area(true: ndarray, objects: int) -> float:
    recall, envelope = _curve(true, objects)
    return float((np.diff(recall, prepend=0.0) * envelope).sum())
