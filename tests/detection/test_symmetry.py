"""Learning angles from upright boxes: the loss of boxes that does not see angles, the second view, and agreement."""

import math

import numpy as np
import torch

from tenfold.detection import geometry
from tenfold.detection.assign import MaxIouOptions
from tenfold.detection.assign.choosing import named_assigner
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.geometry.boxes import outlines
from tenfold.detection.losses import box_losses
from tenfold.detection.models import DenseOutput
from tenfold.detection.models.output import CODER
from tenfold.detection.recipes import RECIPES
from tenfold.detection.symmetry import agreement, directions, second_view, symmetry_loss
from tenfold.detection.task import DetectorTask
from tenfold.settings.changes import change
from tenfold.training.streams import Draws

BOXES = torch.tensor([[28.0, 30, 14, 6, 0.4], [36, 40, 9, 8, 1.9], [22, 33, 9, 3, 2.2]])
LABELS = torch.tensor([[0, 1, 0]])


def test_outlines_are_the_upright_boxes_and_their_loss_sees_no_mirror() -> None:
    boxes = outlines(BOXES)
    assert torch.allclose(geometry.horizontal(boxes), geometry.horizontal(BOXES), atol=1e-5)
    mirrored = BOXES * torch.tensor([1, 1, 1, 1, -1.0])
    assert float(box_losses(mirrored, BOXES, "outline")) < 1e-4 < float(box_losses(mirrored, BOXES, "iou"))
    moved = (BOXES + torch.tensor([1.0, -1, 2, 1, 0.2])).requires_grad_()
    (gradient,) = torch.autograd.grad(box_losses(moved, boxes, "outline"), moved)
    assert bool((gradient[:, 2:] != 0).all())


def said(boxes: torch.Tensor) -> DenseOutput:
    """Priors that stand in the middles of boxes and say them."""
    priors = torch.cat([boxes[0, :, :2], torch.full((3, 2), 16.0), torch.zeros(3, 1)], 1)
    deltas = CODER.encode(priors.expand_as(boxes), boxes)
    b = len(boxes)
    return DenseOutput(torch.zeros(b, 3, 2), deltas, torch.zeros(b, 3, 2), priors, (3,))


def test_the_second_view_moves_boxes_with_their_picture() -> None:
    index, draws = torch.arange(120), Draws(0, 3)
    pictures = torch.zeros(120, 3, 64, 64)
    pictures[:, 0, 20:24, 40:44] = 255  # about (42, 22)
    box = torch.tensor([[42.0, 22, 4, 4, 0.0], [2, 2, 3, 3, 0]]).expand(120, 2, 5)
    view = second_view(pictures, box, torch.zeros(120, 2, dtype=torch.int64), index, draws)
    light = view.pictures[:, 0] / view.pictures[:, 0].sum((1, 2), keepdim=True)
    place = torch.arange(64) + 0.5
    seen = torch.stack([(light.sum(1) * place).sum(1), (light.sum(2) * place).sum(1)], -1)
    assert torch.allclose(seen, view.boxes[:, 0, :2], atol=0.3)
    assert torch.allclose(view.linear @ view.linear.mT, torch.eye(2).expand(120, 2, 2), atol=1e-5)
    turns = torch.linalg.det(view.linear) > 0
    assert 0 < int((~turns).sum()) < 20
    assert bool((view.linear[turns, 1, 0] > math.sqrt(0.5) - 1e-5).all())
    corner = view.boxes[:, 1, :2]
    assert torch.equal(view.labels[:, 1] == NOBODY, ~((corner >= 0) & (corner <= 64)).all(1))
    alone = second_view(pictures[7:8], box[7:8], torch.zeros(1, 2, dtype=torch.int64), index[7:8], draws)
    assert torch.equal(alone.linear, view.linear[7:8])


def test_boxes_that_move_with_their_picture_agree() -> None:
    index = torch.arange(40)
    boxes, labels = BOXES.expand(40, 3, 5), LABELS.expand(40, 3)
    view = second_view(torch.zeros(40, 3, 64, 64), boxes, labels, index, Draws(1, 0))
    owners = [torch.arange(3)] * 40
    first, second = directions(said(boxes), owners, 3), directions(said(view.boxes), owners, 3)
    assert float(symmetry_loss(first, second, view.linear)) < 1e-3
    # What stays at one angle whatever happens to the picture costs, by 1 − cos 2Δ.
    turned = torch.linalg.det(view.linear) > 0
    angle = torch.atan2(view.linear[:, 1, 0], view.linear[:, 0, 0])[turned]
    found = symmetry_loss(first[turned], first[turned], view.linear[turned])
    assert torch.allclose(found, 3 * (1 - (2 * angle).cos()).sum(), rtol=1e-4)
    assert float(symmetry_loss(first, torch.zeros_like(first), view.linear)) == 0


def test_the_whole_agreement_has_gradients() -> None:
    view = second_view(torch.zeros(1, 3, 64, 64), BOXES[None], LABELS, torch.zeros(1, dtype=torch.int64), Draws(0, 0))
    both = said(torch.cat([BOXES[None], BOXES[None]]))
    both = both._replace(deltas=both.deltas.requires_grad_())
    assert both.half(1).deltas.shape == (1, 3, 5)
    loss = agreement(both, BOXES[None], LABELS, view, MaxIouOptions(0.1, 0.1))
    assert float(loss.detach()) > 0.1
    (gradient,) = torch.autograd.grad(loss, both.deltas)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[..., 4] != 0).any(1).all())  # of both views
    assert not gradient[..., :4].any()


def test_the_task_learns_from_upright_boxes() -> None:
    data = {"aerotiny": {"size": 64, "pictures": 2, "objects": 400}, "cache": "", "validation": 1, "test": 1}
    recipe = change(RECIPES["aerotiny-upright"].recipe, {"data": data, "model": {"width": 8, "channels": 8}})
    recipe = change(recipe, {"augmentation": {"shift": 0, "colour": 0.0}})
    task = DetectorTask(recipe)
    batch = {**task.train_source().batch(np.arange(2)), "index": torch.arange(2)}
    (update,) = task.step(task.modules(), batch, Draws(0, 0))
    update.loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in task.model.parameters())
    # Nothing but the upright boxes is read of the labels.
    (again,) = task.step(task.modules(), {**batch, "boxes": outlines(batch["boxes"])}, Draws(0, 0))
    assert torch.equal(again.loss.detach(), update.loss.detach())
    (plain,) = DetectorTask(change(recipe, {"objective": {"symmetry": 0.0}})).step(task.modules(), batch, Draws(0, 0))
    assert float(plain.loss.detach()) < float(update.loss.detach())
    assert named_assigner("dcfl") == task.assigner
