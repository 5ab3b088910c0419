"""Briefly trained flows on the real digits: what 300 steps must reach, and the statistics of their evaluation."""

import math

import numpy as np
import pytest
import torch

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.load import load_images
from tenfold.flows.density import denoise
from tenfold.flows.evaluation import bits_per_dim_rows
from tenfold.flows.loss import dequantise, negative_log_likelihood, to_unit_range
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow

pytestmark = pytest.mark.long

GAUSSIAN_BITS = 2.93  # full-covariance Gaussian on the same test images


def train(sigma: float, steps: int, blocks: int) -> TarFlow:
    """Blocks of one layer at rate 1e-3, on dequantised digits (σ = 0) or on digits with Gaussian noise."""
    torch.manual_seed(0)
    flow = TarFlow(TarFlowConfig(shape=(1, 8, 8), patch=2, width=64, blocks=blocks, layers=1))
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=1e-2, fused=True)
    pixels = images("train")
    for _ in range(steps):
        chosen = pixels[torch.randint(len(pixels), (64,))]
        noise = torch.randn(chosen.shape) if sigma else torch.rand(chosen.shape)
        x = to_unit_range(chosen, 17) + sigma * noise if sigma else dequantise(chosen, 17, noise)
        output = flow(x)
        loss = negative_log_likelihood(output.z, output.logdet)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
    return flow.eval()


def images(split: str) -> torch.Tensor:
    source = getattr(load_images(ImageDataConfig(source="digits", levels=17)), split)
    return source.batch(np.arange(len(source)))["image"]


@pytest.fixture(scope="module")
def likelihood() -> TarFlow:
    return train(0.0, 300, blocks=4)


def test_three_hundred_steps_beat_the_gaussian(likelihood: TarFlow) -> None:
    row = bits_per_dim_rows(likelihood, images("test"), None, 17, "uniform", "m", "test", 4)[0]
    assert 2.3 < row.value < GAUSSIAN_BITS


def test_one_draw_agrees_with_sixteen(likelihood: TarFlow) -> None:
    test = images("test")
    sixteen = bits_per_dim_rows(likelihood, test, None, 17, "uniform", "m", "test", 16)[0]
    one = bits_per_dim_rows(likelihood, test, None, 17, "uniform", "m", "test", 1, seed=5)[0]
    assert sixteen.standard_error is not None
    # The standard error of one draw is √16 times that of the mean of sixteen.
    assert abs(one.value - sixteen.value) < 3 * math.sqrt(16 + 1) * sixteen.standard_error


@pytest.mark.parametrize("sigma", [0.1, 0.3])
def test_denoising_brings_digits_closer(sigma: float) -> None:
    flow, clean = train(sigma, 120, blocks=2), to_unit_range(images("test"), 17)
    noisy = clean + sigma * torch.randn(clean.shape)
    before = (noisy - clean).square().mean()
    assert (denoise(flow, noisy, sigma) - clean).square().mean() < 0.9 * before
