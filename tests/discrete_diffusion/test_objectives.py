"""Objectives and bounds against every scalar of the enumerated worlds."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tenfold.discrete import objectives
from tenfold.discrete_diffusion import site_conditionals
from tenfold.errors import UsageError
from tests.discrete_diffusion.world import ALPHAS, L, V, World, close

SCORES = {
    "gkl": "generalised_kl",
    "rgkl": "swapped_kl",
    "sq": "half_squared",
    "is": "itakura_saito",
    "bce": "logistic",
}
DISTRIBUTIONS = {"kl": "kl", "rkl": "reverse_kl", "js": "jensen_shannon", "tv": "total_variation"}


@pytest.fixture(params=["mask", "uniform"])
def world(request: pytest.FixtureRequest, fixtures: Path) -> World:
    return World(fixtures, request.param)


def joint_of(world: World, name: str, alpha: float) -> Tensor:
    """log p(x_0 | x_t), (noisy, 64)."""
    likelihood = world.joint_likelihood(alpha).log()
    if name == "posterior":
        return (likelihood + world["p1"].log()).log_softmax(1)
    if name == "joint":
        return (likelihood + world["logits_joint"]).log_softmax(1)
    if name == "uniform":
        return torch.where(likelihood > -torch.inf, 0.0, -torch.inf).double().log_softmax(1)
    log_probs = world.model(f"logits_{name}", alpha)
    return torch.stack([log_probs[:, i][:, world.clean[:, i]] for i in range(L)]).sum(0)


class Sums:
    """E_{x_t} E_{x_0 ~ h} Σ_{i active} of losses that are computed for every pair at once."""

    def __init__(self, world: World, alpha: float, h: str, target: str = "posterior") -> None:
        joint = joint_of(world, "posterior", alpha)
        self.h = joint_of(world, h, alpha).exp()
        weights = world[f"pt_k{alpha}"][:, None] * self.h
        self.pairs = weights > 0
        self.weights = weights[self.pairs]
        rows, columns = self.pairs.nonzero(as_tuple=True)
        self.noisy, self.clean = world.noisy[rows], world.clean[columns]
        self.active = world.source.active(self.noisy)
        if target == "reward":
            joint = (joint + world["reward"] / world.values["reward_beta"]).log_softmax(1)
        # At sites that no noise reached the posterior is certain; they are not counted.
        self.target = site_conditionals(joint, V)[self.pairs]

    def __call__(self, losses: Tensor) -> Tensor:
        return (self.weights * torch.where(self.active, losses, 0.0).sum(1)).sum()


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("h", ["posterior", "reference", "uniform"])
def test_every_objective(world: World, alpha: float, h: str) -> None:
    total = Sums(world, alpha, h)
    for kind in ("factorised", "joint"):
        name = f"tcsm/k{alpha}/h={h}/model={kind}"
        if kind == "joint":
            model = site_conditionals(joint_of(world, "joint", alpha), V)[total.pairs]
        else:
            model = world.model("logits_factorised", alpha)[total.pairs.nonzero()[:, 0]]
        found = {
            **{
                f"score_{n}": total(objectives.score_form(total.target, model, total.clean, d))
                for n, d in SCORES.items()
            },
            **{
                f"distrib_{n}": total(objectives.distribution_form(total.target, model, d))
                for n, d in DISTRIBUTIONS.items()
            },
            "est_pseudo": total(objectives.pseudo_likelihood(model, total.clean)),
            "est_entropy": total(objectives.entropy_term(model)),
            "est_ce": total(objectives.cross_entropy(model, total.clean)),
        }
        for key, value in found.items():
            torch.testing.assert_close(
                value.item(),
                world.values[f"{name}/{key}"],
                rtol=1e-12,
                atol=1e-10,
                msg=lambda m, key=key: f"{key}: {m}",
            )
        if h == "posterior":
            check_data_only(world, total, model, name, found)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_reward_tilted_targets(world: World, alpha: float) -> None:
    total = Sums(world, alpha, "reference", "reward")
    model = world.model("logits_factorised", alpha)[total.pairs.nonzero()[:, 0]]
    name = f"reward/k{alpha}/h=reference/model=factorised"
    for short, divergence in SCORES.items():
        value = total(objectives.score_form(total.target, model, total.clean, divergence)).item()
        torch.testing.assert_close(value, world.values[f"{name}/score_{short}"], rtol=1e-12, atol=1e-10)
    for short, divergence in DISTRIBUTIONS.items():
        value = total(objectives.distribution_form(total.target, model, divergence)).item()
        torch.testing.assert_close(value, world.values[f"{name}/distrib_{short}"], rtol=1e-12, atol=1e-10)


def check_data_only(world: World, total: Sums, model: Tensor, name: str, found: dict[str, Tensor]) -> None:
    """estimator + constant = objective, for every F."""
    u = total.target - total.target.gather(-1, total.clean[..., None])
    for short, divergence in SCORES.items():
        if short == "rgkl":
            continue
        constant = total(objectives.BREGMAN[divergence].potential(u).nan_to_num().sum(-1))
        estimate = total(objectives.score_form_from_data(model, total.clean, divergence))
        torch.testing.assert_close((estimate + constant).item(), found[f"score_{short}"].item(), rtol=1e-12, atol=1e-10)
        if short == "gkl":
            close(constant, world.values[f"{name}/const_score_gkl"])
    entropy = total(-(total.target.exp() * total.target).nan_to_num().sum(-1))
    close(-entropy, world.values[f"{name}/const_distrib_kl"])
    close(found["est_ce"] - entropy, found["distrib_kl"])


@pytest.mark.parametrize("divergence", list(objectives.BREGMAN))
def test_drawn_data_estimate_the_objective(world: World, divergence: str) -> None:
    total = Sums(world, 0.4, "posterior")
    model = world.model("logits_factorised", 0.4)[total.pairs.nonzero()[:, 0]]
    losses = objectives.score_form_from_data(model, total.clean, divergence)
    exact = total(losses)
    drawn = torch.multinomial(total.weights, 20_000, replacement=True)
    values = torch.where(total.active, losses, 0.0).sum(1)[drawn]
    assert abs(values.mean() - exact) < 4 * values.std() / 20_000**0.5


def test_drawn_tokens_estimate_the_entropy_term() -> None:
    log_probs = torch.randn(1, 2, 9).log_softmax(-1).expand(20_000, -1, -1)
    found = objectives.sampled_entropy_term(log_probs, torch.rand(20_000, 2, 3))
    exact = objectives.entropy_term(log_probs)[0]
    assert ((found.mean(0) - exact).abs() < 4 * found.std(0) / 20_000**0.5).all()


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 4)])
@pytest.mark.parametrize("form", [*SCORES.values(), *DISTRIBUTIONS.values(), "data", "capped", "cross_entropy"])
def test_gradients(form: str, shape: tuple[int, int, int]) -> None:
    target, clean = torch.randn(shape).double().log_softmax(-1), torch.randint(4, shape[:2])
    target[0, 0, 1] = -torch.inf
    clean[0, 0] = 0
    kinds = {
        **{d: lambda x, d=d: objectives.score_form(target, x, clean, d) for d in SCORES.values()},
        **{d: lambda x, d=d: objectives.distribution_form(target, x, d) for d in DISTRIBUTIONS.values()},
        "data": lambda x: objectives.score_form_from_data(x, clean, "logistic"),
        "capped": lambda x: objectives.score_form_from_data(x, clean, cap=1.0),
        "cross_entropy": lambda x: objectives.cross_entropy(x, clean),
    }
    if form in ("swapped_kl", "reverse_kl", "itakura_saito"):  # infinite where the target has no mass
        target = torch.randn(shape).double().log_softmax(-1)
    logits = torch.randn(shape).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kinds[form](x.log_softmax(-1)), logits)


def test_the_target_is_the_minimum() -> None:
    """Zero at the target with zero gradient, positive beside it, for every form."""
    target, clean = torch.randn(2, 3, 4).double().log_softmax(-1), torch.randint(4, (2, 3))
    forms = [lambda x, d=d: objectives.score_form(target, x, clean, d) for d in SCORES.values()]
    forms += [lambda x, d=d: objectives.distribution_form(target, x, d) for d in DISTRIBUTIONS.values()]
    for form in forms:
        logits = target.clone().requires_grad_()
        loss = form(logits.log_softmax(-1))
        close(loss.detach(), torch.zeros(2, 3), 1e-12)
        if form is not forms[-1]:  # total variation has a kink there
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            close(gradient, torch.zeros(2, 3, 4), 1e-12)
        assert (form((target + torch.randn(2, 3, 4)).log_softmax(-1)) > 0).all()


@pytest.mark.parametrize("divergence", [*objectives.BREGMAN, "cross_entropy", "swapped_kl", "reverse_kl"])
def test_true_marginals_are_the_factorised_minimum(world: World, divergence: str) -> None:
    """With h the posterior every Bregman score form is least at the true marginals; other divergences are not."""
    total = Sums(world, 0.4, "posterior")
    total.target = torch.where(total.active[..., None], total.target, 0.0).log_softmax(-1)  # certain sites do not count
    rows = total.pairs.nonzero()[:, 0]
    logits = world.marginals(0.4).clamp(min=-50).requires_grad_()
    model = logits.log_softmax(-1)[rows]
    if divergence == "cross_entropy":
        losses = objectives.cross_entropy(model, total.clean)
    elif divergence == "reverse_kl":
        losses = objectives.distribution_form(total.target, model, "reverse_kl")
    else:
        losses = objectives.score_form(total.target, model, total.clean, divergence)
    (gradient,) = torch.autograd.grad(total(losses), logits)
    if divergence in ("swapped_kl", "reverse_kl"):
        assert gradient.abs().max() > 1e-3
    else:
        close(gradient, torch.zeros_like(gradient), 1e-10)


def test_names_of_tokens_do_not_matter() -> None:
    target, model = torch.randn(2, 2, 3, 4).log_softmax(-1)
    clean, order = torch.randint(4, (2, 3)), torch.randperm(4)
    for divergence in SCORES.values():
        here = objectives.score_form(target, model, clean, divergence)
        there = objectives.score_form(target[..., order], model[..., order], order.argsort()[clean], divergence)
        torch.testing.assert_close(here, there)


def test_the_cap_keeps_the_loss_finite() -> None:
    logits = torch.tensor([[[200.0, 0.0, 0.0]]], requires_grad=True)
    clean = torch.tensor([[1]])
    assert objectives.score_form_from_data(logits.log_softmax(-1), clean).isinf().all()
    for divergence in ("generalised_kl", "half_squared", "itakura_saito"):
        loss = objectives.score_form_from_data(logits.log_softmax(-1), clean, divergence, cap=20.0)
        assert loss.isfinite().all()
    capped = objectives.score_form_from_data(logits.log_softmax(-1), clean, cap=20.0)
    (gradient,) = torch.autograd.grad(capped.sum(), logits)
    assert gradient.isfinite().all()
    assert gradient[0, 0, 1] < 0
    # A token that never occurs is pushed down no further than the cap.
    never = torch.tensor([[[0.0, 0.0, -50.0]]], requires_grad=True)
    (pushed,) = torch.autograd.grad(objectives.entropy_term(never.log_softmax(-1), 20.0).sum(), never)
    assert abs(pushed[0, 0, 2]) < 1e-6
    (pushed,) = torch.autograd.grad(objectives.entropy_term(never.log_softmax(-1)).sum(), never)
    assert pushed[0, 0, 2] > 0.3


def test_unknown_divergences() -> None:
    log_probs, clean = torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(UsageError, match="'swapped_kl' needs the target"):
        objectives.score_form_from_data(log_probs, clean, "swapped_kl")


@pytest.mark.parametrize("form", ["cross_entropy", *objectives.BREGMAN])
def test_a_joint_table_learns_the_data(fixtures: Path, form: str) -> None:
    """Every objective from data alone is least at the law of the data, and descent finds it."""
    world = World(fixtures, "mask")
    total = Sums(world, 0.4, "posterior")
    likelihood = world.joint_likelihood(0.4).log()
    table = torch.zeros(64, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([table], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        # Impossible sequences get a mass that does not matter: the active sites' conditionals do not see it.
        joint = (likelihood.clamp(min=-60) + table).log_softmax(1)
        model = site_conditionals(joint, V)[total.pairs]
        losses = (
            objectives.cross_entropy(model, total.clean)
            if form == "cross_entropy"
            else objectives.score_form_from_data(model, total.clean, form)
        )
        value = total(losses)
        value.backward()
        return value

    optimizer.step(loss)
    found = table.detach().log_softmax(0)
    assert (world["p1"] * (world["p1"].log() - found)).sum() < 0.01
