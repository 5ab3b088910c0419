"""Assignment by overlap: a fixed threshold (MaxIoU), one of each object's own (ATSS), or the predictions' (TAL)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.detection.assign.options import AtssOptions, MaxIouOptions, TaskAlignedOptions
from tenfold.detection.assign.priors import BACKGROUND, IGNORED, Predictions, Priors
from tenfold.detection.geometry.boxes import outlines
from tenfold.detection.geometry.overlap import aligned_iou, box_iou


def _none(priors: Priors) -> Int[Tensor, " n"]:
    return torch.full((len(priors.boxes),), BACKGROUND, device=priors.boxes.device)


@torch.no_grad()
def by_max_iou(objects: Float[Tensor, "g 5"], priors: Priors, options: MaxIouOptions) -> Int[Tensor, " n"]:
    """Each prior the object of highest IoU, by thresholds. The best priors of an object, all equal ones, learn it too
    (of several objects the last), unless none touches it."""
    if not len(objects):
        return _none(priors)
    iou = box_iou(outlines(objects) if options.upright else objects, priors.boxes)
    most, owner = iou.max(0)
    assigned = torch.where(most >= options.negative, IGNORED, BACKGROUND)
    assigned = torch.where(most >= options.positive, owner, assigned)
    if options.match_best:
        best = iou.amax(1, keepdim=True)
        g, prior = ((iou == best) & (best > 0)).nonzero(as_tuple=True)
        last = torch.full_like(assigned, -1).scatter_reduce(0, prior, g, "amax")
        assigned = torch.where(last >= 0, last, assigned)
    return assigned


@torch.no_grad()
def by_atss(objects: Float[Tensor, "g 5"], priors: Priors, options: AtssOptions) -> Int[Tensor, " n"]:
    """Of each level's nearest priors those with an IoU of at least mean + standard deviation over an object's nearest,
    and their centre inside it; of several objects, that of highest IoU."""
    if not len(objects):
        return _none(priors)
    away = torch.cdist(objects[:, :2], priors.boxes[:, :2])
    parts, start = [], 0
    for part in away.split(priors.levels, 1):
        near = part.topk(min(options.nearest, part.shape[1]), dim=1, largest=False).indices
        parts.append(near + start)
        start += part.shape[1]
    near = torch.cat(parts, 1)  # (g, candidates)
    iou = aligned_iou(objects[:, None].expand(*near.shape, 5), priors.boxes[near])
    threshold = iou.mean(1, keepdim=True) + iou.std(1, keepdim=True)
    good = (iou >= threshold) & _inside(objects[:, None], priors.boxes[near])
    wanted = iou.new_full(away.shape, -1.0).scatter(1, near, torch.where(good, iou, -1.0))
    most, owner = wanted.max(0)
    return torch.where(most >= 0, owner, BACKGROUND)


@torch.no_grad()
def by_task_alignment(
    objects: Float[Tensor, "g 5"],
    labels: Int[Tensor, " g"],
    priors: Priors,
    predictions: Predictions,
    options: TaskAlignedOptions,
) -> Int[Tensor, " n"]:
    """Of the priors with their centre inside an object those of the highest score^α IoU^β; of several objects, that of
    highest IoU."""
    if not len(objects):
        return _none(priors)
    inside = _inside(objects[:, None], priors.boxes[None])
    iou = box_iou(objects, predictions.boxes)
    score = predictions.logits.sigmoid().mT[labels]
    value = torch.where(inside, score.pow(options.score_power) * iou.pow(options.iou_power), -1.0)
    best = value.topk(min(options.candidates, value.shape[1]), dim=1)
    chosen = torch.zeros_like(inside).scatter(1, best.indices, best.values > 0)
    most, owner = torch.where(chosen, iou, -1.0).max(0)
    return torch.where(most >= 0, owner, BACKGROUND)


def _inside(objects: Float[Tensor, "*#m 5"], priors: Float[Tensor, "*#m 5"]) -> Bool[Tensor, "..."]:
    """Whether the centres of priors lie inside objects; shapes broadcast."""
    dx, dy = (priors[..., :2] - objects[..., :2]).unbind(-1)
    cosine, sine = objects[..., 4].cos(), objects[..., 4].sin()
    along, across = dx * cosine + dy * sine, dy * cosine - dx * sine
    return (along.abs() <= objects[..., 2] / 2) & (across.abs() <= objects[..., 3] / 2)
