"""The sceptic's baselines: closed forms, normalisation and the published values on the digits."""

import importlib
import math
import sys

import pytest
import torch
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ArrayImages, ImageSplits
from tenfold.data.load import load_images
from tenfold.errors import UsageError
from tenfold.tarflow import baselines


def splits_of(train: Tensor, test: Tensor, levels: int) -> ImageSplits:
    parts = [ArrayImages(x.to(torch.uint8), torch.full((len(x),), -1)) for x in (train, test, test)]
    return ImageSplits(*parts, 0, (), tuple(train.shape[1:]), levels, "")


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load_images(ImageDataConfig(levels=17))


def test_histogram_by_hand() -> None:
    train = torch.tensor([0, 0, 0, 1]).view(4, 1, 1, 1)
    test = torch.tensor([0, 2]).view(2, 1, 1, 1)
    row = baselines.histogram(splits_of(train, test, levels=3))
    # (3 + 1) / (4 + 3) and (0 + 1) / (4 + 3).
    assert row.value == pytest.approx(-(math.log2(4 / 7) + math.log2(1 / 7)) / 2)
    assert (row.name, row.model, row.split, row.unit) == ("bits_per_dim", "histogram", "test", "bits/dim")


def test_gaussian_of_gaussian_pixels_is_its_entropy() -> None:
    """Integer parts of correlated Gaussian numbers: dequantised, nearly that Gaussian again."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[10.0, 0.0], [16.0, 12.0]])
    x = (128 + torch.randn(8000, 2, generator=generator) @ mixing.T).clamp(0, 255).floor().view(-1, 1, 1, 2)
    row = baselines.gaussian(splits_of(x[:6000], x[6000:], levels=256), draws=4)
    entropy = 0.5 * (math.log2(120.0**2) + 2 * math.log2(2 * math.pi * math.e)) / 2
    assert row.value == pytest.approx(entropy, abs=0.03)
    assert row.draws == 4
    assert 0 < row.standard_error < 0.01


def test_published_values_on_the_digits(digits) -> None:
    assert baselines.histogram(digits).value == pytest.approx(2.42, abs=0.005)
    assert baselines.gaussian(digits, draws=4).value == pytest.approx(2.93, abs=0.01)
    assert baselines.gaussian_mixture(digits, draws=4).value == pytest.approx(2.66, abs=0.02)


def test_spline_flow_is_a_density_and_learns() -> None:
    importlib.import_module("zuko")
    generator = torch.Generator().manual_seed(0)
    # Two pixels of four levels, the second a copy of the first: 1 bit per dimension at best.
    x = torch.randint(0, 4, (400, 1, 1, 1), generator=generator).expand(-1, 1, 1, 2)
    splits = splits_of(x[:300], x[300:], levels=4)
    log_prob, note = baselines.train_spline_flow(splits, 1.0, hidden=(32, 32), steps=250)
    axis = (torch.arange(200) + 0.5) / 100 - 1
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = float(log_prob(grid).exp().mean() * 4)
    assert 0.97 < mass < 1.01
    bits = torch.tensor(list(baselines._bits(splits.test, 4, log_prob, 8, 0)))
    assert 1.0 - 0.02 < float(bits.mean()) < 1.9  # independent pixels would take 2
    assert "250 steps" in note


def test_rows_of_all_baselines(digits, monkeypatch) -> None:
    importlib.import_module("zuko")
    rows = baselines.baseline_rows(digits, seconds=0.01, draws=2)
    assert [row.model for row in rows] == [
        "histogram",
        "gaussian",
        "gaussian-mixture-10",
        "neural-spline-flow",
    ]
    assert all(math.isfinite(row.value) for row in rows)
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(UsageError, match=r"pip install 'tenfold\[baselines\]'"):
        baselines.spline_flow(digits, 1.0)
    monkeypatch.setattr(baselines, "gaussian_mixture", lambda *_: rows[2])
    with pytest.warns(UserWarning, match="spline flow is left out"):
        assert len(baselines.baseline_rows(digits, seconds=1.0, draws=2)) == 3


def test_large_images_get_the_histogram_alone_and_time_must_be_positive(digits) -> None:
    x = torch.zeros(3, 3, 20, 20, dtype=torch.uint8)
    assert [row.model for row in baselines.baseline_rows(splits_of(x, x, 256), seconds=9.0)] == ["histogram"]
    with pytest.raises(UsageError, match=r"training time is 0\.0 s"):
        baselines.spline_flow(digits, 0.0)
