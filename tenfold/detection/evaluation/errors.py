"""Why objects are missed and detections are false: one cause for each, the first that applies."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor

from tenfold.detection.evaluation.matching import FALSE, Matches, check_matches
from tenfold.detection.geometry.overlap import paired_iou, sparse_iou
from tenfold.detection.tables import Detections, Labels, check_same
from tenfold.settings.arguments import read_arguments

MISSED = ("found", "suppressed", "low score", "class", "angle", "localisation", "background")
FALSE_CAUSES = ("true", "duplicate", "class", "angle", "localisation", "background")
_TOUCHES = 0.1


@dataclass(frozen=True)
class ErrorBreakdown:
    """The cause of every object (a number of ``MISSED``) and of every detection that counts (of ``FALSE_CAUSES``)."""

    objects: Int[ndarray, " g"]
    detections: Int[ndarray, " d"]

    def missed(self) -> dict[str, int]:
        """How many objects by cause."""
        return dict(zip(MISSED, np.bincount(self.objects, minlength=len(MISSED)).tolist(), strict=True))

    def false(self) -> dict[str, int]:
        """How many detections by cause."""
        counts = np.bincount(self.detections, minlength=len(FALSE_CAUSES)).tolist()
        return dict(zip(FALSE_CAUSES, counts, strict=True))


@read_arguments
def error_breakdown(
    labels: Labels,
    detections: Detections,
    matches: Matches,
    candidates: Detections | None = None,
    threshold: float = 0.5,
    min_score: float = 0.0,
) -> ErrorBreakdown:
    """Causes at one threshold of IoU.

    A missed object is ``suppressed`` if a candidate, a box before suppression, of its class and with a score of at
    least ``min_score`` overlaps it enough; ``low score`` if one below that does; ``class`` if a detection of another
    class does; ``angle`` if one of its class would, had it the object's angle; ``localisation`` if one of its class
    touches it (IoU above 0.1); ``background`` otherwise: nothing was there. A false detection is a ``duplicate`` of an
    object that is found, or of another ``class``, and so on likewise.

    Args:
        candidates: what the detector had before it dropped boxes by score and suppression; without them ``suppressed``
            and ``low score`` do not occur.
        min_score: the detector's threshold.

    Raises:
        UsageError: for other pictures or classes, and for a threshold that the metric does not have.
    """
    check_same(labels, detections)
    check_matches(labels, matches)
    at = matches.metric.place_of(threshold)
    kept = detections.chosen(torch.from_numpy(matches.rows))
    d, g, iou, turned = _overlaps(labels, kept)
    same = kept.label.numpy()[d] == labels.label.numpy()[g]
    by_class, by_angle = ~same & (iou >= threshold), same & (turned >= threshold)
    by_place = same & (iou > _TOUCHES)

    objects = np.full(len(labels), MISSED.index("background"))
    for cause, pairs in (("localisation", by_place), ("angle", by_angle), ("class", by_class)):
        objects[g[pairs]] = MISSED.index(cause)
    if candidates is not None:
        check_same(labels, candidates)
        c, cg, overlap, _ = _overlaps(labels, candidates)
        fits = (candidates.label.numpy()[c] == labels.label.numpy()[cg]) & (overlap >= threshold)
        strong = candidates.scores.numpy()[c] >= min_score
        objects[cg[fits & ~strong]] = MISSED.index("low score")
        objects[cg[fits & strong]] = MISSED.index("suppressed")
    objects[matches.found[:, at, 0]] = MISSED.index("found")

    false = np.full(len(kept), FALSE_CAUSES.index("background"))
    duplicate = same & (iou >= threshold)
    causes = ("localisation", by_place), ("angle", by_angle), ("class", by_class), ("duplicate", duplicate)
    for cause, pairs in causes:
        false[d[pairs]] = FALSE_CAUSES.index(cause)
    false[matches.state[:, at, 0] != FALSE] = FALSE_CAUSES.index("true")
    return ErrorBreakdown(objects, false)


def _overlaps(labels: Labels, detections: Detections) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Pairs of one picture and any class: detection, object, IoU, and IoU had the detection the object's angle."""
    one, other = detections.boxes.double(), labels.boxes.double()
    (d, g), iou = sparse_iou(one, other, "union", detections.image, labels.image)
    turned = torch.maximum(iou, _with_angle_of(one[d], other[g]))
    return d.numpy(), g.numpy(), iou.numpy(), turned.numpy()


def _with_angle_of(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU after the boxes were turned like the others, long side to long side."""
    swapped = (boxes[:, 2] < boxes[:, 3]) != (others[:, 2] < others[:, 3])
    w = torch.where(swapped, boxes[:, 3], boxes[:, 2])
    h = torch.where(swapped, boxes[:, 2], boxes[:, 3])
    return paired_iou(torch.cat([boxes[:, :2], w[:, None], h[:, None], others[:, 4:]], 1), others)
