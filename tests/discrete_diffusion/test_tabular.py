"""Tables of enumerable worlds against the fixtures."""

from pathlib import Path

import pytest
import torch

from tenfold.discrete import MaskSource
from tenfold.discrete_diffusion import TabularModel
from tenfold.discrete_diffusion.networks import tabular
from tenfold.errors import UsageError
from tests.discrete_diffusion.world import ALPHAS, V, World, close


@pytest.mark.parametrize("kind", ["mask", "uniform"])
def test_sums_of_tables(fixtures: Path, kind: str) -> None:
    world = World(fixtures, kind)
    assert torch.equal(tabular.sequences(V, 3), world.clean)
    assert torch.equal(tabular.number_of(world.noisy, world.source.states), torch.arange(len(world.noisy)))
    for alpha in ALPHAS:
        joint = tabular.joint_posterior(world["p1"], world.noisy, world.alpha(alpha), world.source)
        close(tabular.marginals(joint, V).exp(), world[f"post_marginal_k{alpha}"])
    joint = tabular.joint_posterior(world["p1"], world.noisy, world.alpha(0.4), world.source)
    close(joint.exp(), world["post_joint_k0.4"])
    theirs = world["post_site_conditional_k0.4"]
    ours = tabular.site_conditionals(joint, V).exp()
    possible = ~theirs.isnan() & (joint > -torch.inf)[..., None, None]
    close(ours[possible], theirs[possible])
    assert possible.sum() > theirs.numel() / 20


@pytest.mark.parametrize("kind", ["mask", "uniform"])
def test_a_table_is_a_model(fixtures: Path, kind: str) -> None:
    world = World(fixtures, kind)
    view = "posterior" if kind == "mask" else "leave_one_out"
    model = TabularModel(world.source, 3, view).double()
    with torch.no_grad():
        model.table.copy_(world["logits_factorised"])
    found = model(world.noisy)
    if kind == "mask":
        close(found.exp(), world["model_marginal_k0.4"])
    else:
        close(found, world["logits_factorised"].log_softmax(-1))
    rows = world.source.active(world.noisy)
    assert torch.equal(model(world.noisy, None, rows), found[rows])


def test_what_is_too_large() -> None:
    with pytest.raises(UsageError, match="27 states at 20 sites"):
        TabularModel(MaskSource(26), 20)
    with pytest.raises(UsageError, match="65 columns are no power"):
        tabular.marginals(torch.zeros(1, 65), 4)
