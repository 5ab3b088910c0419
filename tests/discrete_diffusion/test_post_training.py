"""Losses of post-training: enumerated values, optima, gradients, estimators."""

from pathlib import Path as File

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from tenfold.discrete import distribution_form, score_form
from tenfold.discrete_diffusion import Energy, all_candidates, matching_loss, number_of, ratio_loss, site_target
from tenfold.discrete_diffusion.steering.ratio import RATIOS
from tenfold.errors import UsageError
from tenfold.rl import (
    check_frozen,
    drift,
    gain,
    group_weights,
    prediction_likelihood,
    preference_loss,
    self_normalised,
    signed_loss,
    stepwise_loss,
)
from tests.discrete_diffusion.world import ALPHAS, World, close

NAMES = {"lsif": "lsif", "bce": "bce", "generalised_kl": "genkl"}


@pytest.fixture(params=["mask", "uniform"])
def world(request: pytest.FixtureRequest, fixtures: File) -> World:
    return World(fixtures, request.param)


def joint(world: World, logits: str, alpha: float) -> Tensor:
    """log p(x_0 | x_t) of a factorised table, (noisy, clean)."""
    each = world.model(logits, alpha)
    return torch.stack([each[:, i, world.clean[:, i]] for i in range(3)]).sum(0)


def posterior(world: World, alpha: float, law: str = "p1") -> Tensor:
    whole = world.joint_likelihood(alpha) * world[law]
    return whole / whole.sum(1, keepdim=True)


def expected_ratio_loss(world: World, log_ratio: Tensor, alpha: float, loss: str) -> Tensor:
    """E over x_t, data and reference draws, all enumerated."""
    data, reference = posterior(world, alpha), joint(world, "logits_reference", alpha).exp()
    weight = world[f"pt_k{alpha}"][:, None, None] * data[:, :, None] * reference[:, None, :]
    chosen = weight.nonzero(as_tuple=True)
    values = ratio_loss(
        log_ratio[chosen[0], chosen[1]],
        log_ratio[chosen[0], chosen[2]][:, None],
        loss,  # type: ignore[arg-type]
    )
    return (weight[chosen] * values).sum()


@pytest.mark.parametrize("alpha", ALPHAS)
def test_ratio_losses(world: World, alpha: float) -> None:
    log_best = (posterior(world, alpha).log() - joint(world, "logits_reference", alpha)).nan_to_num(0.0, 0.0, 0.0)
    for loss, name in NAMES.items():
        close(expected_ratio_loss(world, world["log_ratio"], alpha, loss), world.values[f"ratio/k{alpha}/model/{name}"])
        best = log_best.clone().requires_grad_()
        value = expected_ratio_loss(world, best, alpha, loss)
        close(value, world.values[f"ratio/k{alpha}/optimum/{name}"])
        (gradient,) = torch.autograd.grad(value, best)
        assert gradient.abs().max() < 1e-12
    assert set(NAMES) == set(RATIOS)


def test_corrected_marginals(world: World) -> None:
    """The normaliser by all sequences instead of draws: p_ref r / Z are the fixture's."""
    log_ref, log_ratio = joint(world, "logits_reference", 0.4), world["log_ratio"]
    corrected = (log_ref + log_ratio).log_softmax(1).exp()
    mean = torch.stack([torch.stack([corrected[:, world.clean[:, i] == v].sum(1) for v in range(4)], 1)
                        for i in range(3)], 1)  # fmt: skip
    close(mean, world["ratio_corrected_marginal_k0.4"])


@pytest.mark.parametrize("alpha", ALPHAS)
def test_reward_objectives(world: World, alpha: float) -> None:
    """Every divergence with the reward-tilted target and x_0 from the reference, summed over the enumeration."""
    beta = world.values["reward_beta"]
    tilted = world["p1_reward_tilted"].log()
    reference = joint(world, "logits_reference", alpha).exp()
    possible = world.joint_likelihood(alpha) > 0
    weight = torch.where(possible, world[f"pt_k{alpha}"][:, None] * reference, 0.0)
    rows, columns = weight.nonzero(as_tuple=True)
    noisy, clean, w = world.noisy[rows], world.clean[columns], weight[rows, columns]
    sites = torch.arange(3).expand(len(rows), 3)
    target = site_target(
        Energy(lambda x: tilted[number_of(x, 4)]), clean, noisy, world.alpha(alpha, len(rows)), sites,
        all_candidates(sites, 4), world.source,
    )  # fmt: skip
    model, active = world.model("logits_factorised", alpha)[rows], world.source.active(noisy)
    key = f"reward/k{alpha}/h=reference/model=factorised"
    names = {"gkl": "generalised_kl", "rgkl": "swapped_kl", "sq": "half_squared", "is": "itakura_saito",
             "bce": "logistic"}  # fmt: skip
    for name, divergence in names.items():
        value = score_form(target, model, clean, divergence)  # type: ignore[arg-type]
        found = (w * torch.where(active, value, 0.0).sum(1)).sum()
        torch.testing.assert_close(float(found), world.values[f"{key}/score_{name}"], rtol=1e-12, atol=1e-10)
    names = {"kl": "kl", "rkl": "reverse_kl", "js": "jensen_shannon", "tv": "total_variation"}
    for name, divergence in names.items():
        value = distribution_form(target, model, divergence)  # type: ignore[arg-type]
        close((w * torch.where(active, value, 0.0).sum(1)).sum(), world.values[f"{key}/distrib_{name}"])
    # The same through the loss on sites: KL, all candidates, all active sites.
    loss = matching_loss(model, target, clean, sites, all_candidates(sites, 4), active, torch.ones_like(w))
    close((w * loss).sum(), world.values[f"{key}/distrib_kl"])
    # Weighted cross entropy: E_{p_t} E_{p_ref e^{R/β}/Z} −log p_θ.
    weights = (joint(world, "logits_reference", alpha) + world["reward"] / beta).softmax(1)
    log_model = joint(world, "logits_factorised", alpha)
    ce = -(torch.where(weights > 0, weights * log_model, 0.0)).sum(1)
    close((world[f"pt_k{alpha}"] * ce).sum(), world.values[f"reward/k{alpha}/weighted_ce"])


def test_self_normalised_cross_entropy(world: World) -> None:
    """Over all draws at once it is the weighted cross entropy; few draws have a small effective size."""
    rewards = world["reward"][None]
    uniform = torch.full((1, 64), -3.0, dtype=torch.float64)
    loss, size = self_normalised(uniform, rewards, 0.7)
    close(loss, torch.tensor([3.0], dtype=torch.float64))
    weights = (rewards / 0.7).softmax(1)
    close(size, 1 / weights.square().sum(1))
    with pytest.raises(UsageError, match="rewards must be finite"):
        self_normalised(uniform, rewards * torch.nan, 0.7)
    with pytest.raises(UsageError, match="beta is 0"):
        self_normalised(uniform, rewards, 0.0)


def test_candidates_that_are_all_and_their_ratios() -> None:
    torch.manual_seed(0)
    log_p = torch.randn(4, 3, 5, dtype=torch.float64).log_softmax(-1)
    log_t = torch.randn(4, 3, 5, dtype=torch.float64).log_softmax(-1)
    clean, sites = torch.randint(0, 5, (4, 3)), torch.arange(3).expand(4, 3)
    everything, on = all_candidates(sites, 5), torch.ones(4, 3, dtype=torch.bool)
    ones = torch.ones(4, dtype=torch.float64)
    close(matching_loss(log_p, log_t, clean, sites, everything, on, ones), distribution_form(log_t, log_p).sum(1))
    first = torch.cat([clean[..., None], everything], -1)
    doubled = torch.cat([log_t.gather(-1, clean[..., None]), log_t], -1)
    again = doubled.masked_fill(first == clean[..., None], -torch.inf)
    again[..., 0] = doubled[..., 0]
    found = matching_loss(log_p, again, clean, sites, first, on, ones, "generalised_kl")
    close(found, score_form(log_t, log_p, clean).sum(1))
    close(matching_loss(log_p, again, clean, sites, first, on, ones), distribution_form(log_t, log_p).sum(1))
    with pytest.raises(UsageError, match="put it first"):
        matching_loss(log_p, log_t, (clean + 1) % 5, sites, everything, on, ones, "generalised_kl")


# --- signed group weights ------------------------------------------------------------------------------------------


def test_group_weights() -> None:
    rewards = torch.tensor([[1.0, 0.0, 2.0], [3.0, 3.0, 3.0], [1.0, torch.nan, 2.0], [torch.nan] * 3])
    found = group_weights(rewards, policy=0.5, reference=0.5)
    assert found.useful.tolist() == [True, False, True, False]
    torch.testing.assert_close(found.positive[0], rewards[0].softmax(0))
    torch.testing.assert_close(found.negative[0], (-rewards[0]).softmax(0))
    assert found.positive[2, 1] == 0
    torch.testing.assert_close(found.positive[2].sum(), torch.tensor(1.0))
    # Groups of one completion are of no use either.
    assert not group_weights(rewards[:, :1]).useful.any()
    halved = group_weights(rewards, policy=2.0)
    torch.testing.assert_close(halved.positive[0], (rewards[0] / 2).softmax(0))
    with pytest.raises(UsageError, match="positive sum"):
        group_weights(rewards, 0.0)
    with pytest.raises(UsageError, match="infinite"):
        group_weights(rewards * torch.inf)


def test_equal_rewards_have_no_gradient() -> None:
    log_p = torch.randn(2, 4, requires_grad=True)
    loss, metrics = signed_loss(log_p, group_weights(torch.ones(2, 4)), clip=10.0)
    (gradient,) = torch.autograd.grad(loss.sum(), log_p)
    assert (gradient == 0).all()
    assert metrics["useful_groups"] == 0


def test_signed_loss_and_its_clip() -> None:
    log_p = torch.tensor([[-1.0, -2.0, -30.0]], requires_grad=True)
    weights = group_weights(torch.tensor([[1.0, 0.5, 0.0]]))
    loss, metrics = signed_loss(log_p, weights, clip=20.0)
    (gradient,) = torch.autograd.grad(loss.sum(), log_p)
    net = weights.negative - weights.positive
    torch.testing.assert_close(gradient[0, :2], net[0, :2])
    # What is already impossible is pushed down no further.
    assert gradient[0, 2] == 0
    assert net[0, 2] > 0
    torch.testing.assert_close(metrics["clipped_share"], weights.negative[0, 2])
    free, _ = signed_loss(log_p, weights, clip=100.0)
    torch.testing.assert_close(free, (net * log_p).sum(1))


def test_predictions_of_every_step() -> None:
    """Chains of two steps: each step's prediction, at its own masks, has the weight of where the chain ended."""
    table = torch.randn(2, 4, 3, 5, dtype=torch.float64, requires_grad=True)  # (steps, completions, tokens, V)
    log_p = table.log_softmax(-1)
    predicted = torch.randint(5, (2, 4, 3))
    masked = torch.tensor([[True, True, True], [False, True, False]])[:, None].expand(-1, 4, -1)
    each = torch.stack([prediction_likelihood(*parts) for parts in zip(log_p, predicted, masked, strict=True)], -1)
    weights = group_weights(torch.randn(1, 4, dtype=torch.float64))
    loss, _ = stepwise_loss(each[None], weights, clip=1e3)
    expected = torch.zeros((), dtype=torch.float64)
    for step in range(2):
        for g in range(4):
            for i in masked[step, g].nonzero()[:, 0]:
                sign = weights.negative[0, g] - weights.positive[0, g]
                expected = expected + sign * log_p[step, g, i, predicted[step, g, i]] / 2
    close(loss[0], expected)
    (ours,), (theirs,) = (torch.autograd.grad(x, table, retain_graph=True) for x in (loss.sum(), expected))
    close(ours, theirs)
    assert (ours[1, :, 0] == 0).all()  # a token that stood was not predicted
    alone, _ = stepwise_loss(each[None, :, :1], weights, clip=1e3)
    close(alone, signed_loss(each[None, :, 0], weights, clip=1e3)[0])
    alike, _ = stepwise_loss(each[None], group_weights(torch.ones(1, 4)), clip=1e3)
    assert (torch.autograd.grad(alike.sum(), table)[0] == 0).all()


def test_what_is_warned_of() -> None:
    weights = group_weights(torch.tensor([[1.0, 0.0]]), policy=0.2)
    with pytest.warns(UserWarning, match="unlearning diverges"):
        signed_loss(torch.tensor([[-1.0, -50.0]]), weights, clip=20.0)
    with pytest.warns(UserWarning, match=r"effective sample size is 1\.0 of 3 draws"):
        self_normalised(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 50.0]]), 1.0)


def test_a_reference_is_frozen_and_apart() -> None:
    student = torch.nn.Linear(2, 2)
    with pytest.raises(UsageError, match="require gradients"):
        check_frozen(torch.nn.Linear(2, 2), student)
    shared = torch.nn.Linear(2, 2).requires_grad_(False)
    shared.weight = torch.nn.Parameter(student.weight.data, requires_grad=False)
    with pytest.raises(UsageError, match="shares weights"):
        check_frozen(shared, student)
    check_frozen(torch.nn.Linear(2, 2).requires_grad_(False), student)


# --- preferences ---------------------------------------------------------------------------------------------------


def preferred(world: World, log_model: Tensor, beta: float) -> Tensor:
    """E over pairs from the reference and Bradley-Terry winners, with likelihoods in place of bounds."""
    log_ref, rewards = world["clean_ref"].log(), world["reward"]
    delta = log_model - log_ref
    wins = (rewards[:, None] - rewards[None]).sigmoid()
    pairs = world["clean_ref"][:, None] * world["clean_ref"][None] * wins
    w, l = (index.reshape(-1) for index in torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij"))
    loss, _ = preference_loss(delta[w][:, None], delta[l][:, None], beta)
    return 2 * (pairs.reshape(-1) * loss).sum()


def test_preferences(world: World) -> None:
    beta = world.values["dpo/beta"]
    close(preferred(world, world["clean_model"].log(), beta), world.values["dpo/loss_model"])
    best = world["dpo_optimum"].log().requires_grad_()
    value = preferred(world, best, beta)
    close(value, world.values["dpo/loss_optimum"])
    (gradient,) = torch.autograd.grad(value, best)
    assert gradient.abs().max() < 1e-12
    # As a ratio, winners are the data and the reference's texts the noise.
    ratio = beta * (world["clean_model"].log() - world["clean_ref"].log())
    losses = ratio_loss(ratio.repeat_interleave(64), ratio.repeat(64)[:, None], "bce")
    weights = (world["winner_marginal"][:, None] * world["clean_ref"][None]).reshape(-1)
    close((weights * losses).sum(), world.values["pref_bce/loss_model"])


def test_gains_and_pairs() -> None:
    a, b = (torch.randn(2, 3, 4, dtype=torch.float64).log_softmax(-1) for _ in range(2))
    clean = torch.tensor([[0, 1, 2], [3, 3, 3]])
    active = torch.tensor([[True, False, True], [False, False, False]])
    found = gain(a, b, clean, active, torch.tensor([2.0, 5.0], dtype=torch.float64))
    expected = 2 * ((a - b)[0, 0, 0] + (a - b)[0, 2, 2])
    close(found, torch.stack([expected, torch.zeros_like(expected)]))
    with pytest.raises(UsageError, match="must be positive"):
        preference_loss(found[:, None], found[:, None], 0.0)
    _, metrics = preference_loss(torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [1.0]]), 2.0)
    assert metrics["accuracy"] == 0.5


# --- gradients and estimators ----------------------------------------------------------------------------------------


def test_gradients() -> None:
    """gradcheck in float64 of every loss; one row and one token among the sizes."""
    for b, n in ((1, 1), (2, 3)):
        logits = torch.randn(b, n, 4, dtype=torch.float64, requires_grad=True)
        other = torch.randn(b, n, 4, dtype=torch.float64).log_softmax(-1)
        clean = torch.randint(0, 4, (b, n))
        active = torch.ones(b, n, dtype=torch.bool)
        active[0, 0] = n == 1
        one = torch.rand(b, dtype=torch.float64)
        sites = torch.arange(n).expand(b, n)
        first = torch.cat([clean[..., None], (clean[..., None] + torch.arange(1, 3)) % 4], -1)
        target = torch.randn(first.shape, dtype=torch.float64).log_softmax(-1)

        def each(form: str, x: Tensor, sites=sites, first=first, target=target, clean=clean, active=active, one=one):  # type: ignore[no-untyped-def]
            return matching_loss(x.log_softmax(-1), target, clean, sites, first, active, one, form)  # type: ignore[arg-type]

        for form in ("kl", "generalised_kl"):
            assert gradcheck(lambda x, form=form, each=each: each(form, x), logits)
        assert gradcheck(
            lambda x, other=other, active=active, one=one: drift(x.log_softmax(-1), other, active, one), logits
        )
        ratio = torch.randn(b, dtype=torch.float64, requires_grad=True)
        draws = torch.randn(b, 3, dtype=torch.float64, requires_grad=True)
        for loss in RATIOS:
            assert gradcheck(lambda r, d, loss=loss: ratio_loss(r, d, loss), (ratio, draws))
        weights = group_weights(torch.randn(b, 3, dtype=torch.float64))
        assert gradcheck(lambda d, weights=weights: signed_loss(d, weights, 100.0)[0], draws)
        assert gradcheck(lambda d: preference_loss(d, d.flip(1) * 2, 0.5)[0], draws)


@pytest.mark.parametrize("loss", ["lsif", "bce", "generalised_kl"])
def test_ratio_losses_beyond_the_cap_go_on_as_tangents(loss: str) -> None:
    data, reference = (
        torch.linspace(-3, 3, 7, dtype=torch.float64),
        torch.linspace(-2, 4, 7, dtype=torch.float64)[:, None],
    )
    same = ratio_loss(data, reference, loss, cap=5.0)  # type: ignore[arg-type]
    assert torch.equal(same, ratio_loss(data, reference, loss))  # type: ignore[arg-type]
    at = torch.tensor([1.0, 1.0 + 1e-6, 300.0], dtype=torch.float64, requires_grad=True)
    low = torch.full((3, 1), -1.0, dtype=torch.float64)
    for values in (
        lambda f: ratio_loss(f, low, loss, cap=1.0),
        lambda f: ratio_loss(low[:, 0], f[:, None], loss, cap=1.0),
    ):  # type: ignore[arg-type]
        before, after, far = torch.autograd.grad(values(at).sum(), at)[0].tolist()
        assert after == pytest.approx(before, rel=1e-5)
        assert far == pytest.approx(after, rel=1e-6)


def test_ratio_loss_is_estimated_without_bias(world: World) -> None:
    alpha, count = 0.4, 20_000
    rows = torch.multinomial(world["pt_k0.4"], count, replacement=True)
    data = torch.multinomial(posterior(world, alpha)[rows], 1)[:, 0]
    reference = torch.multinomial(joint(world, "logits_reference", alpha).exp()[rows], 3, replacement=True)
    for loss, name in NAMES.items():
        values = ratio_loss(world["log_ratio"][rows, data], world["log_ratio"][rows[:, None], reference], loss)  # type: ignore[arg-type]
        error = float(values.std()) / count**0.5
        assert abs(float(values.mean()) - world.values[f"ratio/k0.4/model/{name}"]) < 4 * error
