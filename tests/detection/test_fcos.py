"""FCOS: boxes as distances from points, which points learn which objects, the head, and what it learns."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.assign import DcflOptions, PointOptions, assign_priors, grid_priors
from tenfold.detection.assign.choosing import named_assigner
from tenfold.detection.config import BoxFinding, DetectorConfig
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.finding.decoding import found_boxes
from tenfold.detection.geometry.points import PointCoder, centredness, edge_distances
from tenfold.detection.learning import assigned_objects, detection_losses
from tenfold.detection.losses import box_losses
from tenfold.detection.models import DenseOutput, Detector, FcosHead
from tenfold.detection.recipes import RECIPES
from tenfold.detection.task import DetectorTask
from tenfold.errors import UsageError
from tenfold.settings.changes import change
from tenfold.training.streams import Draws

BOXES = torch.tensor([[20.0, 24, 12, 6, 0.4], [44, 40, 9, 8, 1.9], [10, 50, 7, 3, 2.2]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 0])


def config(head: str) -> DetectorConfig:
    return DetectorConfig(("ship", "tank"), width=8, channels=8, strides=(4, 8), head=head, layers=1, norm="group")


def test_distances_and_centredness() -> None:
    box = torch.tensor([10.0, 20, 8, 4, math.pi / 2])  # upright: 4 wide, 8 high
    points = torch.tensor([[10.0, 20], [11, 20], [10, 23], [12, 24], [13, 20]])
    found = edge_distances(points, box.expand(5, 5))
    # Along the box's width, which points down, and across it, to the left.
    assert torch.allclose(found[1], torch.tensor([4.0, 1, 4, 3]), atol=1e-5)
    assert torch.allclose(found[2], torch.tensor([7.0, 2, 1, 2]), atol=1e-5)
    want = torch.tensor([1, math.sqrt(1 / 3), math.sqrt(1 / 7), 0, 0])
    assert torch.allclose(centredness(points, box.expand(5, 5)), want, atol=1e-3)


def test_boxes_come_back() -> None:
    coder = PointCoder(2.0)
    inside = torch.stack([BOXES[:, 0] + 0.7, BOXES[:, 1] - 0.5], 1)
    priors = torch.cat([inside, torch.full((3, 2), 16.0), torch.zeros(3, 1)], 1).double()
    deltas = coder.encode(priors, BOXES)
    assert torch.allclose(coder.decode(priors, deltas), geometry.to_convention(BOXES, "le135"), atol=1e-9)
    assert torch.allclose(deltas[:, :4].exp() * 8, edge_distances(inside, geometry.to_convention(BOXES, "le135")))
    assert torch.autograd.gradcheck(lambda d: coder.decode(priors, d), deltas.requires_grad_())
    with pytest.raises(UsageError, match="scale is 0"):
        PointCoder(0)


def by_loops(objects: Tensor, points: Tensor, strides: Tensor, levels: Tensor, options: PointOptions) -> list[int]:
    """The rule, point by point and object by object."""
    found = []
    for point, stride, level in zip(points, strides.tolist(), levels.tolist(), strict=True):
        best, least = -1, math.inf
        for number, box in enumerate(objects):
            distances = edge_distances(point[None], box[None])[0]
            near = float((point - box[:2]).abs().max()) <= options.radius * stride
            far, last = float(distances.max()), level == int(levels.max())
            fits = (level == 0 or far >= options.reach * stride / 2) and (last or far <= options.reach * stride)
            if near and fits and float(distances.min()) > 0 and float(box[2] * box[3]) < least:
                best, least = number, float(box[2] * box[3])
        found.append(best)
    return found


@pytest.mark.parametrize("options", [PointOptions(), PointOptions(radius=0.6, reach=1.0), PointOptions(radius=9.0)])
def test_points_in_the_middle_learn(options: PointOptions) -> None:
    objects = torch.cat([torch.rand(5, 2) * 32, torch.rand(5, 2) * 20 + 4, torch.rand(5, 1) * 3], 1)
    grid = grid_priors([(8, 8), (4, 4)], [4, 8], options.scale, 0.5)
    found = assign_priors(objects, torch.zeros(5, dtype=torch.int64), grid, options)
    want = by_loops(objects, grid.boxes[:, :2], grid.boxes[:, 2] / 4, grid.level, options)
    assert found.tolist() == want
    assert int((found >= 0).sum()) > 2
    assert (assign_priors(objects[:0], torch.zeros(0, dtype=torch.int64), grid, options) == -1).all()


@pytest.mark.parametrize("head", ["fcos", "dcfl-fcos"])
def test_every_weight_learns(head: str) -> None:
    model = Detector(config(head))
    found = model(255 * torch.rand(2, 3, 64, 64))
    assert found.quality is not None
    assert found.quality.shape == found.logits.shape[:2]
    assert found.priors[0].tolist() == [2, 2, 16, 16, 0]
    boxes, labels = torch.zeros(2, 4, 5), torch.full((2, 4), NOBODY)
    boxes[0, :3], labels[0, :3] = BOXES.float(), LABELS
    assigner = named_assigner("points" if head == "fcos" else "dcfl")
    owners = assigned_objects(found, boxes, labels, assigner)
    assert int((owners[0] >= 0).sum()) >= 3
    assert not (owners[1] >= 0).any()
    losses = detection_losses(found, boxes, labels, owners, torch.tensor(3))
    (losses.classes + losses.boxes + losses.quality).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not still
    if head == "dcfl-fcos":
        with torch.no_grad():
            model.bbox_head.reg_convs[3].conv_offset.bias[:18:2] = 1.0  # y
        moved = model(torch.zeros(1, 3, 64, 64)).shift[0]
        assert torch.allclose(moved[0], torch.tensor([0.0, 2.0]))
        assert torch.allclose(moved[-1], torch.tensor([0.0, 4.0]))


def exact(quality: float) -> DenseOutput:
    """Three points in the middle of their objects that say so."""
    priors = torch.cat([BOXES[:, :2], torch.full((3, 2), 16.0), torch.zeros(3, 1)], 1).float()
    deltas = PointCoder().encode(priors, BOXES.float())[None]
    logits = torch.full((1, 3, 2), -12.0)
    logits[0, torch.arange(3), LABELS] = 6.0
    return DenseOutput(logits, deltas, torch.zeros(1, 3, 2), priors, (3,), torch.full((1, 3), quality), PointCoder())


def test_what_is_right_costs_nothing() -> None:
    found = detection_losses(exact(12.0), BOXES[None].float(), LABELS[None], [torch.arange(3)], torch.tensor(3))
    assert float(found.boxes) == pytest.approx(0, abs=1e-4)
    assert float(found.quality) == pytest.approx(0, abs=1e-4)
    assert float(found.classes) < 1e-4
    wrong = detection_losses(exact(-12.0), BOXES[None].float(), LABELS[None], [torch.arange(3)], torch.tensor(3))
    assert float(wrong.quality) == pytest.approx(12, abs=1e-3)


def test_scores_are_of_class_and_middle() -> None:
    found = found_boxes(exact(0.0), 0, BoxFinding())
    assert torch.allclose(found.scores, (torch.tensor(6.0).sigmoid() / 2).sqrt().expand(3))
    assert torch.allclose(found.boxes.double(), geometry.to_convention(BOXES, "le135")[[0, 1, 2]], atol=1e-4)
    assert len(found_boxes(exact(-12.0), 0, BoxFinding()).boxes) == 0


@pytest.mark.parametrize("kind", ["iou", "kl", "wasserstein", "kalman", "probiou", "bhattacharyya"])
def test_losses_of_boxes(kind: str) -> None:
    moved = (BOXES + torch.tensor([1.0, -1, 2, 1, 0.2])).requires_grad_()
    near, far = box_losses(moved, BOXES, kind), box_losses(BOXES + 3, BOXES, kind)
    assert 0 < float(near.detach()) < float(far)
    (gradient,) = torch.autograd.grad(near, moved)
    assert bool(gradient.isfinite().all())
    assert float(gradient.abs().sum(1).min()) > 0
    assert float(box_losses(BOXES, BOXES, kind)) < float(near.detach()) / 3


@pytest.mark.parametrize("changes", [{}, {"model": {"head": "dcfl-fcos"}, "objective": {"assigner": "dcfl"}}])
def test_the_task_trains_and_measures_it(changes: dict[str, dict[str, str]]) -> None:
    scenes = {"size": 64, "pictures": 2, "objects": 400}
    recipe = change(
        RECIPES["aerotiny-fcos"].recipe, {"data": {"aerotiny": scenes, "cache": "", "validation": 1, "test": 1}}
    )
    recipe = change(recipe, {"model": {"width": 8, "channels": 8, "layers": 1}, "evaluation": {"score": 0.0}})
    task = DetectorTask(change(recipe, changes))
    batch = {**task.train_source().batch(np.arange(2)), "index": torch.arange(2)}
    (update,) = task.step(task.modules(), batch, Draws(0, 0))
    update.loss.backward()
    found = {row.name: row.value for row in task.evaluate()}
    assert 0 <= found["AP50"] <= 1
    assert found["positives_per_object"] > 0.5


def test_recipes_and_settings() -> None:
    recipe = RECIPES["aerotiny-fcos"].recipe
    assert isinstance(Detector(recipe.model).bbox_head, FcosHead)
    assert named_assigner("points", scale=2.0) == PointOptions(scale=2.0)
    assert named_assigner("dcfl", DcflOptions(kept=3)) == DcflOptions(kept=3)
    for bad in ({"radius": 0}, {"reach": -1}, {"scale": 0}):
        with pytest.raises(UsageError, match="give a positive number of strides"):
            PointOptions(**bad)
