"""Suppression equals that of one box after the other, hard and soft; the oracle's indices."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.errors import UsageError


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "rotated_nms.npz")
    return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize("percent", [10, 40, 50])
@pytest.mark.parametrize("kind", ["class", "agnostic"])
def test_oracle(known: dict[str, Tensor], percent: int, kind: str) -> None:
    labels = known["labels"] if kind == "class" else None
    kept = geometry.rotated_nms(known["boxes"], known["scores"], percent / 100, labels)
    assert torch.equal(kept, known[f"keep_{percent}_{kind}"])


def crowd(count: int, seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 5, generator=draw, dtype=torch.float64)
    boxes = places * torch.tensor([60, 60, 12, 12, 3]) + torch.tensor([0, 0, 3, 3, 0])
    scores = torch.rand(count, generator=draw, dtype=torch.float64)
    return boxes, (scores * 20).round() / 20  # with ties


def one_by_one(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    iou = geometry.box_iou(boxes, boxes)
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not kept or float(iou[kept, i].max()) <= threshold:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6, 1.0])
def test_greedy(threshold: float) -> None:
    boxes, scores = crowd(150, 2)
    kept = geometry.rotated_nms(boxes, scores, threshold)
    assert kept.tolist() == one_by_one(boxes, scores, threshold)
    assert torch.equal(geometry.rotated_nms(boxes[kept], scores[kept], threshold), torch.arange(len(kept)))


def test_a_chain_of_neighbours() -> None:
    boxes = torch.zeros(50, 5)
    boxes[:, 0], boxes[:, 2:4] = torch.arange(50.0), 2
    assert geometry.rotated_nms(boxes, -torch.arange(50.0), 0.2).tolist() == list(range(0, 50, 2))


def test_thresholds_by_class_and_containment() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4, 0], [1, 0, 4, 4, 0]]).repeat(2, 1)
    labels = torch.tensor([0, 0, 1, 1])
    kept = geometry.rotated_nms(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0.5, 0.7]), labels)
    assert kept.tolist() == [0, 2, 3]  # their IoU is 0.6
    inside = torch.tensor([[0.0, 0, 10, 10, 0], [1, 0, 2, 2, 0.3]])
    assert len(geometry.rotated_nms(inside, torch.tensor([0.9, 0.8]), 0.5)) == 2
    assert len(geometry.rotated_nms(inside, torch.tensor([0.9, 0.8]), 0.5, over="smaller")) == 1


def soft_one_by_one(boxes: Tensor, scores: Tensor, method: str) -> dict[int, float]:
    iou, scores = geometry.box_iou(boxes, boxes), scores.clone()
    left, final = list(range(len(boxes))), {}
    while left:
        best = max(left, key=lambda i: (float(scores[i]), -i))
        left.remove(best)
        final[best] = float(scores[best])
        for i in left:
            value = float(iou[best, i])
            scores[i] *= np.exp(-(value**2) / 0.5) if method == "gaussian" else 1 - value * (value > 0.3)
    return final


@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_soft(method: str) -> None:
    boxes, scores = crowd(80, 4)
    boxes[7] = boxes[3]
    want = soft_one_by_one(boxes, scores, method)
    found = geometry.soft_nms(boxes, scores, method=method, min_score=0.01)
    assert {i for i, s in want.items() if s >= 0.01} == set(found.kept.tolist())
    assert found.scores.tolist() == pytest.approx([want[i] for i in found.kept.tolist()])
    assert bool((found.scores[1:] <= found.scores[:-1]).all())
    apart = geometry.soft_nms(boxes, scores, torch.arange(80), method, min_score=0.0)
    assert torch.allclose(apart.scores, scores.sort(descending=True).values)


def test_nothing_to_suppress() -> None:
    assert geometry.rotated_nms(torch.zeros(0, 5), torch.zeros(0)).shape == (0,)
    assert geometry.soft_nms(torch.zeros(0, 5), torch.zeros(0)).scores.shape == (0,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold is 1.5; give an IoU between 0 and 1"),
        ({"threshold": torch.tensor([0.5])}, "need labels"),
        ({"threshold": torch.tensor([0.5]), "labels": torch.tensor([0, 1])}, "1 thresholds and a label of 1"),
        ({"labels": torch.tensor([0, -1])}, "lowest label is -1"),
    ],
)
def test_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        geometry.rotated_nms(torch.ones(2, 5), torch.ones(2), **options)


def test_scores_that_are_none() -> None:
    with pytest.raises(UsageError, match="row 1 of scores holds NaN"):
        geometry.rotated_nms(torch.ones(2, 5), torch.tensor([1.0, torch.nan]))
    with pytest.raises(UsageError, match="lowest score is -1"):
        geometry.soft_nms(torch.ones(2, 5), torch.tensor([1.0, -1.0]))
    with pytest.raises(UsageError, match="method is 'gausian'; did you mean 'gaussian'"):
        geometry.soft_nms(torch.ones(2, 5), torch.ones(2), method="gausian")
