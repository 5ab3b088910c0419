"""S2A-Net's head: features along oriented boxes, filters in eight orientations, and what its two stages learn."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tenfold.detection.assign import MaxIouOptions
from tenfold.detection.assign.choosing import named_assigner
from tenfold.detection.config import BoxFinding, DetectorConfig
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.finding.decoding import found_boxes
from tenfold.detection.learning import assigned_objects, detection_losses, stage_losses
from tenfold.detection.models import DcflHead, DenseOutput, Detector
from tenfold.detection.models.aligned_head import TurningConvolution, alignment_offsets
from tenfold.detection.models.deformable import deformed
from tenfold.detection.models.output import CODER
from tenfold.detection.recipes import RECIPES
from tenfold.detection.task import DetectorTask
from tenfold.settings.changes import change
from tenfold.training.streams import Draws

BOXES = torch.tensor([[20.0, 24, 12, 6, 0.4], [44, 40, 9, 8, 1.9], [10, 50, 7, 3, 2.2]])
LABELS = torch.tensor([0, 1, 0])


def places(height: int, width: int, stride: int) -> torch.Tensor:
    """Boxes of three strides at their own locations."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    middle = torch.stack([x, y], -1).flatten(0, 1).float() * stride
    side = torch.full((height * width, 2), 3.0 * stride)
    return torch.cat([middle, side, torch.zeros(height * width, 1)], 1)[None]


def test_boxes_of_three_cells_are_a_plain_convolution() -> None:
    offsets = alignment_offsets(places(4, 6, 8), 4, 6, 8)
    assert offsets.shape == (1, 18, 4, 6)
    assert float(offsets.abs().max()) < 1e-6
    x, weight = torch.randn(1, 2, 4, 6), torch.randn(3, 2, 3, 3)
    found = deformed(x, offsets, torch.ones(1, 9, 4, 6), weight)
    assert torch.allclose(found, functional.conv2d(x, weight, padding=1), atol=1e-5)


def test_taps_lie_along_the_box() -> None:
    boxes = places(9, 9, 8)
    centre = 4 * 9 + 4
    boxes[0, centre] = torch.tensor([36.0, 30, 24, 6, torch.pi / 2])  # 24 pixels down, 6 to the left
    offsets = alignment_offsets(boxes, 9, 9, 8)
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    taps = []
    for row in range(3):
        for column in range(3):
            weight = torch.zeros(2, 2, 3, 3)
            weight[0, 0, row, column] = weight[1, 1, row, column] = 1
            taps.append(8 * deformed(torch.stack([x, y])[None], offsets, torch.ones(1, 9, 9, 9), weight)[0, :, 4, 4])
    # Columns of the filter go along the box's width, which points down; rows across, to the left.
    want = [[36 - 2 * row, 30 + 8 * column] for row in (-1, 0, 1) for column in (-1, 0, 1)]
    assert torch.allclose(torch.stack(taps), torch.tensor(want).float(), atol=1e-4)


def test_a_turned_picture_turns_the_orientations() -> None:
    layer, x = TurningConvolution(3, 2), torch.randn(1, 3, 7, 7)
    found, turned = layer(x).unflatten(1, (2, 8)), layer(x.rot90(-1, (2, 3))).unflatten(1, (2, 8))  # clockwise
    assert torch.allclose(turned, found.rot90(-1, (3, 4)).roll(2, 2), atol=1e-5)
    assert torch.allclose(found[:, :, 0], functional.conv2d(x, layer.weight, padding=1), atol=1e-5)
    assert torch.allclose(turned.amax(2), found.amax(2).rot90(-1, (2, 3)), atol=1e-5)


@pytest.mark.parametrize("head", ["s2a", "dcfl-s2a"])
def test_every_weight_learns(head: str) -> None:
    model = Detector(DetectorConfig(("ship", "tank"), width=8, channels=8, strides=(4, 8), head=head, layers=1))
    output = model(255 * torch.rand(2, 3, 64, 64))
    assert output.anchors is not None
    assert output.first is not None
    assert isinstance(model.bbox_head.first, DcflHead) == (head == "dcfl-s2a")
    assert not output.anchors.requires_grad
    assert torch.equal(output.anchors, output.first.boxes().detach())
    boxes, labels = torch.zeros(2, 4, 5), torch.full((2, 4), NOBODY)
    boxes[0, :3], labels[0, :3] = BOXES, LABELS
    losses = stage_losses(output, boxes, labels, named_assigner("dcfl"), torch.tensor(3))
    torch.stack([part for stage in losses for part in (stage.classes, stage.boxes)]).sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert not still
    # The second stage is assigned by the boxes of the first, by IoU.
    owners = assigned_objects(output, boxes, labels, MaxIouOptions())
    again = detection_losses(output, boxes, labels, owners, torch.tensor(3))
    assert torch.equal(again.boxes, losses[1].boxes)
    assert losses[0].positives >= 1


def test_boxes_are_decoded_from_the_first_ones() -> None:
    anchors = (BOXES + torch.tensor([2.0, -1, 3, 2, 0.1]))[None]
    logits = torch.full((1, 3, 2), -12.0)
    logits[0, torch.arange(3), LABELS] = 6.0
    zero = torch.zeros(1, 3, 2)
    output = DenseOutput(logits, CODER.encode(anchors, BOXES[None]), zero, torch.ones(3, 5), (3,), anchors=anchors)
    assert torch.allclose(found_boxes(output, 0, BoxFinding()).boxes, BOXES, atol=1e-4)
    losses = detection_losses(output, BOXES[None], LABELS[None], [torch.arange(3)], torch.tensor(3))
    assert float(losses.boxes) == pytest.approx(0, abs=1e-4)


def test_the_task_trains_and_measures_it() -> None:
    data = {"aerotiny": {"size": 64, "pictures": 2, "objects": 400}, "cache": "", "validation": 1, "test": 1}
    recipe = change(RECIPES["aerotiny-s2a"].recipe, {"data": data, "evaluation": {"score": 0.0}})
    task = DetectorTask(change(recipe, {"model": {"width": 8, "channels": 8, "layers": 1}}))
    batch = {**task.train_source().batch(np.arange(2)), "index": torch.arange(2)}
    (update,) = task.step(task.modules(), batch, Draws(0, 0))
    update.loss.backward()
    found = {row.name: row.value for row in task.evaluate()}
    assert 0 <= found["AP50"] <= 1
    assert found["positives_per_object"] > 0.5
    assert DetectorTask.describe(task.recipe)["parameters"] == sum(p.numel() for p in task.model.parameters())
