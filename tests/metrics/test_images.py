"""Distances between feature sets against closed forms, SciPy and torchmetrics."""

import importlib
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.metrics.images import (
    fid,
    kid,
    mean_squared_error,
    mmd,
    precision_recall,
    psnr,
    real_floor,
    reconstruction_rows,
    sample_metrics,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def standardised(x: Tensor) -> Tensor:
    """Sample mean 0 and sample covariance 1, exactly."""
    x = x - x.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(x.T))
    return x @ (vectors * values.rsqrt()) @ vectors.T


def test_fid_of_commuting_gaussians_is_the_closed_form() -> None:
    x, y = standardised(normal(300, 4)), standardised(normal(200, 4, seed=1))
    a, b = torch.tensor([1.0, 2.0, 0.5, 3.0]).double(), torch.tensor([2.0, 1.0, 0.1, 3.0]).double()
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5]).double()
    expected = float(shift.square().sum() + (a - b).square().sum())
    assert fid(x * a, y * b + shift) == pytest.approx(expected, abs=1e-9)


def test_fid_agrees_with_the_matrix_square_root_of_scipy() -> None:
    x, y = normal(120, 10) @ normal(10, 10, seed=2), normal(90, 10, seed=1) @ normal(10, 10, seed=3) + 0.3
    s1, s2 = np.cov(x.numpy().T), np.cov(y.numpy().T)
    root = scipy.linalg.sqrtm(s1 @ s2).real
    difference = x.mean(0).numpy() - y.mean(0).numpy()
    expected = difference @ difference + np.trace(s1 + s2 - 2 * root)
    assert fid(x, y) == pytest.approx(expected, rel=1e-9)
    assert fid(x, y) == pytest.approx(fid(y, x), rel=1e-9)


class Identity(nn.Module):
    """Features that torchmetrics is to take as they are."""

    num_features = 8

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_fid_agrees_with_torchmetrics() -> None:
    image = importlib.import_module("torchmetrics.image.fid")
    x, y = normal(100, 8).float(), (normal(80, 8, seed=1) * 1.5 + 0.2).float()
    metric = image.FrechetInceptionDistance(feature=Identity(), normalize=True, input_img_size=(8,))
    metric.used_custom_model = True
    metric.set_dtype(torch.float64)
    metric.update(x, real=True)
    metric.update(y, real=False)
    assert fid(x, y) == pytest.approx(float(metric.compute()), rel=1e-5)


def test_mmd_agrees_with_torchmetrics_and_a_double_sum() -> None:
    kernel = importlib.import_module("torchmetrics.image.kid")
    x, y = normal(7, 5), normal(7, 5, seed=1) + 0.5

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 5 + 1) ** 3)

    within = sum(k(z[i], z[j]) for z in (x, y) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    across = sum(k(a, b) for a in x for b in y) / 49
    assert mmd(x, y) == pytest.approx(within - 2 * across, rel=1e-12)
    assert mmd(x, y) == pytest.approx(float(kernel.poly_mmd(x, y)), rel=1e-9)


def test_mmd_is_unbiased() -> None:
    """Its mean over independent pairs of samples is the population value, also for tiny samples."""
    # Scalar x ~ N(0, 1), y ~ N(m, 1), kernel (xy + 1)³: E k = Σ_p C(3, p) E[x^p] E[y^p].
    m = 1.0
    moments_x, moments_y = (1, 0, 1, 0), (1, m, 1 + m**2, m**3 + 3 * m)
    binomials = (1, 3, 3, 1)

    def expected(u: tuple, v: tuple) -> float:
        return sum(c * a * b for c, a, b in zip(binomials, u, v, strict=True))

    population = expected(moments_x, moments_x) + expected(moments_y, moments_y) - 2 * expected(moments_x, moments_y)
    values = torch.tensor([mmd(normal(4, 1, seed=2 * i), normal(4, 1, seed=2 * i + 1) + m) for i in range(2500)])
    error = float(values.std() / math.sqrt(len(values)))
    assert abs(float(values.mean()) - population) < 4 * error
    assert error < 0.2 * population  # the test would notice the bias of the V-statistic


def test_kid_is_near_zero_for_equal_and_far_for_shifted_distributions() -> None:
    x, y = normal(400, 6), normal(400, 6, seed=1)
    same, spread = kid(x, y, subsets=50)
    assert abs(same) < 3 * spread
    assert kid(x, y + 1, subsets=50)[0] > 20 * abs(same)
    assert kid(x, y, subsets=5, seed=3) == kid(x, y, subsets=5, seed=3)


def brute_force(points: Tensor, manifold: Tensor, k: int) -> float:
    inside = 0
    for p in points:
        for i, q in enumerate(manifold):
            others = sorted(float((q - r).norm()) for j, r in enumerate(manifold) if j != i)
            if float((p - q).norm()) <= others[k - 1]:
                inside += 1
                break
    return inside / len(points)


@pytest.mark.parametrize("chunk", [7, 1000])
def test_precision_and_recall_agree_with_their_definition(chunk: int) -> None:
    real, fake = normal(40, 3), normal(30, 3, seed=1) * 0.5 + 0.8
    found = precision_recall(real, fake, neighbours=2, chunk=chunk)
    assert found == (brute_force(fake, real, 2), brute_force(real, fake, 2))
    assert 0 < found[1] < found[0] < 1


def test_precision_and_recall_tell_collapse_from_noise() -> None:
    real = normal(200, 2)
    assert precision_recall(real, real) == (1.0, 1.0)
    precision, recall = precision_recall(real, real[:1] + 1e-3 * normal(200, 2, seed=1))
    assert precision > 0.9 > 0.1 > recall
    assert precision_recall(real, normal(200, 2, seed=1) + 100) == (0.0, 0.0)


def test_reconstruction_errors() -> None:
    a = torch.zeros(3, 1, 2, 2)
    b = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.2), torch.full((1, 2, 2), 2.0)])
    assert mean_squared_error(a, b).tolist() == pytest.approx([0, 0.04, 4])
    assert psnr(a, b, 2.0).tolist() == pytest.approx([math.inf, 20.0, 0.0])
    rows = {row.name: row for row in reconstruction_rows(a[1:], b[1:], 2.0, "m", "test")}
    assert rows["reconstruction_psnr"].value == pytest.approx(10.0)
    assert rows["reconstruction_mse"].standard_error == pytest.approx(1.98)
    assert "N = 2" in rows["reconstruction_mse"].note
    integers = torch.tensor([[[[0]]]], dtype=torch.uint8), torch.tensor([[[[16]]]], dtype=torch.uint8)
    assert mean_squared_error(*integers).tolist() == [256]
    with pytest.raises(UsageError, match="do not match"):
        mean_squared_error(a, b[:2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fid(normal(8, 8), normal(50, 8)), "more than that many real images, not 8"),
        (lambda: fid(normal(50, 8), normal(5, 8)), "more than that many generated images, not 5"),
        (lambda: fid(normal(50, 8), normal(50, 7)), "of one extractor"),
        (lambda: fid(normal(50, 8) * math.nan, normal(50, 8)), "not all finite"),
        (lambda: kid(normal(3, 2), normal(50, 2)), "at least 4 images"),
        (lambda: precision_recall(normal(3, 2), normal(50, 2)), "need more images than that"),
        (lambda: psnr(normal(1, 2), normal(1, 2), 0), "peak is 0"),
    ],
)
def test_impossible_requests_are_one_sentence(call, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def flat(images: Tensor) -> Tensor:
    return images.flatten(1).float()


def test_sample_metrics_say_how_many_images_stand_behind_them() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randint(0, 17, (60, 1, 2, 2), generator=generator).to(torch.uint8)
    fake = torch.randint(0, 9, (50, 1, 2, 2), generator=generator).to(torch.uint8)
    rows = {row.name: row for row in sample_metrics(flat, real, fake, "model", "test")}
    assert set(rows) == {"fid", "kid", "precision", "recall"}
    assert rows["fid"].value == fid(flat(real), flat(fake))
    assert all("N = 60 real, 50 compared; 4 features (own extractor)" in row.note for row in rows.values())
    floor = {row.name: row for row in real_floor(flat, real)}
    assert floor["fid"].value < rows["fid"].value
    assert "N = 30 real, 30 compared" in floor["fid"].note
    drawn = real_floor(flat, real, fake, count=20)
    assert "20 compared" in drawn[0].note
    with pytest.raises(UsageError, match="a floor with 51 images"):
        real_floor(flat, real, fake, count=51)
    with pytest.raises(UsageError, match="more than that many generated images, not 4"):
        sample_metrics(flat, real, fake[:4], "model", "test")
