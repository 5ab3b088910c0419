"""Distances between boxes as Gaussians: the reference's numbers, closed forms, gradients, and far from the origin."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.detection import geometry
from tenfold.errors import UsageError
from tests.detection import polygons


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "gaussian_metrics.npz")
    return {name: torch.from_numpy(file[name]) for name in file.files}


def relative(got: Tensor, want: Tensor) -> float:
    return float(((got - want).abs() / (want.abs() + 1e-6)).max())


def test_gaussians(known: dict[str, Tensor]) -> None:
    mean, covariance = geometry.gaussian_of(known["boxes_a"])
    assert torch.equal(mean, known["mu_a"])
    assert torch.allclose(covariance, known["sigma_a"], rtol=1e-9)


def test_divergence(known: dict[str, Tensor]) -> None:
    found = geometry.gjsd(known["boxes_a"], known["boxes_b"])
    assert relative(found, known["gjsd"]) < 1e-7
    assert relative(1 / (1 + found), known["gjsd_similarity"]) < 1e-7


def test_float32_far_from_the_origin(known: dict[str, Tensor]) -> None:
    """There the published expansion is wrong by 0.4."""
    far = torch.tensor([900.0, 900, 0, 0, 0])
    found = geometry.gjsd((known["boxes_a"] + far).float(), (known["boxes_b"] + far).float())
    assert relative(found.double(), known["gjsd"]) < 1e-4


def test_the_quick_divergence_is_the_careful_one() -> None:
    first, second = (torch.from_numpy(part)[:300] for part in polygons.random_pairs(300, seed=2))
    careful = geometry.bhattacharyya(first[:, None], second[None])
    assert relative(geometry.gjsd(first, second), careful) < 1e-7
    usual = [b[(b[:, 2] / b[:, 3] < 8) & (b[:, 3] / b[:, 2] < 8)] for b in (first, second)]
    careful = geometry.bhattacharyya(usual[0][:, None], usual[1][None])
    assert float(((geometry.gjsd(*(b.float() for b in usual)) - careful).abs() / (1 + careful)).max()) < 2e-5
    slivers = torch.tensor([[0.0, 0, 1e4, 1e-3, 0.7], [1, 1, 1e4, 1e-3, 0.7]])
    assert bool((geometry.gjsd(slivers, slivers) >= 0).all())
    assert geometry.gjsd(slivers[:0], slivers).shape == (0, 2)
    one, other = (part[10:14].clone().requires_grad_() for part in (first, second))
    assert torch.autograd.gradcheck(geometry.gjsd, (one, other), atol=1e-6)


KINDS = {"kld": "kl", "jd": "jeffreys", "kldmax": "kl_max", "kldmin": "kl_min"}


@pytest.mark.parametrize("name", [*KINDS, "gwd"])
@pytest.mark.parametrize(("shaping", "tau"), [("none", 0.0), ("log1p", 1.0), ("sqrt", 1.0)])
def test_losses(known: dict[str, Tensor], name: str, shaping: str, tau: float) -> None:
    pair = known["pred"], known["target"]
    if name == "gwd":
        found = geometry.wasserstein_loss(*pair, shaping, tau)
    else:
        found = geometry.kl_loss(*pair, KINDS[name], shaping, tau)
    assert relative(found, known[f"{name}_{shaping}_tau{tau:.0f}"]) < 1e-7


def test_losses_otherwise(known: dict[str, Tensor]) -> None:
    pair = known["pred"], known["target"]
    for found, name in [
        (geometry.wasserstein_loss(*pair, "none", 0.0, normalised=False), "gwd_none_nonorm"),
        (geometry.kl_loss(*pair, shaping="none", tau=0.0, root=False), "kld_none_nosqrt"),
        (geometry.kl_loss(*pair, shaping="none", tau=0.0, alpha=2.0), "kld_none_alpha2"),
        (geometry.kalman_loss(*pair, "ln"), "kfiou_ln"),
        (geometry.kalman_loss(*pair), "kfiou_none"),
        (geometry.kalman_loss(*pair, "exp"), "kfiou_exp"),
    ]:
        assert relative(found, known[name]) < 1e-7, name


@pytest.mark.parametrize("name", ["kld", "gwd"])
def test_gradients_of_the_reference(known: dict[str, Tensor], name: str) -> None:
    predicted = known["pred"].clone().requires_grad_()
    loss = geometry.kl_loss if name == "kld" else geometry.wasserstein_loss
    loss(predicted, known["target"]).sum().backward()
    assert predicted.grad is not None
    assert relative(predicted.grad[2:], known[f"{name}_log1p_tau1_grad"][2:]) < 1e-6


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    name: getattr(geometry, name)
    for name in ("bhattacharyya", "kl_divergence", "jeffreys", "squared_wasserstein", "kalman_iou", "probiou")
}


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients(name: str) -> None:
    first, second = (torch.from_numpy(part)[10:40] for part in polygons.random_pairs(60, seed=1))
    assert torch.autograd.gradcheck(DISTANCES[name], (first.requires_grad_(), second.requires_grad_()), atol=1e-6)


def test_closed_forms() -> None:
    box = torch.tensor([[3.0, 4, 6, 6, 0.3]], dtype=torch.float64)  # of standard deviation 3
    moved = box + torch.tensor([3.0, 4, 0, 0, 1.1], dtype=torch.float64)
    assert float(geometry.bhattacharyya(box, moved)) == pytest.approx(25 / 9 / 8)
    assert float(geometry.kl_divergence(box, moved)) == pytest.approx(25 / 9 / 2)
    assert float(geometry.squared_wasserstein(box, moved)) == pytest.approx(25)
    assert float(geometry.kalman_iou(box, moved)) == pytest.approx(1 / 3)
    expected = 1 - math.sqrt(1 - math.exp(-25 / 3 / 8))
    assert float(geometry.probiou(box, moved)) == pytest.approx(expected)
    wide = box * torch.tensor([1.0, 1, 2, 2, 1], dtype=torch.float64)
    assert float(geometry.kl_divergence(wide, wide)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_any_distance_satisfies(dtype: torch.dtype) -> None:
    first, second = (torch.from_numpy(part).to(dtype) for part in polygons.random_pairs(600, seed=3))
    loose = 1e-9 if dtype == torch.float64 else 1e-3
    for name, distance in DISTANCES.items():
        found = distance(first, second)
        assert bool(found.isfinite().all()), name
        assert float(found.min()) > -loose, name
        same = distance(first, first)
        best = {"kalman_iou": 1 / 3, "probiou": 1.0}.get(name, 0.0)
        assert float((same - best).abs().max()) < 100 * loose, name
        if name != "kl_divergence":
            assert torch.allclose(found, distance(second, first), rtol=1e-4, atol=loose), name


def test_no_degeneracy_gives_nan() -> None:
    sides = torch.tensor([0.0, 1e-9, 1e-3, 1, 1e3, 1e9])
    w, h = torch.meshgrid(sides, sides, indexing="ij")
    boxes = torch.stack([w.flatten() * 0, h.flatten() * 0, w.flatten(), h.flatten(), torch.arange(36.0)], 1)
    for name, distance in DISTANCES.items():
        one = boxes[:, None].clone().requires_grad_()
        found = distance(one, boxes[None] + torch.tensor([0.5, 0, 0, 0, 0]))
        assert bool(found.isfinite().all()), name
        found.sum().backward()
        assert one.grad is not None
        assert not bool(one.grad.isnan().any()), name


def test_refused() -> None:
    box = torch.ones(1, 5)
    with pytest.raises(UsageError, match="kind is 'kld'; did you mean 'kl'"):
        geometry.kl_loss(box, box, "kld")
    with pytest.raises(UsageError, match="shaping is 'log'; did you mean 'log1p'"):
        geometry.kl_loss(box, box, shaping="log")
    with pytest.raises(UsageError, match="shaping is 'log'"):
        geometry.kalman_loss(box, box, "log")
    with pytest.raises(UsageError, match="tau is -1"):
        geometry.bhattacharyya_loss(box, box, tau=-1)
    assert float(geometry.bhattacharyya_loss(box, box)) == pytest.approx(0, abs=1e-6)
    assert float(geometry.probiou_loss(box, box)) < 1e-3
