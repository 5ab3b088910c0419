"""Non-maximum suppression of rotated boxes, hard and soft, exactly as one after the other, and in parallel.

Who is best among its undecided neighbours is best whatever happens elsewhere: all such boxes are decided at once, and
a picture of thousands of boxes takes as many rounds as its longest chain of neighbours.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.neighbours import near_pairs
from tenfold.detection.geometry.overlap import iou_of_pairs
from tenfold.errors import UsageError, suggest
from tenfold.nn.border import Values, floats
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import read


@takes(boxes="boxes n 5", scores="numbers n", labels="whole n")
@read_arguments
def rotated_nms(
    boxes: Float[Tensor, "n 5"],
    scores: Float[Tensor, " n"],
    threshold: float | Values = 0.1,
    labels: Int[Tensor, " n"] | None = None,
    over: str = "union",
) -> Int[Tensor, " kept"]:
    """Indices of the boxes that are kept, by decreasing score; of equal scores the first comes first.

    A box is dropped if its IoU with a kept one of higher score is above the threshold.

    Args:
        boxes: (cx, cy, w, h, angle).
        scores: any finite numbers.
        threshold: in [0, 1]; one for all, or one for each class.
        labels: boxes of different classes, numbers from 0 on, do not suppress each other; without labels all do.
        over: what the shared area is divided by; ``smaller`` drops boxes inside others, as where tiles are merged.

    Raises:
        UsageError: for boxes, scores or thresholds that are none.
    """
    _check(labels)
    limits = _thresholds(threshold, labels, boxes)
    order = scores.argsort(descending=True, stable=True)
    better, worse, iou = _edges(boxes[order], None if labels is None else labels[order], over)
    above = iou > limits[order][better].to(iou)
    better, worse = better[above], worse[above]
    undecided = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    kept = torch.zeros_like(undecided)
    while len(better):
        # Free of undecided boxes that could drop it; what it drops is decided too.
        held = torch.zeros_like(undecided).index_fill_(0, worse, True)
        free = undecided & ~held
        kept |= free
        dropped = torch.zeros_like(undecided).index_fill_(0, worse[free[better]], True)
        undecided &= ~(free | dropped)
        alive = undecided[better] & undecided[worse]
        better, worse = better[alive], worse[alive]
    return order[(kept | undecided).nonzero()[:, 0]]


class SoftSuppressed(NamedTuple):
    """Boxes by decreasing new score: their indices, and the scores."""

    kept: Int[Tensor, " kept"]
    scores: Float[Tensor, " kept"]


@takes(boxes="boxes n 5", scores="numbers n", labels="whole n")
@read_arguments
def soft_nms(
    boxes: Float[Tensor, "n 5"],
    scores: Float[Tensor, " n"],
    labels: Int[Tensor, " n"] | None = None,
    method: str = "gaussian",
    sigma: float = 0.5,
    threshold: float = 0.3,
    min_score: float = 1e-3,
) -> SoftSuppressed:
    """Soft-NMS (Bodla et al. 2017): boxes lose score by each better neighbour instead of being dropped.

    Factors are exp(−IoU²/σ) for ``gaussian``, and 1 − IoU where IoU is above the threshold for ``linear``.

    Args:
        scores: at least 0.
        min_score: boxes that end below are left out.

    Raises:
        UsageError: for boxes or scores that are none, another method, or a σ that is not positive.
    """
    _check(labels)
    if method not in ("gaussian", "linear"):
        raise UsageError(f"method is {method!r}{suggest(method, ['gaussian', 'linear'])}")
    if not sigma > 0:
        raise UsageError(f"sigma is {sigma:g}; give a positive number")
    if len(scores) and float(scores.min()) < 0:
        raise UsageError(f"the lowest score is {float(scores.min()):g}; soft suppression takes scores of at least 0")
    i, j, iou = _edges(boxes, labels, "union")
    iou = iou.double().clamp(0, 1)
    loss = -iou.square() / sigma if method == "gaussian" else torch.where(iou > threshold, (-iou).log1p(), 0.0)
    heads, tails, loss = torch.cat([i, j]), torch.cat([j, i]), torch.cat([loss, loss])
    log_scores = scores.double().log()
    undecided = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    while len(heads):
        ahead = log_scores[heads] > log_scores[tails]
        ahead |= (log_scores[heads] == log_scores[tails]) & (heads < tails)
        held = torch.zeros_like(undecided).index_fill_(0, tails[ahead], True)
        best = undecided & ~held
        falls = best[heads]
        log_scores = log_scores.index_add(0, tails[falls], loss[falls])
        undecided &= ~best
        alive = undecided[heads] & undecided[tails]
        heads, tails, loss = heads[alive], tails[alive], loss[alive]
    final = log_scores.exp()
    order = final.argsort(descending=True, stable=True)
    order = order[final[order] >= min_score]
    return SoftSuppressed(order, final[order].to(scores.dtype))


def _edges(boxes: Tensor, labels: Tensor | None, over: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs i < j of one class that may overlap, and their IoU."""
    pairs = near_pairs(boxes, boxes, labels, labels)
    pairs = pairs[:, pairs[0] < pairs[1]]
    return pairs[0], pairs[1], iou_of_pairs(boxes, boxes, pairs, over)


def _check(labels: Tensor | None) -> None:
    if labels is not None and len(labels) and int(labels.min()) < 0:
        raise UsageError(f"the lowest label is {int(labels.min())}; labels are numbers from 0 on")


def _thresholds(threshold: float | Values, labels: Tensor | None, boxes: Tensor) -> Tensor:
    """A threshold for each box."""
    if isinstance(threshold, Tensor | np.ndarray | list | tuple):
        values = floats(threshold, "threshold").to(boxes.device, torch.float64)
    else:
        values = torch.tensor(read(float, threshold, "threshold"), dtype=torch.float64, device=boxes.device)
    if values.ndim > 1:
        raise UsageError(f"threshold has shape {tuple(values.shape)}; give one number, or one for each class")
    if bool(((values < 0) | (values > 1) | values.isnan()).any()):
        raise UsageError(f"threshold is {threshold}; give an IoU between 0 and 1")
    if not values.ndim:
        return values.expand(len(boxes))
    if labels is None:
        raise UsageError("thresholds by class need labels; give one number, or labels")
    if len(labels) and int(labels.max()) >= len(values):
        raise UsageError(f"there are {len(values)} thresholds and a label of {int(labels.max())}; give one a class")
    return values[labels]
