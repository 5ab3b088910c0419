"""Sources, views, scores and rates against enumeration."""

from pathlib import Path as File

import pytest
import torch

from tenfold.discrete import (
    Cosine,
    Geometric,
    Linear,
    LinearSigma,
    MaskSource,
    UniformSource,
    paths,
    sigma,
)
from tenfold.discrete_diffusion import joint_posterior, site_conditionals
from tenfold.errors import UsageError
from tests.discrete_diffusion.world import ALPHAS, V, World, close, reference


@pytest.fixture(params=["mask", "uniform"])
def world(request: pytest.FixtureRequest, fixtures: File) -> World:
    return World(fixtures, request.param)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_enumerated_worlds(world: World, alpha: float) -> None:
    a, source, noisy = world.alpha(alpha), world.source, world.noisy
    joint = world.joint_likelihood(alpha) * world["p1"]
    close(joint.sum(1), world[f"pt_k{alpha}"])
    posterior = world[f"post_marginal_k{alpha}"]
    active = source.active(noisy)
    ratios = paths.noisy_ratios(posterior.log(), noisy, a, source)
    close(ratios[active], world[f"concrete_score_pt_k{alpha}"][active])
    close(world.model("logits_factorised", alpha).exp(), world[f"model_marginal_k{alpha}"])
    if world.kind == "uniform":
        loo = world[f"post_loo_k{alpha}"].log()
        close(paths.posterior_from_leave_one_out(loo, noisy, a, source).exp(), posterior)
        close(paths.leave_one_out_from_posterior(posterior.log(), noisy, a, source), loo)


def test_views_are_inverse(world: World) -> None:
    logq, a = torch.randn(len(world.noisy), 3, 4, dtype=torch.float64).log_softmax(-1), world.alpha(0.3)
    there = paths.posterior_from_leave_one_out(logq, world.noisy, a, world.source)
    back = paths.leave_one_out_from_posterior(there, world.noisy, a, world.source)
    active = world.source.active(world.noisy)
    close(back[active], logq[active], 1e-13)
    close(there.exp().sum(-1), torch.ones(len(world.noisy), 3, dtype=torch.float64), 1e-13)


def test_a_mask_source_takes_tokens_over(fixtures: File) -> None:
    world = World(fixtures, "mask")
    posterior = world.model("logits_factorised", 0.4).exp()
    kept = ~world.source.active(world.noisy)
    assert (posterior[kept].gather(-1, world.noisy[kept][:, None]) == 1).all()
    assert (posterior[kept].sum(-1) == 1).all()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_joint_conditionals_come_from_clean_ones(world: World, alpha: float) -> None:
    """p(x_0^i | x_0 without i, x_t) is the clean leave-one-out conditional times the likelihood of x_t^i."""
    joint = joint_posterior(world["p1"], world.noisy, world.alpha(alpha), world.source)
    theirs = site_conditionals(joint, V)
    clean = site_conditionals(world["p1"].log()[None], V)[0]  # (64, 3, 4)
    rows, columns = (joint > -torch.inf).nonzero(as_tuple=True)
    noisy = world.noisy[rows]
    ours = paths.posterior_from_leave_one_out(clean[columns], noisy, world.alpha(alpha, len(rows)), world.source)
    active = world.source.active(noisy)
    close(ours[active], theirs[rows, columns][active])


def test_ratios_are_those_of_the_leave_one_out_view(fixtures: File) -> None:
    world = World(fixtures, "uniform")
    a, loo = world.alpha(0.4), world["post_loo_k0.4"]
    levels = 0.4 * loo + 0.6 / 4
    expected = levels / levels.gather(-1, world.noisy[..., None])
    close(paths.noisy_ratios(world["post_marginal_k0.4"].log(), world.noisy, a, world.source), expected)


def test_noise_has_its_law(world: World) -> None:
    count = 40_000
    clean, a = torch.tensor([[1, 3]]).expand(count, -1), torch.full((count,), 0.3)
    noisy = world.source.noise(clean, a, torch.rand(count, 2), torch.rand(count, 2))
    law = world.source.likelihood(torch.arange(world.source.states)[None], torch.tensor([0.3]))[0]
    for place, token in ((0, 1), (1, 3)):
        shares = torch.bincount(noisy[:, place], minlength=world.source.states) / count
        assert ((shares - law[:, token]).abs() < 4 * (0.25 / count) ** 0.5).all()


def test_a_mask_inside_the_vocabulary() -> None:
    source = MaskSource(5, mask=2)
    assert (source.states, MaskSource(5).states, MaskSource(5).mask) == (5, 6, 5)
    noisy = source.noise(torch.tensor([[0, 4]]), torch.tensor([0.5]), torch.tensor([[0.0, 0.9]]))
    assert noisy.tolist() == [[2, 4]]
    logq = torch.zeros(1, 2, 5).index_fill(-1, torch.tensor(2), -torch.inf).log_softmax(-1)
    ratios = paths.noisy_ratios(logq, noisy, torch.tensor([0.5]), source)
    assert ratios[0].tolist() == [[0.25, 0.25, 1.0, 0.25, 0.25], [0.0, 0.0, 0.0, 0.0, 1.0]]


def test_published_noise(fixtures: File) -> None:
    ref = reference(fixtures)
    schedules = {
        "loglinear": Linear(1e-3),
        "cosine": Cosine(1e-3),
        "cosinesqr": Cosine(1e-3, 2),
        "geometric": Geometric(1e-3, 5.0),
        "linear": LinearSigma(1e-4, 20.0),
    }
    for name, schedule in schedules.items():
        torch.testing.assert_close(sigma(schedule, ref["t"]), ref[f"noise_{name}_sigma"], rtol=2e-5, atol=2e-5)


def test_bad_input() -> None:
    source = MaskSource(4)
    with pytest.raises(UsageError, match="holds the token 4; tokens lie between 0 and 3"):
        source.check_clean(torch.tensor([[0, 4]]))
    with pytest.raises(UsageError, match="holds the mask 1"):
        MaskSource(4, mask=1).check_clean(torch.tensor([[0, 1]]))
    with pytest.raises(UsageError, match="tokens lie between 0 and 4"):
        source.check_noisy(torch.tensor([[5, 4]]))
    with pytest.raises(UsageError, match="has dtype"):
        UniformSource(4).check_noisy(torch.zeros(1, 2, dtype=torch.int32))
    with pytest.raises(UsageError, match="at least 2 tokens"):
        UniformSource(1)
    with pytest.raises(UsageError, match="mask is 9"):
        MaskSource(4, mask=9)
    log_probs, noisy, one = torch.zeros(1, 2, 4).log_softmax(-1), torch.zeros(1, 2, dtype=torch.long), torch.ones(1)
    for function in (paths.noisy_ratios, paths.leave_one_out_from_posterior):
        with pytest.raises(UsageError, match="alpha is 1"):
            function(log_probs, noisy, one, UniformSource(4))
    for function in (paths.noisy_ratios, paths.posterior_from_leave_one_out):
        with pytest.raises(UsageError, match="have 5 classes, but the vocabulary is 4; leave the mask out"):
            function(torch.zeros(1, 2, 5), noisy, one / 2, source)
