"""Conventions, corners, quads, moves of the picture, and the coder."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.geometry import quads as quad_module
from tenfold.detection.geometry.checks import require_radians
from tenfold.errors import UsageError
from tests.detection import polygons

CONVENTIONS = ("le90", "le135", "oc")


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "angles_and_coder.npz")
    return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module")
def boxes() -> Tensor:
    return torch.from_numpy(polygons.random_pairs(300, seed=9)[0])


def corner_sets_differ(one: Tensor, other: Tensor) -> float:
    """The largest distance from a corner to the nearest one of the other box."""
    distance = torch.cdist(one.unflatten(-1, (4, 2)).double(), other.unflatten(-1, (4, 2)).double())
    return float(torch.maximum(distance.min(-1).values.max(), distance.min(-2).values.max()))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_reference(known: dict[str, Tensor], convention: str) -> None:
    method = "edges" if convention == "le135" else "min_area"
    want = known[f"poly2obb_np_{convention}"].double()
    found = geometry.from_quads(known["poly"].double(), convention, method)
    assert corner_sets_differ(geometry.to_quads(found), geometry.to_quads(want)) < 1e-3
    assert corner_sets_differ(geometry.to_quads(want).float(), known[f"obb2poly_{convention}"]) < 1e-3
    edges = known[f"obb2xyxy_{convention}"]
    assert (geometry.horizontal(want).float() - edges).abs().max() < 1e-3
    assert (geometry.from_horizontal(edges)[:, :2] - known[f"obb2hbb_{convention}"][:, :2]).abs().max() < 1e-3


@pytest.mark.parametrize("convention", ["le90", "le135"])
@pytest.mark.parametrize("stds", ["u", "s"])
@pytest.mark.parametrize("kind", ["dcfl", "roi"])
def test_coder_of_the_reference(known: dict[str, Tensor], convention: str, stds: str, kind: str) -> None:
    coder = geometry.BoxCoder(
        convention, angle_unit=float(kind == "dcfl"), swap_edges=kind == "roi",
        stds=(1.0,) * 5 if stds == "u" else (0.1, 0.1, 0.2, 0.2, 0.1),
    )  # fmt: skip
    target = known[f"poly2obb_np_{convention}"].float()
    deltas = coder.encode(known["anchors"], target)
    name = f"{kind}_{convention}_{stds}"
    assert (deltas - known[f"encode_{name}"]).abs().max() < 1e-3
    decoded = coder.decode(known["anchors"], known[f"encode_{name}"])
    want = known[f"decode_{name}"]
    assert (decoded[:, :4] - want[:, :4]).abs().max() < 1e-3
    turn = torch.remainder(decoded[:, 4] - want[:, 4] + 0.5, math.pi) - 0.5
    assert turn.abs().max() < 1e-4


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("unit", [0.0, 1.0])
def test_coder_round_trip(boxes: Tensor, swap: bool, unit: float) -> None:
    coder = geometry.BoxCoder("le135", unit, swap)
    priors = torch.tensor([10.0, 8, 9, 9, 0], dtype=torch.float64).expand_as(boxes[9:])
    wanted = geometry.to_convention(boxes[9:], "le135")
    inside = ((wanted[:, 2:4] / 9).log().abs() < 4).all(1)
    decoded = coder.decode(priors, coder.encode(priors, wanted))
    assert corner_sets_differ(geometry.to_quads(decoded)[inside], geometry.to_quads(wanted)[inside]) < 1e-9


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_conventions_keep_the_rectangle(boxes: Tensor, convention: str) -> None:
    turned = boxes + torch.tensor([0, 0, 0, 0, 1.0], dtype=boxes.dtype) * torch.linspace(-20, 20, len(boxes))[:, None]
    found = geometry.to_convention(turned, convention)
    assert corner_sets_differ(geometry.to_quads(found), geometry.to_quads(turned)) < 1e-9
    low, high = {"le90": (-0.5, 0.5), "le135": (-0.25, 0.75), "oc": (0, 0.5)}[convention]
    angle = found[:, 4] / math.pi
    assert bool(((angle > low) & (angle <= high) if convention == "oc" else (angle >= low) & (angle < high)).all())
    assert convention == "oc" or bool((found[:, 2] >= found[:, 3]).all())
    for other in CONVENTIONS:
        there = geometry.to_convention(found, other)
        back = geometry.to_convention(there, convention)
        assert corner_sets_differ(geometry.to_quads(there), geometry.to_quads(back)) < 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_borders_of_the_ranges(dtype: torch.dtype) -> None:
    angles = torch.tensor([k * math.pi / 4 + e for k in range(-8, 9) for e in (-1e-20, 0, 1e-20, -1e-7, 1e-7)])
    boxes = torch.cat([torch.tensor([0.0, 0, 5, 3]).expand(len(angles), 4), angles[:, None]], 1).to(dtype)
    for convention, (low, high) in {"le90": (-0.5, 0.5), "le135": (-0.25, 0.75)}.items():
        angle = geometry.to_convention(boxes, convention)[:, 4]
        assert bool(((angle >= torch.tensor(low * math.pi, dtype=dtype)) & (angle < high * math.pi)).all())
    angle = geometry.to_convention(boxes, "oc")[:, 4]
    assert bool(((angle > 0) & (angle <= math.pi / 2)).all())


def test_differences_of_angles() -> None:
    def turn(first: list[float], second: list[float]) -> float:
        rows = (torch.tensor([[0.0, 0, *box]], dtype=torch.float64) for box in (first, second))
        return float(geometry.angle_difference(*rows))

    assert turn([8, 2, 0.1], [8, 2, 0.4]) == pytest.approx(0.3)
    assert turn([8, 2, 0.1], [2, 8, 0.1]) == pytest.approx(math.pi / 2)
    assert turn([8, 2, 0.1 + math.pi], [2, 8, 0.1 - math.pi / 2]) == pytest.approx(0)
    assert turn([4, 4, 0], [4, 4, math.pi / 2 + 0.1]) == pytest.approx(0.1)
    assert turn([8, 2, 0], [4, 4.1, 1.5]) == pytest.approx(math.pi / 2 - 1.5)


def test_quads_both_ways(boxes: Tensor) -> None:
    quads = geometry.to_quads(boxes)
    for method in ("edges", "min_area"):
        for convention in CONVENTIONS:
            found = geometry.from_quads(quads, convention, method)
            assert corner_sets_differ(geometry.to_quads(found), quads) < 1e-9
    shuffled = quads.unflatten(-1, (4, 2))[:, [0, 2, 1, 3]].flatten(1)
    assert bool(geometry.crossing(shuffled)[9:].all())
    assert not bool(geometry.crossing(quads).any())
    assert corner_sets_differ(geometry.ring_order(shuffled), quads) == 0
    assert not bool(geometry.crossing(geometry.ring_order(shuffled)).any())
    assert corner_sets_differ(geometry.to_quads(geometry.from_quads(shuffled, "le90", "min_area")), quads) < 1e-9
    assert (quad_module.quad_areas(quads) - geometry.areas(boxes)).abs().max() < 1e-9
    assert float(geometry.skew(quads)[9:].max()) < 1e-9


def test_the_smallest_rectangle_is_smallest() -> None:
    draw = torch.Generator().manual_seed(1)
    quads = torch.rand(200, 8, generator=draw, dtype=torch.float64)
    found = quad_module.smallest_rectangle(quads)
    angles = torch.linspace(0, math.pi / 2, 2001, dtype=torch.float64)
    points = quads.unflatten(-1, (4, 2))
    u = points @ torch.stack([angles.cos(), angles.sin()])
    v = points @ torch.stack([-angles.sin(), angles.cos()])
    tried = ((u.amax(1) - u.amin(1)) * (v.amax(1) - v.amin(1))).amin(-1)
    assert bool((geometry.areas(found) <= tried + 1e-12).all())
    assert (geometry.areas(found) / tried).min() > 0.99
    inside = geometry.paired_iou(found, found)
    assert torch.allclose(inside, torch.ones_like(inside))
    square = torch.tensor([0.0, 0, 1, 0, 1, 1, 0, 0.2])
    assert float(geometry.skew(square)) == pytest.approx(0.4)
    assert geometry.skew(torch.zeros(8)).item() == 0


def test_moves_of_the_picture(boxes: Tensor) -> None:
    quads = geometry.to_quads(boxes)
    size = (100.0, 70.0)
    flipped = {
        "horizontal": quads * torch.tensor([-1.0, 1]).repeat(4) + torch.tensor([100.0, 0]).repeat(4),
        "vertical": quads * torch.tensor([1.0, -1]).repeat(4) + torch.tensor([0, 70.0]).repeat(4),
        "diagonal": -quads + torch.tensor([100.0, 70]).repeat(4),
    }
    for direction, want in flipped.items():
        found = geometry.flip_boxes(boxes, *size, direction)
        assert corner_sets_differ(geometry.to_quads(found), want) < 1e-9
        again = geometry.flip_boxes(found, *size, direction)
        assert corner_sets_differ(geometry.to_quads(again), quads) < 1e-9
    published = geometry.flip_boxes(boxes, *size, "horizontal", compat="reference")
    assert torch.allclose(published[:, 0], 99 - boxes[:, 0])
    turned = geometry.quarter_turn_boxes(boxes, *size)
    x, y = quads.unflatten(-1, (4, 2)).unbind(-1)
    assert corner_sets_differ(geometry.to_quads(turned), torch.stack([70 - y, x], -1).flatten(1)) < 1e-9
    whole = geometry.quarter_turn_boxes(geometry.quarter_turn_boxes(boxes, *size, 3), 70, 100, 1)
    assert corner_sets_differ(geometry.to_quads(whole), quads) < 1e-9
    doubled = geometry.resize_boxes(boxes, 2, 2)
    assert corner_sets_differ(geometry.to_quads(doubled), quads * 2) < 1e-9
    straight = boxes * torch.tensor([1.0, 1, 1, 1, 0])
    wide = geometry.resize_boxes(straight, 3, 2)
    scaled = geometry.to_quads(straight) * torch.tensor([3.0, 2]).repeat(4)
    assert corner_sets_differ(geometry.to_quads(wide), scaled) < 1e-9
    assert torch.equal(geometry.shift_boxes(boxes, 1, -2)[:, 1], boxes[:, 1] - 2)


def test_refused() -> None:
    box = torch.ones(1, 5)
    with pytest.raises(UsageError, match="convention is 'le9'; did you mean 'le90'"):
        geometry.to_convention(box, "le9")
    with pytest.raises(UsageError, match="method is 'edge'; did you mean 'edges'"):
        geometry.from_quads(torch.ones(1, 8), method="edge")
    with pytest.raises(UsageError, match="direction is 'left'"):
        geometry.flip_boxes(box, 10, 10, "left")
    with pytest.raises(UsageError, match="compat is 'old'"):
        geometry.flip_boxes(box, 10, 10, "vertical", compat="old")
    with pytest.raises(UsageError, match="factors are 0 and 1"):
        geometry.resize_boxes(box, 0, 1)
    with pytest.raises(UsageError, match=r"boxes\[0\] has the angle 45; .* give 45 degrees as 0.7854"):
        require_radians(torch.tensor([[0.0, 0, 1, 1, 45]]))
    with pytest.raises(UsageError, match="convention is 'oc'"):
        geometry.BoxCoder("oc")
    with pytest.raises(UsageError, match="give positive numbers"):
        geometry.BoxCoder(stds=(1, 1, 1, 1, 0))
