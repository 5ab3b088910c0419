"""What a detector learns from a batch: each picture's priors are assigned, and all positives cost together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tenfold.detection.assign.choosing import priors_of_objects
from tenfold.detection.assign.options import AssignerOptions, MaxIouOptions
from tenfold.detection.assign.priors import IGNORED
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.geometry.points import centredness
from tenfold.detection.losses import box_losses, focal_loss
from tenfold.detection.models.output import DenseOutput

_VERY_TINY = 64.0  # square pixels
_ALIGNED = MaxIouOptions()  # S2A-Net's second stage (arXiv 2008.09397)
_REGIONS = MaxIouOptions(0.5, 0.5, match_best=False)  # Oriented R-CNN's (arXiv 2108.05699)


class DetectionLosses(NamedTuple):
    """Losses of a batch, an object's on average, and what the assignment did.

    Attributes:
        classes: focal loss of all priors that are not ignored.
        boxes: of the positives, −ln IoU say.
        quality: entropy of the positives' centredness, of heads that say it; 0 of others.
        positives: an object's, on average.
        without: share of the objects without any.
        confidence: mean probability that positives give to their class: of objects up to 8 × 8 pixels, and of larger
            ones; 0 where there are none.
    """

    classes: Float[Tensor, ""]
    boxes: Float[Tensor, ""]
    quality: Float[Tensor, ""]
    positives: Float[Tensor, ""]
    without: Float[Tensor, ""]
    confidence: tuple[Float[Tensor, ""], Float[Tensor, ""]]


def assigned_objects(
    output: DenseOutput, boxes: Float[Tensor, "b m 5"], labels: Int[Tensor, "b m"], assigner: AssignerOptions
) -> list[Int[Tensor, " n"]]:
    """For each picture the row of its object at each prior, BACKGROUND or IGNORED. Nothing is differentiated.

    Objects that are among the proposals are their own.
    """
    labels = output.classes_of(labels)
    with torch.no_grad():
        detached = output._replace(logits=output.logits.float())
        decoded = detached.boxes()
        found = []
        for picture in range(len(boxes)):
            rows = (labels[picture] != NOBODY).nonzero()[:, 0]
            priors, predictions = detached.of(picture, decoded)
            owner = priors_of_objects(boxes[picture, rows], labels[picture, rows], priors, assigner, predictions)
            owner = torch.where(owner >= 0, rows[owner.clamp(min=0)], owner) if len(rows) else owner
            if output.given:
                real = labels[picture] != NOBODY
                own = torch.where(real, torch.arange(output.given, device=owner.device), IGNORED)
                owner = torch.cat([owner[: -output.given], own])
            found.append(owner)
    return found


def stage_losses(
    output: DenseOutput,
    boxes: Float[Tensor, "b m 5"],
    labels: Int[Tensor, "b m"],
    assigner: AssignerOptions,
    number: Tensor,
    box_loss: str = "iou",
) -> list[DetectionLosses]:
    """Losses of each stage: of the first by the ``assigner``; of a second, whose anchors are the first one's boxes, by
    IoU of 0.5, each as published: S2A-Net ignores those between 0.4 and 0.5, and gives each object its best."""
    found = []
    for stage in output.stages():
        owners = assigned_objects(stage, boxes, labels, stage_assigner(stage, assigner))
        found.append(detection_losses(stage, boxes, labels, owners, number, box_loss))
    return found


def stage_assigner(stage: DenseOutput, assigner: AssignerOptions) -> AssignerOptions:
    """Of a first or only stage the ``assigner``, of a second one the published IoU of 0.5."""
    if stage.first is None:
        return assigner
    return _REGIONS if stage.first.proposes else _ALIGNED


def detection_losses(
    output: DenseOutput,
    boxes: Float[Tensor, "b m 5"],
    labels: Int[Tensor, "b m"],
    owners: Sequence[Int[Tensor, " n"]],
    number: Tensor,
    box_loss: str = "iou",
) -> DetectionLosses:
    """Focal loss, and −ln IoU of boxes decoded from the priors where they stand (arXiv 2304.08876, section 3.4), or
    another ``box_loss``; and where the head says centredness (arXiv 1904.01355), the binary entropy of that.

    All are sums over the batch, divided by ``number``. That is the number of objects and not, as published, of
    positive priors: those are the predictions' doing, so that a batch in several parts would be another one.
    """
    owner, labels = torch.stack(list(owners)), output.classes_of(labels)
    picture, prior = (owner >= 0).nonzero(as_tuple=True)
    row = owner[picture, prior]
    target = torch.full_like(owner, NOBODY).index_put((picture, prior), labels[picture, row])
    logits = output.logits.float()
    of_classes = focal_loss(logits.flatten(0, 1), target.flatten(), (owner != IGNORED).flatten()) / number
    objects = boxes[picture, row]
    decoded = output.coder.decoded(output.stands()[picture, prior], output.deltas[picture, prior])
    of_boxes = box_losses(decoded, objects, box_loss) / number
    of_quality = of_boxes.new_zeros(())
    if output.quality is not None:
        middle = centredness(output.priors[prior, :2], objects)
        of_quality = functional.binary_cross_entropy_with_logits(
            output.quality[picture, prior], middle, reduction="sum"
        )
    with torch.no_grad():
        counts = torch.zeros_like(labels).index_put((picture, row), torch.ones_like(row), accumulate=True)
        real = labels != NOBODY
        whole = real.sum().clamp(min=1)
        said = logits[picture, prior, labels[picture, row]].sigmoid()
        small = objects[:, 2] * objects[:, 3] <= _VERY_TINY
        means = [(said * of).sum() / of.sum().clamp(min=1) for of in (small, ~small)]
        missed = (real & (counts == 0)).sum()
    return DetectionLosses(
        of_classes, of_boxes, of_quality / number, counts.sum() / whole, missed / whole, (means[0], means[1])
    )
