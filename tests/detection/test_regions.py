"""Oriented R-CNN: boxes as six numbers, features along regions, which proposals are looked at, and what is learned."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tenfold.detection import geometry
from tenfold.detection.assign import MaxIouOptions, assign_priors, grid_priors
from tenfold.detection.assign.choosing import named_assigner
from tenfold.detection.config import BoxFinding, DetectorConfig
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.finding.decoding import found_boxes
from tenfold.detection.geometry import MidpointCoder
from tenfold.detection.learning import assigned_objects, stage_losses
from tenfold.detection.models import DenseOutput, Detector, OrientedRcnnHead, rotated_roi_align
from tenfold.detection.models.proposal_head import PROPOSALS, proposed
from tenfold.detection.models.region_features import region_features
from tenfold.detection.recipes import RECIPES
from tenfold.detection.task import DetectorTask
from tenfold.errors import UsageError
from tenfold.settings.changes import change
from tenfold.training.streams import Draws

BOXES = torch.tensor([[20.0, 24, 12, 6, 0.4], [44, 40, 9, 8, 1.9], [10, 50, 7, 3, 2.2]])
LABELS = torch.tensor([0, 1, 0])


def test_boxes_come_back_from_six_numbers() -> None:
    turns = torch.linspace(-3, 3, 37).double()
    boxes = torch.stack([turns + 20, 30 - turns, 6 + turns, 12 - turns, turns], -1)
    boxes = torch.cat([boxes, BOXES.double(), torch.tensor([[9.0, 9, 8, 4, 0], [9, 9, 4, 8, math.pi / 2]]).double()])
    priors = torch.tensor([[17.0, 32, 16, 24, 0]]).double().expand(len(boxes), 5)
    for convention in ("le135", "le90"):
        coder = MidpointCoder(convention)
        found = coder.decode(priors, coder.encode(priors, boxes))
        assert float(geometry.paired_iou(found, boxes).min()) > 1 - 1e-6  # π/2 is not quite upright
        assert torch.allclose(found, geometry.to_convention(found, convention))
    shares = coder.encode(priors, boxes)[:, 4:] / 2
    assert bool((shares.abs() <= 0.5 + 1e-12).all())


def test_any_six_numbers_are_a_rectangle_with_gradients() -> None:
    deltas = torch.randn(64, 6, dtype=torch.float64)
    deltas[:4, 4:] = torch.tensor([[9.0, -9], [9, 9], [-9, 9], [-9, -9]])  # sides of no length among them
    deltas.requires_grad_()
    priors = torch.tensor([[17.0, 32, 16, 24, 0]]).double().expand(64, 5)
    boxes = MidpointCoder().decode(priors, deltas)
    geometry.check_boxes(boxes.detach())
    (gradient,) = torch.autograd.grad(boxes.sum(), deltas)
    assert bool(gradient.isfinite().all())
    # The upright box around it is what the first four numbers say, unless a diagonal was made longer.
    equal = MidpointCoder().decode(priors[:1], torch.zeros(1, 6) + torch.tensor([0.5, 0, math.log(1.5), 0, 0, 0]))
    assert torch.allclose(geometry.horizontal(equal), torch.tensor([[13.0, 20, 37, 44]]).double(), atol=1e-5)
    for bad in ({"convention": "x"}, {"stds": (1.0, 1, 1, 1, 1, 0)}):
        with pytest.raises(UsageError):
            MidpointCoder(**bad)


def by_loops(feature: Tensor, box: Tensor, stride: int, bins: int, samples: int) -> Tensor:
    """Features (c, h, w) of one region, sample by sample."""
    channels, height, width = feature.shape
    found = torch.zeros(channels, bins, bins, dtype=feature.dtype)
    cx, cy, w, h, t = box.tolist()
    count = bins * samples
    for row in range(count):
        for column in range(count):
            u, v = ((column + 0.5) / count - 0.5) * w, ((row + 0.5) / count - 0.5) * h
            x = (cx + u * math.cos(t) - v * math.sin(t)) / stride - 0.5
            y = (cy + u * math.sin(t) + v * math.cos(t)) / stride - 0.5
            if not (-1 <= x <= width and -1 <= y <= height):
                continue
            grid = torch.tensor([[[[2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1]]]], dtype=feature.dtype)
            here = functional.grid_sample(feature[None], grid, "bilinear", "border", align_corners=True)[0, :, 0, 0]
            found[:, row // samples, column // samples] += here / samples**2
    return found


def test_regions_are_sampled_along_their_sides() -> None:
    features = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    regions = torch.stack([torch.cat([BOXES, torch.tensor([[0.0, 0, 20, 9, 0.7], [80, 10, 4, 4, 0]])])] * 2).double()
    regions[1] += 1
    found = rotated_roi_align(features, regions, 8, bins=2)
    want = [[by_loops(features[b], regions[b, p], 8, 2, 2) for p in range(5)] for b in range(2)]
    assert torch.allclose(found, torch.stack([torch.stack(row) for row in want]), atol=1e-9)
    assert not found[:, 4].any()  # beyond the map
    leaf = features[:1, :1, :3, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: rotated_roi_align(f, regions[:1, :2] / 2, 8, bins=1), leaf)
    assert rotated_roi_align(features, regions[:, :0], 8).shape == (2, 0, 3, 7, 7)
    for bad, word in (({"stride": 0}, "stride is 0"), ({"stride": 8, "bins": 0}, "bins 0")):
        with pytest.raises(UsageError, match=word):
            rotated_roi_align(features, regions, **bad)


def test_larger_regions_take_coarser_levels() -> None:
    levels = [torch.full((1, 1, 256 >> k, 256 >> k), float(k)) for k in range(3)]
    sides = torch.tensor([4.0, 111, 113, 223, 225, 900])
    regions = torch.stack([sides * 0 + 512, sides * 0 + 512, sides / 2, sides * 2, sides * 0], -1)[None]
    assert region_features(levels, regions, [4, 8, 16], 1)[0, :, 0, 0, 0].round().tolist() == [0, 0, 1, 1, 2, 2]


def output_of(boxes: Tensor, logits: Tensor) -> DenseOutput:
    """A first stage that proposes these."""
    n = len(boxes)
    priors = torch.tensor([[16.0, 16, 32, 32, 0]]).expand(n, 5)
    return DenseOutput(
        logits[None, :, None],
        PROPOSALS.encode(priors, boxes)[None],
        torch.zeros(1, n, 2),
        priors,
        (n,),
        coder=PROPOSALS,
    )


def test_the_best_proposals_without_doubles_come_first() -> None:
    boxes = torch.cat([BOXES, BOXES[:1] + torch.tensor([0.1, 0, 0, 0, 0])])
    found = proposed(output_of(boxes, torch.tensor([0.1, 0.5, 0.2, 0.4])), 4)[0]
    assert torch.allclose(geometry.paired_iou(found, boxes[[1, 3, 2, 0]]), torch.ones(4), atol=1e-3)
    assert proposed(output_of(boxes, torch.tensor([0.1, 0.5, 0.2, 0.4])), 2).shape == (1, 2, 5)
    assert proposed(output_of(boxes, torch.full((4,), torch.nan)), 9).shape == (1, 4, 5)  # the loop tells of NaN


def test_overlap_with_upright_boxes() -> None:
    tilted, prior = torch.tensor([[16.0, 16, 30, 4, math.pi / 4]]), grid_priors([(1, 1)], [32], 0.75, 0.5)
    labels = torch.zeros(1, dtype=torch.int64)
    options = MaxIouOptions(0.7, 0.3, match_best=False)
    assert assign_priors(tilted, labels, prior, options).tolist() == [-1]
    assert assign_priors(tilted, labels, prior, change(options, {"upright": True})).tolist() == [0]


@pytest.mark.parametrize("head", ["oriented-rcnn", "dcfl-oriented-rcnn"])
def test_every_weight_learns(head: str) -> None:
    model = Detector(DetectorConfig(("ship", "tank"), width=8, channels=8, strides=(4, 8), head=head, proposals=20))
    boxes, labels = torch.zeros(2, 4, 5), torch.full((2, 4), NOBODY)
    boxes[0, :3], labels[0, :3] = BOXES, LABELS
    output = model(255 * torch.rand(2, 3, 64, 64), boxes)
    assert output.anchors is not None
    assert output.anchors.shape == (2, 24, 5)
    assert not output.anchors.requires_grad
    assert torch.equal(output.anchors[:, -4:], boxes)
    assigner = named_assigner("dcfl") if head.startswith("dcfl") else MaxIouOptions(0.7, 0.3, upright=True)
    losses = stage_losses(output, boxes, labels, assigner, torch.tensor(3))
    assert losses[0].positives >= 1
    torch.stack([part for stage in losses for part in (stage.classes, stage.boxes)]).sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not still
    # Objects among the proposals are their own, rows that only fill are nobody's.
    owners = assigned_objects(output, boxes, labels, MaxIouOptions(0.5, 0.5, match_best=False))
    assert owners[0][-4:].tolist() == [0, 1, 2, -2]
    assert owners[1][-4:].tolist() == [-2] * 4
    if head.startswith("dcfl"):
        with torch.no_grad():
            model.bbox_head.rpn_head.rpn_conv.conv_offset.bias[1:18:2] = 1.0  # x
        first = model(torch.zeros(1, 3, 64, 64)).first
        assert first is not None
        assert torch.allclose(first.shift[0, [0, -1]], torch.tensor([[4.0, 0], [8, 0]]))


def test_pictures_do_not_depend_on_their_batch() -> None:
    model = Detector(DetectorConfig(("a",), width=8, channels=8, strides=(4, 8), head="oriented-rcnn", proposals=9))
    pictures = 255 * torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        both, alone = model(pictures), model(pictures[1:])
    assert torch.allclose(both.boxes()[1], alone.boxes()[0], atol=1e-3)
    assert torch.allclose(both.logits[1], alone.logits[0], atol=1e-5)
    assert len(found_boxes(both, 0, BoxFinding(score=0.0, overlap=1.0)).boxes) == 9


@pytest.mark.parametrize("changes", [{}, {"model": {"head": "dcfl-oriented-rcnn"}, "objective": {"assigner": "dcfl"}}])
def test_the_task_trains_and_measures_it(changes: dict[str, dict[str, str]]) -> None:
    data = {"aerotiny": {"size": 64, "pictures": 2, "objects": 400}, "cache": "", "validation": 1, "test": 1}
    recipe = change(RECIPES["aerotiny-oriented-rcnn"].recipe, {"data": data, "evaluation": {"score": 0.0}})
    task = DetectorTask(change(change(recipe, {"model": {"width": 8, "channels": 8, "proposals": 30}}), changes))
    assert isinstance(task.model.bbox_head, OrientedRcnnHead)
    batch = {**task.train_source().batch(np.arange(2)), "index": torch.arange(2)}
    (update,) = task.step(task.modules(), batch, Draws(0, 0))
    update.loss.backward()
    found = {row.name: row.value for row in task.evaluate()}
    assert 0 <= found["AP50"] <= 1
    assert found["positives_per_object"] > 0.5
    assert DetectorTask.describe(task.recipe)["parameters"] == sum(p.numel() for p in task.model.parameters())
