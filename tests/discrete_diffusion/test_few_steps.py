"""The bound of chains of few steps, against the laws of the chains."""

import math
from pathlib import Path as File

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from tenfold.discrete import Linear, UniformSource
from tenfold.discrete_diffusion import ChainOptions, TabularModel, chain_bound, number_of, run_chain
from tenfold.discrete_diffusion.likelihood import chosen_gain, one_step
from tenfold.errors import UsageError
from tests.discrete_diffusion.chains import Table, p_value
from tests.discrete_diffusion.world import World


def test_one_step_partitions_the_tokens() -> None:
    clean = torch.arange(10).expand(3, 10)
    numbers = torch.rand(3, 10)
    total = torch.zeros(3, 10, dtype=torch.long)
    for k in range(4):
        noisy, revealed = one_step(clean, 4, torch.full((3,), k), numbers, 99)
        assert (noisy[revealed] == 99).all()
        total += revealed
        # What earlier steps revealed stands.
        assert (noisy == 99).sum(1).tolist() == [10 - k * 10 // 4] * 3
    assert (total == 1).all()
    with pytest.raises(UsageError, match="give 1 to 10"):
        one_step(clean, 11, torch.zeros(3, dtype=torch.long), numbers, 99)


def test_all_steps_are_the_continuous_bound(fixtures: File) -> None:
    """N = n on the enumerated world: the mean over rows drawn from p_1 is the any-order cross entropy."""
    world = World(fixtures, "mask")
    count = 20_000
    clean = world.clean[torch.multinomial(world["p1"], count, replacement=True)]
    found = chain_bound(Table(world), clean, 3, batch=5000)
    error = float(found.std()) / math.sqrt(count)
    assert abs(float(found.mean()) - world.values["nelbo/model"]) < 4 * error
    # One step: −Σ log p(x^i | all masks), exactly.
    one = chain_bound(Table(world), world.clean, 1)
    each = world.model("logits_factorised", 0.0)[-1]
    exact = -torch.stack([each[i, world.clean[:, i]] for i in range(3)]).sum(0)
    torch.testing.assert_close(one, exact)


def chosen_law(log_ref: Tensor, log_ratio: Tensor) -> Tensor:
    """p(x) when one of two draws is taken by softmax(log r)."""
    ref = log_ref.exp()
    win = (log_ratio[:, None] - log_ratio[None]).sigmoid()
    return 2 * ref * (win * ref[None]).sum(1)


def test_candidates_are_bounded_from_above(fixtures: File) -> None:
    """k = 2 and one step: the exact law of the sampler, what it draws, and the bound on it."""
    world = World(fixtures, "mask")
    each = world.model("logits_factorised", 0.0)[-1]
    log_ref = torch.stack([each[i, world.clean[:, i]] for i in range(3)]).sum(0)
    log_ratio = world["log_ratio"][-1]
    law = chosen_law(log_ref, log_ratio)
    assert float(law.sum()) == pytest.approx(1)

    def ratio(clean: Tensor, noisy: Tensor) -> Tensor:
        return log_ratio[number_of(clean, 4)]

    start = torch.full((20_000, 3), 4)
    drawn = run_chain(
        Table(world), Linear(), start, ChainOptions(steps=1, candidates=2), 0, None, lambda c, n, t: ratio(c, n)
    )
    assert p_value(drawn.tokens, law) > 1e-3
    repeats = 400
    found = chain_bound(Table(world), world.clean.repeat(repeats, 1), 1, ratio, 2, batch=6400).view(repeats, 64)
    error = found.std(0) / math.sqrt(repeats)
    slack = found.mean(0) + law.log()
    assert (slack > -4 * error).all()
    assert (slack < 0.25).all()
    many = chain_bound(Table(world), world.clean.repeat(40, 1), 1, ratio, 16, batch=2560).view(40, 64).mean(0)
    target = (log_ref + log_ratio).log_softmax(0)
    assert (many + target).abs().max() < 0.3  # many candidates: the law is p_ref r / Z
    single = chain_bound(Table(world), world.clean, 1, ratio, 1)
    torch.testing.assert_close(single, -log_ref)


def test_chosen_gain_without_information_is_nothing() -> None:
    flat = torch.full((3, 5), 0.7)
    torch.testing.assert_close(chosen_gain(flat, flat), torch.zeros(3), atol=1e-6, rtol=0)


def test_bad_input() -> None:
    with pytest.raises(UsageError, match="masked models that are not told the time"):
        chain_bound(TabularModel(UniformSource(4), 3), torch.zeros(2, 3, dtype=torch.long), 1)


def test_the_joint_integrand_is_no_bound(fixtures: File) -> None:
    """∫ E[−log p(x_0 | x_t)]/(1 − α) dα of the true joint posterior lies below the entropy; of the marginals it is the
    entropy."""
    world = World(fixtures, "mask")
    nodes, weights = (torch.from_numpy(a) for a in leggauss(8))
    joint = marginal = 0.0
    active = world.source.active(world.noisy)
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        alpha = float(node)
        whole = world.joint_likelihood(alpha) * world["p1"]
        posterior = whole / whole.sum(1, keepdim=True)
        surprise = torch.where(whole > 0, -whole * posterior.log(), 0.0).sum()
        each = world.marginals(alpha)
        apart = torch.where(each > -math.inf, each.exp() * each, 0.0).sum(-1)
        lone = (whole.sum(1) * -torch.where(active, apart, 0.0).sum(1)).sum()
        joint += float(weight * surprise / (1 - alpha))
        marginal += float(weight * lone / (1 - alpha))
    entropy = world.values["entropy_p1_nats"]
    assert marginal == pytest.approx(entropy, abs=1e-9)
    assert joint < entropy - 0.05
