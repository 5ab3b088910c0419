"""Rotated IoU: the oracle's values, identities, 100,000 pairs, gradients, and that no pair is missed."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.geometry.intersection import intersection_areas
from tenfold.detection.geometry.neighbours import near_pairs
from tenfold.errors import UsageError
from tests.detection import polygons


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "rotated_iou.npz")
    return {name: torch.from_numpy(file[name]) for name in file.files if name != "pair_tag"}


def in_bounds(values: Tensor) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())  # false for NaN


@pytest.mark.parametrize(("dtype", "tolerance", "far"), [(torch.float64, 1e-9, 1e-8), (torch.float32, 2e-5, 1e-3)])
def test_oracle(known: dict[str, Tensor], dtype: torch.dtype, tolerance: float, far: float) -> None:
    box = {name: value.to(dtype) for name, value in known.items()}
    for got, want, allowed in [
        (geometry.box_iou(box["tiny1"], box["tiny2"]), known["tiny_iou"], tolerance),
        (geometry.box_iou(box["tiny1"], box["tiny2"], "first"), known["tiny_iof"], tolerance),
        (geometry.box_iou(box["big1"], box["big2"]), known["big_iou"], tolerance),
        (geometry.box_iou(box["far1"], box["far1"]), known["far_iou"], far),
        (geometry.paired_iou(box["pair_a"], box["pair_b"]), known["pair_iou"], tolerance),
        (geometry.paired_iou(box["pair_b"], box["pair_a"]), known["pair_iou"], tolerance),
    ]:
        assert got.dtype == dtype
        assert in_bounds(got)
        assert (got.double() - want).abs().max() <= allowed


def test_areas_of_the_oracle(known: dict[str, Tensor]) -> None:
    got = intersection_areas(known["tiny1"][:, None].expand(-1, 90, -1), known["tiny2"][None].expand(120, -1, -1))
    assert (got - known["tiny_inter"]).abs().max() < 1e-9


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    return polygons.random_pairs(100_000, seed=7)


def test_a_hundred_thousand_pairs_by_clipping(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    want = np.concatenate([polygons.iou(*(part[k : k + 10_000] for part in pairs)) for k in range(0, 100_000, 10_000)])
    assert 0.4 < (want > 0.01).mean() < 0.9
    agree(pairs, want)


def test_a_hundred_thousand_pairs_by_shapely(pairs: tuple[np.ndarray, np.ndarray]) -> None:
    shapely = pytest.importorskip("shapely")
    one, other = (shapely.polygons(polygons.ring(part)) for part in pairs)
    shared = shapely.area(shapely.intersection(one, other))
    agree(pairs, shared / (shapely.area(one) + shapely.area(other) - shared))


def agree(pairs: tuple[np.ndarray, np.ndarray], want: np.ndarray) -> None:
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        got = geometry.paired_iou(*(torch.from_numpy(part).to(dtype) for part in pairs))
        assert in_bounds(got)
        assert np.abs(got.double().numpy() - want).max() < tolerance


def test_closed_forms() -> None:
    def value(first: list[float], second: list[float]) -> float:
        return float(geometry.paired_iou(*(torch.tensor(b, dtype=torch.float64) for b in (first, second))))

    assert value([3, 4, 6, 2, 0.4], [3, 4, 3, 1, 0.4]) == pytest.approx(0.25)
    octagon = 2 * math.sqrt(2) - 2
    assert value([0, 0, 1, 1, 0.2], [0, 0, 1, 1, 0.2 + math.pi / 4]) == pytest.approx(octagon / (2 - octagon))
    assert value([0, 0, 9, 4, 0.2], [0, 0, 4, 9, 0.2]) == pytest.approx(16 / (2 * 36 - 16))
    assert value([0, 0, 9, 4, 0], [3, 1, 9, 4, 0]) == pytest.approx(18 / 54)
    assert value([0, 0, 0, 0, 0], [0, 0, 0, 0, 0]) == 0
    assert value([0, 0, 5, 0, 1], [0, 0, 5, 5, 0]) == 0


@pytest.fixture(scope="module")
def few() -> tuple[Tensor, Tensor]:
    first, second = (torch.from_numpy(part) for part in polygons.random_pairs(600, seed=3))
    return first, second


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "half turn": lambda b: b + b.new_tensor([0, 0, 0, 0, math.pi]),
    "sides swapped": lambda b: torch.stack([b[:, 0], b[:, 1], b[:, 3], b[:, 2], b[:, 4] + math.pi / 2], 1),
    "le90": lambda b: geometry.to_convention(b, "le90"),
    "oc": lambda b: geometry.to_convention(b, "oc"),
}


@pytest.mark.parametrize("name", MOVES)
def test_names_of_one_rectangle_are_one(few: tuple[Tensor, Tensor], name: str) -> None:
    first, second = few
    assert torch.allclose(
        geometry.paired_iou(MOVES[name](first), second), geometry.paired_iou(first, second), atol=1e-9, rtol=0
    )


def test_symmetry_and_common_motions(few: tuple[Tensor, Tensor]) -> None:
    first, second = few
    want = geometry.paired_iou(first, second)
    assert torch.allclose(geometry.paired_iou(second, first), want, atol=1e-12, rtol=0)
    far = torch.tensor([1e5, -1e5, 0, 0, 0], dtype=torch.float64)
    assert torch.allclose(geometry.paired_iou(first + far, second + far), want, atol=1e-8, rtol=0)
    for factor in (1e-7, 1e9):
        scale = torch.tensor([factor] * 4 + [1], dtype=torch.float64)
        assert torch.allclose(geometry.paired_iou(first * scale, second * scale), want, atol=1e-9, rtol=0)
    turn = torch.tensor([[math.cos(0.7), math.sin(0.7)], [-math.sin(0.7), math.cos(0.7)]], dtype=torch.float64)
    moved = [torch.cat([b[:, :2] @ turn, b[:, 2:4], b[:, 4:] + 0.7], 1) for b in few]
    assert torch.allclose(geometry.paired_iou(*moved), want, atol=1e-9, rtol=0)
    assert torch.allclose(geometry.paired_iou(first, first), torch.ones_like(want), atol=1e-9, rtol=0)


@pytest.mark.parametrize("factor", [1e-30, 1e-7, 1.0, 1e15])
def test_any_scale_in_float32(factor: float) -> None:
    first = torch.tensor([[1.0, 2, 6, 3, 0.3], [0, 0, 4, 0, 1], [0, 0, 1e-6, 8, 0.1]]) * torch.tensor(
        [factor] * 4 + [1]
    )
    first.requires_grad_()
    got = geometry.paired_iou(first, first.detach())
    assert in_bounds(got.detach())
    assert torch.allclose(got.detach(), torch.tensor([1.0, 0, 1]), atol=2e-5)
    got.sum().backward()
    assert first.grad is not None
    assert bool((first.grad * factor).isfinite().all())


def test_gradients() -> None:
    first, second = (part[20:60].requires_grad_() for part in map(torch.from_numpy, polygons.random_pairs(100, seed=5)))
    generic = [k for k in range(40) if (20 + k) % 60 > 8]
    assert torch.autograd.gradcheck(geometry.paired_iou, (first[generic], second[generic]), atol=1e-6)
    dense = torch.autograd.grad(geometry.box_iou(first, second).sum(), first)[0]
    assert bool(dense.isfinite().all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_are_numbers_at_every_degeneracy(known: dict[str, Tensor], dtype: torch.dtype) -> None:
    one, other = (known[name].to(dtype, copy=True).requires_grad_() for name in ("pair_a", "pair_b"))
    geometry.paired_iou(one, other).sum().backward()
    assert bool(one.grad.isfinite().all())  # type: ignore[union-attr]
    assert bool(other.grad.isfinite().all())  # type: ignore[union-attr]


def scene(count: int, seed: int) -> Tensor:
    """Boxes of 3 to 30 pixels on 400, and one that covers all."""
    draw = np.random.default_rng(seed)
    sides = np.exp(draw.uniform(np.log(3), np.log(30), (count, 2)))
    boxes = np.concatenate([draw.uniform(0, 400, (count, 2)), sides, draw.uniform(-9, 9, (count, 1))], 1)
    boxes[0] = [200, 200, 500, 450, 0.1]
    return torch.from_numpy(boxes)


def test_no_pair_is_missed() -> None:
    first, second = scene(700, 1), scene(600, 2)
    whole = geometry.paired_iou(first[:, None].expand(-1, 600, -1), second[None].expand(700, -1, -1))
    pairs, values = geometry.sparse_iou(first, second)
    assert pairs.shape[1] < 0.05 * 700 * 600
    assert torch.allclose(torch.zeros_like(whole).index_put(tuple(pairs), values), whole, atol=1e-13, rtol=0)
    assert torch.allclose(geometry.box_iou(first, second), whole, atol=1e-13, rtol=0)
    keys = pairs[0] * 600 + pairs[1]
    assert bool((keys[1:] > keys[:-1]).all())


def test_pairs_within_groups() -> None:
    first, second = scene(700, 1), scene(600, 2)
    one, other = torch.arange(700) % 3, torch.arange(600) % 4
    grouped = near_pairs(first, second, one, other)
    every = near_pairs(first, second)
    assert torch.equal(grouped, every[:, one[every[0]] == other[every[1]]])
    assert grouped.shape[1] > 100


def test_pairs_by_strips_are_those_of_looking_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.detection.geometry import neighbours

    first, second = scene(120, 3), scene(90, 4)
    first[1] = torch.tensor([1e6, 1e6, 5, 5, 0])
    all_looked_at = near_pairs(first, second)
    monkeypatch.setattr(neighbours, "_ALL_PAIRS", 0)
    assert torch.equal(near_pairs(first, second), all_looked_at)
    empty = first[:0]
    assert near_pairs(empty, second).shape == near_pairs(second, empty).shape == (2, 0)
    same = torch.zeros(5, 5, dtype=torch.float64)
    assert near_pairs(same, same).shape == (2, 25)


def test_half_precision_is_computed_in_float32() -> None:
    boxes = scene(20, 5).bfloat16()
    assert geometry.box_iou(boxes, boxes).dtype == torch.float32
    assert torch.allclose(geometry.box_iou(boxes, boxes).diag(), torch.ones(20), atol=1e-5)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, 0, math.nan, 1, 0], r"first\[1\] is \(0, 0, nan, 1, 0\)"),
        ([0.0, 0, 2, -1, 0], r"first\[1\] is .*sides of at least 0"),
        ([0.0, math.inf, 2, 1, 0], r"first\[1\] is"),
    ],
)
def test_what_is_no_box(row: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        geometry.box_iou(torch.tensor([[0.0, 0, 1, 1, 0], row]), torch.ones(1, 5))
    with pytest.raises(UsageError, match="over is 'unoin'; did you mean 'union'"):
        geometry.box_iou(torch.ones(1, 5), torch.ones(1, 5), "unoin")
