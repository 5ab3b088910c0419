"""Geometry, assignment and the head on a second device: nothing is left on the CPU, and the numbers are the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.assign import (
    AtssOptions,
    DcflOptions,
    GaussianRankingOptions,
    MaxIouOptions,
    PointOptions,
    Predictions,
    Priors,
    TaskAlignedOptions,
    WassersteinRankingOptions,
    assign_priors,
    audit_assignment,
    grid_priors,
)
from tenfold.detection.config import DetectorConfig
from tenfold.detection.losses import focal_loss, rotated_iou_loss
from tenfold.detection.models import DcflHead, Detector, decoded, priors_of
from tests.detection import polygons

FIRST, SECOND = (torch.from_numpy(part).float() for part in polygons.random_pairs(60, seed=4))
MANY, OTHERS = (torch.from_numpy(part).float() for part in polygons.random_pairs(400, seed=5))
SCORES = torch.linspace(1, 0.1, 60)
LABELS = torch.arange(60) % 3

CASES: dict[str, Callable[..., Tensor]] = {
    "box_iou": lambda a, b, s, k: geometry.box_iou(a, b),
    "paired_iou": lambda a, b, s, k: geometry.paired_iou(a, b),
    "rotated_nms": lambda a, b, s, k: geometry.rotated_nms(a, s, 0.1, k),
    "thresholds": lambda a, b, s, k: geometry.rotated_nms(a, s, torch.tensor([0.1, 0.2, 0.3]), k),
    "soft_nms": lambda a, b, s, k: geometry.soft_nms(a, s, k).scores,
    "gjsd": lambda a, b, s, k: geometry.gjsd(a, b),
    "probiou": lambda a, b, s, k: geometry.probiou(a, b),
    "kl_loss": lambda a, b, s, k: geometry.kl_loss(a, b, "kl_max"),
    "wasserstein_loss": lambda a, b, s, k: geometry.wasserstein_loss(a, b),
    "kalman_loss": lambda a, b, s, k: geometry.kalman_loss(a, b, "ln"),
    "le90": lambda a, b, s, k: geometry.to_convention(a, "le90"),
    "oc": lambda a, b, s, k: geometry.to_convention(a, "oc"),
    "min_area": lambda a, b, s, k: geometry.from_quads(geometry.to_quads(a), "le90", "min_area"),
    "ring_order": lambda a, b, s, k: geometry.ring_order(geometry.to_quads(a)),
    "flip": lambda a, b, s, k: geometry.flip_boxes(a, 90, 80, "vertical"),
    "resize": lambda a, b, s, k: geometry.resize_boxes(a, 2, 3),
    "shift": lambda a, b, s, k: geometry.shift_boxes(a, 2, 3),
    "coder": lambda a, b, s, k: geometry.BoxCoder(swap_edges=True).decode(a, geometry.BoxCoder().encode(a, b)),
    "point coder": lambda a, b, s, k: geometry.PointCoder().decode(a, geometry.PointCoder().encode(a, b)),
    "focal": lambda a, b, s, k: focal_loss(a, k - 1, k > 0),
    "iou_loss": lambda a, b, s, k: rotated_iou_loss(a, b),
}


@pytest.mark.parametrize("name", CASES)
def test_functions(device: torch.device, name: str) -> None:
    want = CASES[name](FIRST, SECOND, SCORES, LABELS)
    found = CASES[name](*(value.to(device) for value in (FIRST, SECOND, SCORES, LABELS)))
    assert found.device.type == device.type
    assert torch.allclose(found.cpu(), want, atol=1e-4, rtol=1e-4)


def test_pairs_by_strips(device: torch.device) -> None:
    want = geometry.near_pairs(MANY, OTHERS)
    assert torch.equal(geometry.near_pairs(MANY.to(device), OTHERS.to(device)).cpu(), want)


@pytest.mark.parametrize(
    "options",
    [
        DcflOptions(),
        DcflOptions(metric="iou", constraint="circle"),
        MaxIouOptions(),
        AtssOptions(),
        TaskAlignedOptions(),
        GaussianRankingOptions(),
        WassersteinRankingOptions(),
        PointOptions(),
    ],
    ids=lambda options: type(options).__name__,
)
def test_assigners(device: torch.device, options: object) -> None:
    grid = grid_priors([(10, 10), (5, 5)], [8, 16])
    logits = torch.randn(125, 3, generator=torch.Generator().manual_seed(0))
    want = assign_priors(FIRST, LABELS, grid, options, Predictions(logits, grid.boxes))
    there = grid_priors([(10, 10), (5, 5)], [8, 16], device=device)
    found = assign_priors(
        FIRST.to(device), LABELS.to(device), there, options, Predictions(logits.to(device), there.boxes)
    )
    assert found.device.type == device.type
    assert torch.equal(found.cpu(), want)
    told = audit_assignment([FIRST.to(device)], [there], [found])
    assert told.total == audit_assignment([FIRST], [grid], [want]).total


@torch.no_grad()
def test_head(device: torch.device) -> None:
    head = DcflHead(classes=3, inputs=4, width=4)
    torch.nn.init.normal_(head.reg_convs[3].conv_offset.weight)
    features = [torch.randn(1, 4, 6, 5), torch.randn(1, 4, 3, 3)]
    want, coder = head(features), geometry.BoxCoder()
    priors = priors_of(want, [8, 16], 0)
    boxes = decoded(want, priors, 0, coder).boxes
    found = head.to(device)([level.to(device) for level in features])
    there: Priors = priors_of(found, [8, 16], 0)
    assert there.moved.device.type == device.type
    assert torch.allclose(there.moved.cpu(), priors.moved, atol=1e-4)
    assert torch.allclose(decoded(found, there, 0, coder).boxes.cpu(), boxes, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("head", ["retina", "dcfl-fcos", "s2a", "dcfl-s2a", "dcfl-oriented-rcnn"])
def test_detectors(device: torch.device, head: str) -> None:
    model = Detector(DetectorConfig(("a",), width=8, channels=8, strides=(8, 16), head=head, layers=1))
    pictures = torch.arange(3 * 32 * 32).remainder(251).reshape(1, 3, 32, 32).float()
    want, found = model(pictures), model.to(device)(pictures.to(device))
    assert all(value.device.type == device.type for value in found if isinstance(value, Tensor))
    assert torch.allclose(found.logits.cpu(), want.logits, atol=1e-3)
    assert torch.allclose(found.boxes().cpu(), want.boxes(), atol=1e-2)
