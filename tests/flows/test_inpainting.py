"""Inpainting against the conditional law on a grid: the exact methods hold, the published one is biased."""

import math

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows.density import log_prob
from tenfold.flows.inpainting import inpaint
from tenfold.tarflow.config import TarFlowConfig
from tests.flows.helpers import linear_flow, random_flow

CHAINS = 3000
KS_LIMIT = 1.63 / math.sqrt(CHAINS)  # 1 % level


def grid_distribution(flow, known: float):
    """Values and cumulative distribution of x_1 given x_0 = known."""
    axis = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    points = torch.stack([torch.full_like(axis, known), axis], dim=1).unsqueeze(-1)
    with torch.no_grad():
        density = (log_prob(flow, points) - log_prob(flow, points).max()).exp()
    return axis, density.cumsum(0) / density.sum()


def ks(samples: torch.Tensor, axis: torch.Tensor, cumulative: torch.Tensor) -> float:
    ordered = samples.sort().values
    positions = torch.searchsorted(axis, ordered).clamp(max=len(axis) - 1)
    empirical = (torch.arange(len(ordered), dtype=torch.float64) + 0.5) / len(ordered)
    return float((cumulative[positions] - empirical).abs().max())


def curved_flow():
    config = TarFlowConfig(shape=(2, 1), blocks=2, width=16, head_size=8, layers=1)
    return random_flow(config, seed=4, spread=0.8)


MASK = torch.tensor([[False], [True]])


def run(flow, method, **options):
    x = torch.full((CHAINS, 2, 1), 0.8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    return inpaint(flow, x, MASK, method=method, generator=generator, **options)


@pytest.mark.parametrize("method", ["mh", "mala"])
def test_metropolis_methods_are_exact(method):
    flow = curved_flow()
    result = run(flow, method, steps=50, warmup=25, step=0.8)
    assert result.exact
    assert torch.equal(result.x[:, 0], torch.full((CHAINS, 1), 0.8, dtype=torch.float64))
    assert 0.15 < float(result.acceptance.mean()) < 0.9
    assert ks(result.x[:, 1, 0], *grid_distribution(flow, 0.8)) < KS_LIMIT


def test_published_chain_is_biased_for_two_blocks():
    flow = curved_flow()
    result = run(flow, "published", steps=40, step=1.0)
    assert not result.exact
    assert ks(result.x[:, 1, 0], *grid_distribution(flow, 0.8)) > 2 * KS_LIMIT


@pytest.mark.parametrize("method", ["published", "mh"])
def test_both_are_exact_for_one_block_and_one_token(method):
    flow = linear_flow(0.7, -0.4)
    result = run(flow, method, steps=40, warmup=20, step=1.0)
    assert ks(result.x[:, 1, 0], *grid_distribution(flow, 0.8)) < KS_LIMIT


def test_prefix_is_exact_for_one_block():
    flow = linear_flow(0.7, -0.4)
    result = run(flow, "prefix")
    assert result.exact
    assert ks(result.x[:, 1, 0], *grid_distribution(flow, 0.8)) < KS_LIMIT
    with pytest.raises(UsageError, match="one-block flows only, and this one has 2"):
        run(curved_flow(), "prefix")
    with pytest.raises(UsageError, match="suffix"):
        inpaint(flow, torch.zeros(1, 2, 1, dtype=torch.float64), ~MASK, method="prefix")


def test_bad_masks():
    flow = linear_flow(0.7, -0.4)
    x = torch.zeros(1, 2, 1, dtype=torch.float64)
    with pytest.raises(UsageError, match=r"mask has shape \(2,\)"):
        inpaint(flow, x, torch.tensor([True, False]))
    with pytest.raises(UsageError, match="empty"):
        inpaint(flow, x, torch.zeros(2, 1, dtype=torch.bool))
