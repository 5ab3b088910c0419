"""The worked example: every method comes near the law that is its optimum, and the pieces of its world are exact."""

from pathlib import Path

import pytest
import torch

from tenfold.discrete_diffusion import site_conditionals
from tenfold.discrete_diffusion.examples.tables import JointTable, TinyWorld, kl, total_variation
from tenfold.discrete_diffusion.examples.worlds import BETA
from tenfold.discrete_diffusion.examples.worlds import WorkedWorlds as Worked
from tests.discrete_diffusion.world import World


def test_the_any_order_law(fixtures: Path) -> None:
    """On the fixture's model, and on exact marginals, whose chain has the law itself."""
    recorded = World(fixtures, "mask")
    tiny = TinyWorld(recorded["p1"].float(), recorded["reward"].float(), 4, 3)
    model = tiny.model()
    model.double()
    with torch.no_grad():
        model.table.copy_(recorded["logits_factorised"])
    found = tiny.any_order_law(model)
    torch.testing.assert_close(found, recorded["anyorder_model_distribution"], atol=1e-12, rtol=0)
    assert total_variation(tiny.any_order_law(tiny.model(tiny.law)), tiny.law) < 1e-6
    assert kl(tiny.law, tiny.law) == pytest.approx(0.0, abs=1e-7)


def test_the_joint_table() -> None:
    world = TinyWorld.random()
    table = JointTable(world)
    torch.nn.init.normal_(table.table)
    noisy = world.noisy[-1:].expand(64, -1)
    sites = torch.arange(3).expand(64, 3)
    expected = site_conditionals(table.table[-1:].log_softmax(1), 4)[0]
    torch.testing.assert_close(table(world.clean, noisy, sites), expected)


# Distances that an optimiser of 250 steps leaves; from 0.5 and more.
LIMITS = {
    "reward_weighted": 0.1, "reward_sites": 0.05, "preferences": 0.22, "data_free": 0.08,
    "ratio bce": 0.06, "ratio lsif": 0.12, "ratio generalised_kl": 0.06,
    "distilled exact": 0.08, "distilled top-2": 0.12, "distilled surrogate": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("method", LIMITS)
def test_methods_reach_their_optima(method: str) -> None:
    worked = Worked(250, seed=3)
    name, _, kind = method.partition(" ")
    found = getattr(worked, name)(kind) if kind else getattr(worked, name)()
    assert found.distance[0] > 0.3
    assert found.distance[-1] < LIMITS[method]
    assert found.law.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_signed_loss_raises_the_reward_and_has_no_fixed_point() -> None:
    worked = Worked(150, seed=3)
    found = worked.signed_groups()
    reward = worked.world.reward.double()
    assert float(found.law @ reward) > float(worked.world.law.double() @ reward) + 0.5
    assert float(worked.world.tilted(BETA).double() @ reward) > float(worked.world.law.double() @ reward)
