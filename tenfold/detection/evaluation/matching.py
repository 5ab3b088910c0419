"""Which detection finds which object, at every threshold and for every bin of size at once.

In each picture and class, detections take objects in the order of their scores (COCO): the free object of highest IoU
at or above the threshold, of equals the last; objects outside the bin only if no other is left, and then the detection
does not count. Groups of boxes that touch each other know nothing of the rest, so that the first detections of all
groups are served at once, then the second ones: rounds are as many as the largest group has detections.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int8
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from tenfold import progress
from tenfold.detection.evaluation.metrics import DetectionMetric
from tenfold.detection.geometry.boxes import areas
from tenfold.detection.geometry.overlap import sparse_iou
from tenfold.detection.tables import Detections, Labels, check_same, require_table
from tenfold.errors import UsageError

FALSE, TRUE, IGNORED = 0, 1, 2


@dataclass(frozen=True)
class Matches:
    """What became of every detection that counts, and of every object.

    Attributes:
        metric: what was asked.
        rows: numbers of the detections that count, by picture, class and decreasing score.
        image, label, scores: of these.
        state: FALSE, TRUE or IGNORED, at each threshold and in each bin.
        found: objects that some detection took.
        regular: objects within each bin.
        object_image, object_label: of all objects.
        pictures, classes: how many there are.
        left_out: detections beyond the metric's number.
    """

    metric: DetectionMetric
    rows: Int[ndarray, " d"]
    image: Int[ndarray, " d"]
    label: Int[ndarray, " d"]
    scores: Float[ndarray, " d"]
    state: Int8[ndarray, "d t a"]
    found: Bool[ndarray, "g t a"]
    regular: Bool[ndarray, "g a"]
    object_image: Int[ndarray, " g"]
    object_label: Int[ndarray, " g"]
    pictures: int
    classes: int
    left_out: int


def match_detections(labels: Labels, detections: Detections, metric: DetectionMetric | None = None) -> Matches:
    """Matches of detections and objects, as the module says.

    Raises UsageError where the two are of different pictures or classes.
    """
    metric = metric or DetectionMetric()
    check_same(labels, detections)
    rows, left_out = _counted(labels, detections, metric)
    kept = detections.chosen(torch.from_numpy(rows))
    thresholds = np.minimum(np.array(metric.thresholds), 1 - 1e-10)
    regular, inside = _within(labels.boxes, metric), _within(kept.boxes, metric)
    pairs, iou = sparse_iou(
        kept.boxes.double(), labels.boxes.double(), first_group=_group(kept), second_group=_group(labels)
    )
    near = iou >= thresholds.min()
    flawed = metric.compat != "none"
    state, found = _serve(
        pairs[:, near].numpy(), iou[near].numpy(), thresholds, regular,
        len(kept), unblocking=int(np.flatnonzero(rows == 0)[0]) if flawed and 0 in rows else -1,
        uncounted=0 if flawed else -1,
    )  # fmt: skip
    state[(state == FALSE) & ~inside[:, None, :]] = IGNORED
    return Matches(
        metric, rows, kept.image.numpy(), kept.label.numpy(), kept.scores.double().numpy(), state, found, regular,
        labels.image.numpy(), labels.label.numpy(), len(labels.images), len(labels.classes), left_out,
    )  # fmt: skip


def require_matches(matches: object) -> Matches:
    """The matches; UsageError for what is none."""
    if not isinstance(matches, Matches):
        raise UsageError(f"matches are {type(matches).__name__}; give what match_detections returns")
    return matches


def check_matches(labels: object, matches: object) -> None:
    """Raise UsageError where matches are none, or of other objects than the labels have."""
    objects, found = require_table(labels, Labels), require_matches(matches)
    if len(found.found) != len(objects):
        raise UsageError(f"matches are of {len(found.found)} objects, not of these {len(objects)}; match them first")


def _group(table: Labels | Detections) -> Int[Tensor, " n"]:
    return table.image * len(table.classes) + table.label


def _within(boxes: Float[Tensor, "n 5"], metric: DetectionMetric) -> Bool[ndarray, "n a"]:
    bins, area = metric.size_bins, areas(boxes.double()).numpy()[:, None]
    area = np.floor(area) if metric.whole_pixels else area
    return (area >= np.array([b.low for b in bins])) & (area <= np.array([b.high for b in bins]))


def _counted(labels: Labels, detections: Detections, metric: DetectionMetric) -> tuple[Int[ndarray, " d"], int]:
    """Numbers of the detections that count, by picture, class and decreasing score, and how many were too many."""
    group = _group(detections).numpy()
    order = np.argsort(-detections.scores.double().numpy(), kind="stable")
    order = order[np.argsort(group[order], kind="stable")]
    place = np.arange(len(order)) - np.searchsorted(group[order], group[order])
    kept = order[place < metric.max_detections]
    left_out = len(order) - len(kept)
    if metric.compat == "reference":
        kept = kept[np.isin(detections.image.numpy()[kept], labels.image.numpy())]
    return kept, left_out


def _serve(
    pairs: Int[ndarray, "2 p"],
    iou: Float[ndarray, " p"],
    thresholds: Float[ndarray, " t"],
    regular: Bool[ndarray, "g a"],
    count: int,
    unblocking: int,
    uncounted: int,
) -> tuple[Int8[ndarray, "d t a"], Bool[ndarray, "g t a"]]:
    """States of ``count`` detections and the objects that were found; pairs are sorted by detection and object.
    ``unblocking`` and ``uncounted`` are the detection and the object with which the reference's evaluator errs."""
    objects, bins = regular.shape
    state = np.zeros((count, len(thresholds), bins), np.int8)
    taken = np.zeros((objects, len(thresholds), bins), bool)
    turn = _turns(pairs, count, objects)
    order = np.argsort(turn, kind="stable")
    edges = np.searchsorted(turn[order], np.arange(turn.max() + 2 if len(turn) else 1))
    with progress.task("matching", max(1, len(edges) - 1), "rounds") as step:
        for low, high in itertools.pairwise(edges):
            here = order[low:high]
            d, g = pairs[:, here]
            starts = np.flatnonzero(np.r_[True, d[1:] != d[:-1]])
            which = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(d)]))
            free = ~taken[g] & (iou[here, None] >= thresholds)[:, :, None]
            first_choice = free & regular[g][:, None, :]
            any_regular = np.logical_or.reduceat(first_choice, starts)
            free = np.where(any_regular[which], first_choice, free)
            value = np.where(free, iou[here, None, None], -1)
            best = np.maximum.reduceat(value, starts)
            at = np.where(free & (value == best[which]), np.arange(len(d))[:, None, None], -1)
            last = np.maximum.reduceat(at, starts)
            s, t, a = np.nonzero(last >= 0)
            chosen, winner = g[last[s, t, a]], d[starts][s]
            blocks = winner != unblocking
            taken[chosen[blocks], t[blocks], a[blocks]] = True
            outcome = np.where(regular[chosen, a], TRUE, IGNORED)
            state[winner, t, a] = np.where((chosen == uncounted) & (outcome == TRUE), FALSE, outcome)
            step()
    return state, taken


def _turns(pairs: Int[ndarray, "2 p"], detections: int, objects: int) -> Int[ndarray, " p"]:
    """For each pair the place of its detection among those of its group of touching boxes."""
    d, g = pairs
    if not len(d):
        return d
    graph = coo_array((np.ones(len(d), bool), (d, detections + g)), shape=(detections + objects,) * 2)
    part = connected_components(graph, directed=False)[1]
    touching = np.unique(d)
    order = np.argsort(part[touching], kind="stable")
    parts = part[touching][order]
    turn = np.zeros(detections, np.int64)
    turn[touching[order]] = np.arange(len(order)) - np.searchsorted(parts, parts)
    return turn[d]
