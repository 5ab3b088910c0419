"""Bounds of the named methods: integrals over enumerated worlds, and identities between methods."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.discrete import (
    Cosine,
    Linear,
    MaskSource,
    Polynomial,
    Schedule,
    UniformSource,
    bounds,
    leave_one_out_from_posterior,
    noisy_ratios,
    posterior_from_leave_one_out,
)
from tenfold.errors import UsageError
from tests.discrete_diffusion.world import ALPHAS, World, close


def integrand(world: World, bound: str, model: str, alpha: float) -> Tensor:
    """E of the bound's terms over data and noise at one α, for a unit rate."""
    weights = world.joint_likelihood(alpha) * world["p1"]
    rows, columns = (weights > 0).nonzero(as_tuple=True)
    clean, noisy, a = world.clean[columns], world.noisy[rows], world.alpha(alpha, len(rows))
    log_probs = (world.marginals(alpha) if "exact" in model else world.model("logits_factorised", alpha))[rows]
    given = (clean, noisy, a, torch.ones_like(a))
    if bound == "masked":
        losses = bounds.masked(log_probs, *given, world.source)
    elif bound == "dfm_gkl":
        losses = bounds.generalised_kl(log_probs, *given, world.source)
    else:
        plugged = "plugged" in model
        losses = bounds.uniform(
            log_probs if plugged else leave_one_out_from_posterior(log_probs, noisy, a, world.source), *given
        )
    return (weights[rows, columns] * losses.sum(1)).sum()


def integral(world: World, bound: str, model: str, nodes: int) -> float:
    """Over α in (0, 1), by Gauss-Legendre in u with dα/du = 140 u³(1 − u)³, which tames the logarithms at the ends."""
    u, w = np.polynomial.legendre.leggauss(nodes)
    total = 0.0
    for x, weight in zip((u + 1) / 2, w / 2, strict=True):
        alpha, slope = x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3), 140 * (x * (1 - x)) ** 3
        total += weight * slope * integrand(world, bound, model, alpha).item()
    return total


def test_integrals_over_the_masked_world(fixtures: Path) -> None:
    world = World(fixtures, "mask")
    for model in ("model", "exact_posterior"):
        assert integral(world, "masked", model, 24) == pytest.approx(world.values[f"nelbo/{model}"], abs=1e-10)
        assert integral(world, "dfm_gkl", model, 24) == pytest.approx(world.values[f"nelbo/{model}"], abs=1e-10)
    assert world.values["nelbo/exact_posterior"] == pytest.approx(world.values["entropy_p1_nats"], abs=1e-10)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("nelbo_dfm_gkl/model", "dfm_gkl"),
        ("nelbo_dfm_gkl/exact_posterior", "dfm_gkl"),
        ("nelbo_udlm/model", "udlm"),
        ("nelbo_udlm/exact_posterior", "udlm"),
        ("nelbo_udlm/exact_posterior_mean_plugged_in_(wrong)", "udlm"),
    ],
)
def test_integrals_over_the_uniform_world(fixtures: Path, name: str, bound: str) -> None:
    world = World(fixtures, "uniform")
    assert integral(world, bound, name, 48) == pytest.approx(world.values[name], abs=1e-8)


def test_tightness(fixtures: Path) -> None:
    """The uniform bound is the entropy at the true conditionals, flow matching's is not."""
    values = World(fixtures, "uniform").values
    assert values["nelbo_udlm/exact_posterior"] == pytest.approx(values["entropy_p1_nats"], abs=1e-8)
    assert values["nelbo_dfm_gkl/exact_posterior"] > values["entropy_p1_nats"] + 1


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("kind", ["mask", "uniform"])
def test_integrands(fixtures: Path, kind: str, alpha: float) -> None:
    world = World(fixtures, kind)
    for name, bound in (("dfm_gkl", "dfm_gkl"), ("udlm", "udlm")):
        if f"elbo_integrand/{name}/k{alpha}" in world.values:
            close(integrand(world, bound, "model", alpha), world.values[f"elbo_integrand/{name}/k{alpha}"])


def batch(source: MaskSource | UniformSource, seed: int = 0) -> tuple[Tensor, ...]:
    """log-probabilities (64, 5, 4), clean, noisy, α, rate."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randint(4, (64, 5), generator=generator)
    alpha = torch.rand(64, generator=generator, dtype=torch.float64) * 0.9 + 0.05
    u = torch.rand(2, 64, 5, generator=generator)
    logq = torch.randn(64, 5, 4, generator=generator, dtype=torch.float64).log_softmax(-1)
    rate = torch.rand(64, generator=generator, dtype=torch.float64)
    return logq, clean, source.noise(clean, alpha.float(), u[0], u[1]), alpha, rate


def test_score_entropy_of_a_masked_posterior_is_the_masked_bound() -> None:
    source = MaskSource(4)
    logq, clean, noisy, alpha, rate = batch(source)
    ratios = noisy_ratios(posterior_from_leave_one_out(logq, noisy, alpha, source), noisy, alpha, source)
    ours = bounds.masked(logq, clean, noisy, alpha, rate, source)
    close(bounds.score_entropy(ratios.log(), clean, noisy, alpha, rate, source).nan_to_num(), ours, 1e-12)
    close(bounds.generalised_kl(logq, clean, noisy, alpha, rate, source)[noisy == 4], ours[noisy == 4], 1e-12)


def test_score_entropy_of_a_uniform_model_is_the_uniform_bound() -> None:
    source = UniformSource(4)
    logq, clean, noisy, alpha, rate = batch(source)
    ratios = noisy_ratios(posterior_from_leave_one_out(logq, noisy, alpha, source), noisy, alpha, source)
    score = bounds.score_entropy(ratios.log(), clean, noisy, alpha, rate, source)
    close(score, bounds.uniform(logq, clean, noisy, alpha, rate), 1e-11)
    assert (score > -1e-12).all()


@pytest.mark.parametrize("source", [MaskSource(4), UniformSource(4)], ids=["mask", "uniform"])
def test_many_steps_are_continuous_time(source: MaskSource | UniformSource) -> None:
    logq, clean, noisy, alpha, rate = batch(source)
    exact = (
        bounds.masked(logq, clean, noisy, alpha, rate, source)
        if isinstance(source, MaskSource)
        else bounds.uniform(logq, clean, noisy, alpha, rate)
    )
    for steps, tolerance in ((1000, 0.2), (100_000, 2e-3)):
        chain = bounds.finite_steps(logq, clean, noisy, alpha + rate / steps, alpha, steps, source)
        torch.testing.assert_close(chain, exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Polynomial(2.0)], ids=repr)
def test_the_masked_bound_does_not_depend_on_the_schedule(fixtures: Path, schedule: Schedule) -> None:
    world = World(fixtures, "mask")
    nodes, weights = np.polynomial.legendre.leggauss(40)
    total = 0.0
    for t, w in zip((nodes + 1) / 2, weights / 2, strict=True):
        time = torch.tensor(t, dtype=torch.float64)
        rate = -schedule.alpha_prime(time).item()
        total += w * rate * integrand(world, "masked", "model", schedule.alpha(time).item()).item()
    assert total == pytest.approx(world.values["nelbo/model"], abs=1e-8)


BOTH = ("generalised_kl", "score_entropy", "finite_steps")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("masked", "mask"), ("uniform", "uniform"), *((name, kind) for name in BOTH for kind in ("mask", "uniform"))],
)
def test_gradients(name: str, kind: str) -> None:
    source = MaskSource(4) if kind == "mask" else UniformSource(4)
    _, clean, noisy, alpha, rate = (x[:2] for x in batch(source))
    noisy[0] = clean[0]
    if kind == "mask":
        noisy[1] = 4
    given = (clean, noisy, alpha, rate)
    functions = {
        "masked": lambda x: bounds.masked(x, *given, source),
        "uniform": lambda x: bounds.uniform(x, *given),
        "generalised_kl": lambda x: bounds.generalised_kl(x, *given, source),
        "score_entropy": lambda x: bounds.score_entropy(x, *given, source),
        "finite_steps": lambda x: bounds.finite_steps(x, clean, noisy, alpha + 0.02, alpha, 50, source),
    }
    logits = torch.randn(2, 5, source.states if name == "score_entropy" else 4, dtype=torch.float64)
    logits.requires_grad_()
    scores = name == "score_entropy"
    assert torch.autograd.gradcheck(lambda x: functions[name](x if scores else x.log_softmax(-1)), logits)


def test_what_has_no_bound_is_refused() -> None:
    source = UniformSource(4)
    logq, clean, noisy, alpha, rate = batch(source)
    with pytest.raises(UsageError, match="leave-one-out view, not for the posterior"):
        bounds.uniform(logq, clean, noisy, alpha, rate, "posterior")
    for wrong, what in ((1.0, "alpha is 1"), (0.0, "alpha is 0")):
        with pytest.raises(UsageError, match=what):
            bounds.uniform(logq, clean, noisy, torch.full_like(alpha, wrong), rate)
    with pytest.raises(UsageError, match="have 4 classes, but the vocabulary is 3"):
        bounds.masked(logq, clean, noisy, alpha, rate, MaskSource(3))
    with pytest.raises(UsageError, match="alpha is 1"):
        bounds.masked(logq, clean, noisy, torch.ones_like(alpha), rate, MaskSource(4))
