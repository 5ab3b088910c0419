"""Levels, conventions and predictions."""

import math

import pytest
import torch

from tenfold.energy.noise import (
    DdpmLevels,
    LinearBeta,
    check_grid,
    denoised,
    flow_matching,
    in_convention,
    karras_grid,
    score_of,
    sigma_of,
    variance_exploding,
    variance_preserving,
)
from tenfold.errors import UsageError
from tests.energy.forms import close, number, pair


def test_grid_of_levels() -> None:
    grid = karras_grid(10, 0.5, 20.0)
    assert len(grid) == 11
    assert grid[0] == 20.0
    assert grid[-1] == 0.5
    steps = grid.double() ** (1 / 7)
    torch.testing.assert_close(steps.diff(), steps.diff().mean().expand(10))
    assert torch.equal(check_grid(grid), grid)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ([2.0, 1.0, 0.0], "holds 0"),
        ([2.0, -1.0], "holds -1"),
        ([2.0, math.nan], "holds nan"),
        ([math.inf, 1.0], "holds inf"),
        ([1.0, 2.0], "does not fall from 1 to 2"),
        ([2.0, 2.0, 1.0], "does not fall from 2 to 2"),
        ([2.0], r"has 1 level\(s\)"),
    ],
)
def test_grids_that_are_none(grid: list[float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_grid(torch.tensor(grid))


def test_grids_out_of_range() -> None:
    for arguments in ((0,), (4, 0.0, 1.0), (4, 2.0, 1.0), (4, 0.1, 1.0, -1.0)):
        with pytest.raises(UsageError):
            karras_grid(*arguments)


def test_linear_beta_there_and_back() -> None:
    schedule, t = LinearBeta(), torch.linspace(0.001, 1, 50, dtype=torch.float64)
    sigma = schedule.sigma(t)
    close(schedule.time(sigma), t)
    # α = exp(−¼ t² (β_max − β_min) − ½ t β_min), the published closed form.
    alpha = torch.exp(-t.square() * (20 - 0.1) / 4 - t * 0.1 / 2)
    close(variance_preserving(sigma).scale, alpha)
    close(variance_preserving(sigma).noise, (1 - alpha.square()).sqrt())


def test_steps_of_a_ddpm() -> None:
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    levels, index = DdpmLevels(alphas), torch.tensor([0, 10, 500, 999])
    sigma = levels.sigma(index)
    close(sigma, ((1 - alphas[index]) / alphas[index]).sqrt())
    assert torch.equal(levels.index(sigma), index)
    assert torch.equal(levels.index(sigma * 1.0001), index)
    assert levels.index(number(1e9)).item() == 999
    with pytest.raises(UsageError, match="strictly"):
        DdpmLevels(torch.tensor([0.9, 0.9]))


@pytest.mark.parametrize("convention", [variance_preserving, flow_matching, variance_exploding])
def test_one_denoiser_in_every_convention(convention) -> None:
    """The prediction that a perfect network would make there is turned into D of the same sample."""
    a, _ = pair()
    sigma = torch.linspace(0.1, 5, 12, dtype=torch.float64)
    x = 3 * torch.randn(12, 2, dtype=torch.float64)
    scale, noise = convention(sigma)
    close(sigma_of(scale, noise), sigma)
    here, there = a.denoiser(x, sigma), scale[:, None] * x
    epsilon = (there - scale[:, None] * here) / noise[:, None]
    predictions = {"x0": here, "epsilon": epsilon, "score": -epsilon / noise[:, None]}
    if convention is variance_preserving:
        predictions["v"] = scale[:, None] * epsilon - noise[:, None] * here
    if convention is flow_matching:
        predictions["velocity"] = epsilon - here
    for kind, prediction in predictions.items():
        close(denoised(prediction, there, scale, noise, kind), here)
    close(score_of(here, x, sigma), a.score(x, sigma))
    close(in_convention(lambda y, s: a.denoiser(y / convention(s).scale[:, None], s), convention)(x, sigma), here)


def test_predictions_must_be_declared() -> None:
    with pytest.raises(UsageError, match="did you mean 'epsilon'"):
        denoised(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), torch.ones(1), "epsilo")
    with pytest.raises(UsageError, match="alpha is 0"):
        sigma_of(torch.tensor([1.0, 0.0]), torch.ones(2))
