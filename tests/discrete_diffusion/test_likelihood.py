"""Estimated bounds against the exact ones of enumerated worlds; joint models' figures; holes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenfold.discrete import Cosine, Linear, MaskSource, UniformSource, posterior_from_leave_one_out
from tenfold.discrete_diffusion import (
    Autoregressive,
    AutoregressiveConfig,
    DiffusionConfig,
    DiscreteDiffusion,
    Holes,
    TabularModel,
    cut_holes,
    fill_by_chain,
    fill_from_left,
    fill_masks,
    likelihood,
    sampled_losses,
)
from tenfold.discrete_diffusion.networks import tabular
from tenfold.errors import UsageError
from tests.discrete_diffusion.world import V, World

ROWS = 10_000


def table(world: World) -> TabularModel:
    model = TabularModel(world.source, 3, "posterior" if world.kind == "mask" else "leave_one_out").double()
    with torch.no_grad():
        model.table.copy_(world["logits_factorised"])
    return model


class Converted:
    """The same model seen as the posterior, told the time by a schedule of its own."""

    view, time_conditioned, schedule = "posterior", True, Cosine()

    def __init__(self, model: TabularModel) -> None:
        self.model, self.source = model, model.source

    def __call__(self, noisy: Tensor, time: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        assert time is not None
        alpha = self.schedule.alpha(time)
        return posterior_from_leave_one_out(self.model(noisy), noisy, alpha, self.source)


@pytest.mark.parametrize(("kind", "value"), [("mask", "nelbo/model"), ("uniform", "nelbo_udlm/model")])
def test_a_sampled_loss_has_the_bound_as_its_mean(fixtures: Path, kind: str, value: str) -> None:
    world = World(fixtures, kind)
    clean = world.clean[torch.multinomial(world["p1"], ROWS, replacement=True)]
    (found,) = sampled_losses(table(world), clean, "table")
    values = 3 * found.loss(
        torch.rand(ROWS, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64).numpy()
    )
    assert found.dim == 1
    assert abs(values.mean() - world.values[value]) < 4 * values.std() / math.sqrt(ROWS)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("mask", None, "nelbo/model"),
        ("uniform", None, "nelbo_udlm/model"),
        ("uniform", "generalised_kl", "nelbo_dfm_gkl/model"),
    ],
)
@pytest.mark.parametrize("told", [False, True])
def test_estimates_meet_the_exact_bound(fixtures: Path, kind: str, name: str | None, value: str, told: bool) -> None:
    world = World(fixtures, kind)
    clean = world.clean[torch.multinomial(world["p1"], ROWS, replacement=True)]
    model = Converted(table(world)) if told else table(world)
    found = likelihood.bound(model, clean, 2, name, batch=ROWS, seed=1)  # not that of the data
    mean, error = found.nats.mean().item(), found.nats.std().item() / math.sqrt(ROWS)
    assert abs(mean - world.values[value]) < 4 * error
    assert error < 0.12
    bits, spread = found.bits_per_token()
    assert bits == pytest.approx(mean / 3 / math.log(2))
    assert spread == pytest.approx(error / 3 / math.log(2), rel=1e-6)
    assert (
        found.name
        == {
            None: f"NELBO of the {kind}ed process".replace("uniformed", "uniform"),
            "generalised_kl": "generalised KL bound of flow matching",
        }[name]
    )


def test_what_is_given_costs_nothing(fixtures: Path) -> None:
    world = World(fixtures, "uniform")
    clean, counted = world.clean, torch.tensor([True, False, True]).expand(64, -1)

    class Watching(Converted):
        def __call__(self, noisy: Tensor, time: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
            assert torch.equal(noisy[:, 1], clean[:, 1])
            return super().__call__(noisy, time, rows)

    found = likelihood.bound(Watching(table(world)), clean, counted=counted)
    assert found.tokens.tolist() == [2] * 64
    whole = likelihood.bound(Converted(table(world)), clean)
    assert found.nats.sum() < whole.nats.sum()


def test_what_has_no_bound_is_refused(fixtures: Path) -> None:
    model = table(World(fixtures, "mask"))
    clean = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(UsageError, match="draws is 0"):
        likelihood.bound(model, clean, 0)
    with pytest.raises(UsageError, match="the bound 'uniform' is not one of MaskSource"):
        likelihood.bound(model, clean, 1, "uniform")
    with pytest.raises(UsageError, match="no token of the rows is counted"):
        likelihood.bound(model, clean, counted=torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(UsageError, match="clean holds the token 4"):
        likelihood.bound(model, clean + 4)


def test_the_joint_figure_is_no_bound(fixtures: Path) -> None:
    """At the true posterior the sum over sites integrates to the entropy, the joint figure to less."""
    world = World(fixtures, "mask")
    nodes, weights = np.polynomial.legendre.leggauss(12)
    joint_total = sites_total = 0.0
    for alpha, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        joint = tabular.joint_posterior(world["p1"], world.noisy, world.alpha(alpha), world.source)
        mass = (world.joint_likelihood(alpha) * world["p1"]).sum(1)
        sites = tabular.marginals(joint, V)
        entropy = -(joint.exp() * joint).nan_to_num().sum(1)
        marginal = -(sites.exp() * sites).nan_to_num().sum((1, 2))
        joint_total += weight / (1 - alpha) * (mass * entropy).sum().item()
        sites_total += weight / (1 - alpha) * (mass * marginal).sum().item()
    assert sites_total == pytest.approx(world.values["entropy_p1_nats"], abs=1e-9)
    assert joint_total < sites_total - 0.1


def test_autoregressive_likelihood_is_exact() -> None:
    model = Autoregressive(AutoregressiveConfig(vocabulary=3, width=16, layers=1, heads=2, length=3)).eval()
    found = likelihood.autoregressive(model, tabular.sequences(3, 3), batch=5)
    assert found.nats.neg().exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (found.standard_error == 0).all()


@torch.no_grad()
def test_holes() -> None:
    rows = torch.randint(7, (5, 12))
    holes = cut_holes(rows, 16)
    sizes = holes.hidden.sum(1)
    assert sizes.tolist() == [*range(1, 9)] * 2
    assert not holes.hidden[:, 0].any()
    assert not holes.hidden[:, -1].any()
    assert all((mask.diff() != 0).sum() == 2 for mask in holes.hidden.int())  # of one piece
    settings = {"vocabulary": 7, "width": 16, "layers": 1, "heads": 2, "length": 12}
    masked = DiscreteDiffusion(DiffusionConfig(**settings)).eval()
    judge = Autoregressive(AutoregressiveConfig(**settings)).eval()
    for filled in (fill_masks(masked, holes), fill_from_left(judge, holes)):
        assert torch.equal(filled[~holes.hidden], holes.rows[~holes.hidden])
        assert filled.max() < 7
    # The surest place first: the pass over one hidden token is the likeliest one.
    single = holes.hidden & (holes.hidden.sum(1) == 1)[:, None]
    noisy = torch.where(holes.hidden, 7, holes.rows)
    assert torch.equal(fill_masks(masked, holes)[single], masked(noisy).argmax(-1)[single])
    assert holes.share(holes.rows) == (1.0, 0.0)
    with pytest.raises(UsageError, match="rows of 9 tokens are too short"):
        cut_holes(rows[:, :9], 4)
    with pytest.raises(UsageError, match="noise is uniform"):
        fill_masks(TabularModel(UniformSource(3), 2), holes)
    assert isinstance(masked.source, MaskSource)


class Majority(nn.Module):
    """Expects the most frequent token of the row, wherever it is asked."""

    view, time_conditioned = "leave_one_out", True

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.source, self.schedule = UniformSource(vocabulary), Linear(1e-3)

    def forward(self, noisy: Tensor, time: Tensor, rows: Tensor | None = None) -> Tensor:
        counts = nn.functional.one_hot(noisy, self.source.vocabulary).float().sum(1, keepdim=True)
        return counts.expand(-1, noisy.shape[1], -1).log_softmax(-1)


def test_holes_under_uniform_noise() -> None:
    """The text around a hole stays and is used, what was in the hole is not known, and a seed gives one filling."""
    rows = torch.arange(5)[:, None].expand(-1, 24).contiguous()
    holes = cut_holes(rows, 16)
    model = Majority(5)
    filled = fill_by_chain(model, holes)
    assert holes.share(filled) == (1.0, 0.0)
    hidden = Holes(torch.where(holes.hidden, 3, holes.rows), holes.hidden)
    assert torch.equal(fill_by_chain(model, hidden), filled)
    settings = DiffusionConfig(
        vocabulary=5, width=16, layers=1, heads=2, length=24, source="uniform", view="leave_one_out", epsilon=1e-3
    )
    network = DiscreteDiffusion(settings).eval()
    some = fill_by_chain(network, holes, steps=2)
    assert torch.equal(some, fill_by_chain(network, holes, steps=2))
    assert torch.equal(some[~holes.hidden], holes.rows[~holes.hidden])
