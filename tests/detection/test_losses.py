"""Losses against their formulas, one prior at a time."""

import math

import pytest
import torch

from tenfold.detection import geometry
from tenfold.detection.losses import focal_loss, rotated_iou_loss, smooth_l1_loss


def test_focal() -> None:
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.1], [5.0, -7.0]], dtype=torch.float64, requires_grad=True)
    labels, counted = torch.tensor([1, -1, 0]), torch.tensor([True, True, False])
    want = 0.0
    for n in (0, 1):
        for k in (0, 1):
            p = 1 / (1 + math.exp(-logits[n, k].item()))
            if int(labels[n]) == k:
                want -= 0.25 * (1 - p) ** 2 * math.log(p)
            else:
                want -= 0.75 * p**2 * math.log(1 - p)
    assert focal_loss(logits, labels, counted).item() == pytest.approx(want)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, labels, counted), logits)
    far = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    loss = focal_loss(far, torch.tensor([-1, 0]), torch.tensor([True, True]))
    loss.backward()
    assert bool(loss.isfinite())
    assert far.grad is not None
    assert bool(far.grad.isfinite().all())


def test_rotated_iou() -> None:
    boxes = torch.tensor([[0.0, 0, 8, 4, 0.2], [0, 0, 8, 4, 0.2]])
    target = torch.tensor([[1.0, 0, 8, 4, 0.3], [99, 0, 8, 4, 0.2]])
    iou = float(geometry.paired_iou(boxes[0], target[0]))
    assert float(rotated_iou_loss(boxes, target)) == pytest.approx(-math.log(iou) - math.log(1e-6), rel=1e-5)
    assert float(rotated_iou_loss(boxes[:0], target[:0])) == 0


def test_rotated_iou_is_learnt() -> None:
    """Descent turns, moves and stretches a box onto another."""
    target = torch.tensor([[20.0, 20, 16, 6, 0.7]], dtype=torch.float64)
    box = torch.tensor([[23.0, 18, 11, 9, 0.2]], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([box], lr=0.2)
    for _ in range(70):
        optimizer.zero_grad()
        rotated_iou_loss(box, target).backward()
        optimizer.step()
    assert geometry.paired_iou(box, target).item() > 0.9


def test_smooth_l1() -> None:
    one = torch.tensor([[0.05, 1.0, 0, 0, 0]], dtype=torch.float64)
    assert float(smooth_l1_loss(one, torch.zeros_like(one))) == pytest.approx(0.05**2 * 9 / 2 + 1 - 1 / 18)
