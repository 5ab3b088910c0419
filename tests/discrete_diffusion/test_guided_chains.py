"""Chains guided by the value of a reward against the exactly tilted law, on worlds whose tokens are independent."""

from pathlib import Path as File

import pytest
import torch
from torch import Tensor

from tenfold.discrete import Linear, noisy_ratios
from tenfold.discrete_diffusion import ChainOptions, Random, joint_posterior, marginals, noise, run_chain
from tenfold.discrete_diffusion import number_of as number
from tenfold.discrete_diffusion.samplers.prediction import Guide, Predictor
from tenfold.errors import UsageError
from tests.discrete_diffusion.chains import Table, p_value
from tests.discrete_diffusion.world import World

BETA = 0.7
SITES = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.2, 0.5], [0.3, 0.1, 0.3, 0.3]], dtype=torch.float64)


class Independent:
    """Tokens drawn on their own, so that a network can be exact, and the reward of the fixtures, that ties them."""

    def __init__(self, world: World) -> None:
        self.world, self.table = world, Table(world, SITES.log().expand(len(world.noisy), -1, -1).clone())
        self.law = torch.stack([SITES[i, world.clean[:, i]] for i in range(3)]).prod(0)
        weights = self.law * (world["reward"] / BETA).exp()
        self.tilted = weights / weights.sum()

    def reward(self, clean: Tensor) -> Tensor:
        return self.world["reward"][number(clean, 4)]

    def draws(self, options: ChainOptions, count: int) -> Tensor:
        clean = torch.zeros(count, 3, dtype=torch.long)
        random = Random(0)
        start = noise(self.world.source, clean, torch.zeros_like(clean, dtype=torch.bool), random)
        reward = self.reward if options.values else None
        return run_chain(self.table, Linear(1e-6), start, options, random, reward=reward).tokens


@pytest.fixture(params=["mask", "uniform"])
def setting(request: pytest.FixtureRequest, fixtures: File) -> Independent:
    return Independent(World(fixtures, request.param))


def test_the_guided_chain_draws_from_the_tilted_law(fixtures: File) -> None:
    setting = Independent(World(fixtures, "mask"))
    found = setting.draws(ChainOptions(kind="first_hitting", values=48, beta=BETA), 1500)
    assert p_value(found, setting.tilted) > 1e-3
    # The test tells the two laws apart, and the chain without a reward is the plain one.
    assert p_value(found, setting.law) < 1e-6
    assert p_value(setting.draws(ChainOptions(kind="first_hitting"), 1500), setting.law) > 1e-3


@torch.no_grad()
def test_guided_ratios_are_those_of_the_tilted_law(setting: Independent) -> None:
    world, alpha = setting.world, 0.4
    options = ChainOptions(kind="analytic", values=300, beta=BETA)
    predict = Predictor(setting.table, Linear(), options)
    t = 1 - world.alpha(alpha)
    ratios = noisy_ratios(predict(world.noisy, t), world.noisy, world.alpha(alpha), world.source)
    found = Guide(predict, setting.reward, Random(0)).ratios(ratios, world.noisy, t)
    joint = joint_posterior(setting.tilted, world.noisy, world.alpha(alpha), world.source)
    exact = noisy_ratios(marginals(joint, 4), world.noisy, world.alpha(alpha), world.source)
    active = world.source.active(world.noisy)
    possible = active[..., None] & (exact > 0)
    assert torch.equal(found[~possible & active[..., None]], exact[~possible & active[..., None]])
    off = (found / exact)[possible] - 1
    assert abs(float(off.mean())) < 0.02
    assert float(off.square().mean().sqrt()) < 0.12
    assert (ratios - exact)[active].abs().max() > 0.3


def test_grids_are_guided_too(setting: Independent) -> None:
    reward = setting.world["reward"]
    plain, aim = float(setting.law @ reward), float(setting.tilted @ reward)
    found = setting.reward(setting.draws(ChainOptions(kind="analytic", steps=12, values=8, beta=BETA), 200))
    assert float(found.mean()) > plain + 0.6 * (aim - plain)


def test_what_is_refused(setting: Independent) -> None:
    start = torch.zeros(1, 3, dtype=torch.long)
    with pytest.raises(UsageError, match="a reward to guide by go together"):
        run_chain(setting.table, Linear(), start, ChainOptions(kind="analytic", values=2))
    with pytest.raises(UsageError, match="a reward to guide by go together"):
        run_chain(setting.table, Linear(), start, ChainOptions(), reward=setting.reward)
    for changes, words in (
        ({"values": 2}, "the kind is 'ancestral'"),
        ({"values": 2, "kind": "first_hitting", "per_call": 2}, "per_call 2"),
        ({"values": -1}, "values is -1"),
        ({"beta": 0.0}, "beta is 0"),
    ):
        with pytest.raises(UsageError, match=words):
            ChainOptions(**changes)  # type: ignore[arg-type]
    options = ChainOptions(kind="analytic", steps=2, values=2)
    with pytest.raises(UsageError, match="is NaN or infinite"):
        run_chain(setting.table, Linear(1e-6), start, options, reward=lambda x: torch.full((len(x),), torch.nan))
