"""Transition tensors against enumerated laws, published outputs and each other."""

from pathlib import Path as File

import pytest
import torch
from torch import Tensor

from tenfold.discrete import Linear, MaskSource, UniformSource, leave_one_out_from_posterior, noisy_ratios
from tenfold.discrete_diffusion import STEPS, interval
from tenfold.discrete_diffusion import Span as Interval
from tenfold.discrete_diffusion.samplers import steps
from tenfold.discrete_diffusion.samplers.steps import grid, largest_sigma, looped_alpha, remask, sigmas
from tenfold.errors import UsageError
from tests.discrete_diffusion.chains import SineSchedule, law, of_clean, posterior
from tests.discrete_diffusion.world import World, close

NAMES = {"euler": "euler", "dfm_solver": "exponential", "tau_leap": "tau_leap", "ancestral": "ancestral"}
SCHEDULES = {"linear": Linear(), "cosine": SineSchedule()}


@pytest.fixture(params=["mask", "uniform"])
def world(request: pytest.FixtureRequest, fixtures: File) -> World:
    return World(fixtures, request.param)


def recorded(world: World) -> list[tuple[str, str, int]]:
    """(schedule, kind, steps) of every law in a fixture."""
    names = [name.split("_", 2)[1:] for name in world.arrays if name.startswith("sampler_")]
    return [(schedule, *kind.rsplit("_N", 1)) for schedule, kind in names]  # type: ignore[misc]


def at(world: World, schedule: object, k: int, count: int) -> Interval:
    t, s = (torch.full((len(world.noisy),), v, dtype=torch.float64) for v in grid(count)[k : k + 2])
    return interval(schedule, t, s)  # type: ignore[arg-type]


def test_laws_of_all_steps(world: World) -> None:
    found = recorded(world)
    assert len(found) == (27 if world.kind == "mask" else 35)
    for name, kind, n in found:
        schedule, count = SCHEDULES[name], int(n)

        def transition(k: int, kind: str = kind, schedule: object = schedule, count: int = count) -> Tensor:
            step = at(world, schedule, k, count)
            prediction = posterior(world, step.alpha)
            if kind == "ancestral_loo":
                # The fixture's logits are the leave-one-out prediction itself.
                return steps.ancestral(world["logits_factorised"].log_softmax(-1), world.noisy, step, world.source)
            return STEPS[NAMES[kind]].transition(prediction, world.noisy, step, world.source)

        close(of_clean(world, law(world, transition, count)), world[f"sampler_{name}_{kind}_N{n}"])


def test_the_exact_model_is_reached(world: World) -> None:
    """With the true posteriors ancestral steps come to the data's law as steps get shorter."""
    distance = []
    for count in (8, 64):

        def transition(k: int, count: int = count) -> Tensor:
            step = at(world, Linear(), k, count)
            p = world.marginals(float(step.alpha[0]))
            p = torch.where(p.isfinite().any(-1, keepdim=True), p, 0.0).log_softmax(-1).exp()
            if world.kind == "uniform":
                p = leave_one_out_from_posterior(p.log(), world.noisy, step.alpha, world.source).exp()
            return steps.ancestral(p.log(), world.noisy, step, world.source)

        found = of_clean(world, law(world, transition, count))
        distance.append(float((found - world["p1"]).abs().sum() / 2))
    assert distance[1] < distance[0] / 5
    assert distance[1] < 0.02


def random_step(world: World, t: float = 0.7, s: float = 0.4) -> tuple[Interval, Tensor]:
    step = interval(Linear(), *(torch.full((len(world.noisy),), v, dtype=torch.float64) for v in (t, s)))
    return step, posterior(world, step.alpha)


def test_analytic_is_ancestral(world: World) -> None:
    step, p = random_step(world)
    ratios = noisy_ratios(p, world.noisy, step.alpha, world.source)
    ours = steps.analytic(ratios, world.noisy, step, world.source)
    q = p if world.kind == "mask" else leave_one_out_from_posterior(p, world.noisy, step.alpha, world.source)
    close(ours, steps.ancestral(q, world.noisy, step, world.source), 1e-13)


def test_with_masks_euler_is_ancestral_on_the_linear_schedule(fixtures: File) -> None:
    world = World(fixtures, "mask")
    step, p = random_step(world)
    close(steps.euler(p, world.noisy, step, world.source), steps.ancestral(p, world.noisy, step, world.source), 1e-14)


def test_ancestral_integrates_the_clean_token_out(fixtures: File) -> None:
    """Σ_b P(b) p(x_s | x_t, x_0 = b), with certainties as predictions, is the step of the leave-one-out view."""
    world = World(fixtures, "uniform")
    step, p = random_step(world)
    total = torch.zeros(len(world.noisy), 3, 4, dtype=torch.float64)
    for b in range(4):
        certain = torch.nn.functional.one_hot(torch.full_like(world.noisy, b), 4).double().log()
        total += p[..., b : b + 1].exp() * steps.ancestral(certain, world.noisy, step, world.source)
    q = leave_one_out_from_posterior(p, world.noisy, step.alpha, world.source)
    close(total, steps.ancestral(q, world.noisy, step, world.source), 1e-13)


def test_the_corrector_keeps_the_noisy_law(world: World) -> None:
    """Σ_x p_t(x) R(x, y) = 0 of the generator, from a difference quotient of the transition tensor."""
    alpha, small = world.alpha(0.4), 1e-6
    p_t, states = world["pt_k0.4"], world.source.states
    p = torch.where(world["post_marginal_k0.4"].isfinite(), world["post_marginal_k0.4"], 0.25)
    strength = torch.full_like(alpha, small)
    moved = steps.corrector(p.log(), world.noisy, alpha, strength, world.source)
    rate = (moved - torch.nn.functional.one_hot(world.noisy, states)) / small
    flow = torch.zeros_like(p_t)
    for site in range(3):
        for y in range(states):
            target = world.noisy.clone()
            target[:, site] = y
            index = (target * states ** torch.arange(2, -1, -1)).sum(1)
            flow.index_add_(0, index, p_t * rate[:, site, y])
    assert rate.abs().max() > 0.1
    assert flow.abs().max() < 1e-6


def test_remasking_keeps_the_marginals(fixtures: File) -> None:
    """For any σ the share of masks is that of the schedule, and σ = 0 is the ancestral step."""
    world = World(fixtures, "mask")
    source = world.source
    assert isinstance(source, MaskSource)
    step, p = random_step(world)
    zero = torch.zeros(world.noisy.shape, dtype=torch.float64)
    close(remask(p, world.noisy, step, zero, source), steps.ancestral(p, world.noisy, step, source), 1e-14)
    limit = largest_sigma(step)
    close(limit, torch.full_like(limit, 1.0))  # (1 − 0.6)/0.3 > 1
    for kind in ("cap", "rescale", "confidence"):
        ones = torch.rand(world.noisy.shape, dtype=torch.float64)
        sigma = sigmas(kind, 0.3, step, world.noisy, ones, source)  # type: ignore[arg-type]
        moved = remask(p, world.noisy, step, sigma, source)
        close(moved.sum(-1), torch.ones_like(moved[..., 0]), 1e-13)
        if kind != "confidence":
            masked = world.noisy == source.mask
            at_mask = moved[..., source.mask]
            share = 0.3 * at_mask[~masked].mean() + 0.7 * at_mask[masked].mean()
            assert float(share) == pytest.approx(0.4)
    late = interval(Linear(), torch.tensor([0.2]), torch.tensor([0.1]))
    assert float(largest_sigma(late)) == pytest.approx(0.1 / 0.8)
    t = torch.tensor([1.0, 0.6, 0.4, 0.06, 0.0])
    alpha = looped_alpha(t, (0.55, 0.05, 0.9))
    torch.testing.assert_close(alpha, torch.tensor([0.0, 0.8, 0.9, 0.9, 1.0]))


def test_bad_input() -> None:
    step = interval(Linear(), torch.tensor([0.5]), torch.tensor([0.25]))
    log_p, noisy = torch.zeros(1, 2, 4).log_softmax(-1), torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(UsageError, match="drop the mask's column"):
        steps.euler(torch.zeros(1, 2, 5), noisy, step, MaskSource(4))
    with pytest.raises(UsageError, match="needs a mask, which the uniform source has not"):
        remask(log_p, noisy, step, torch.zeros(1, 2), UniformSource(4))
    with pytest.raises(UsageError, match="exceeds its bound"):
        remask(log_p, noisy, step, torch.full((1, 2), 1.1), MaskSource(4))
    with pytest.raises(UsageError, match="eta is 2"):
        sigmas("cap", 2.0, step, noisy, torch.ones(1, 2), MaskSource(4))
    with pytest.raises(UsageError, match="steps need 0 ≤ s < t ≤ 1"):
        interval(Linear(), torch.tensor([0.5]), torch.tensor([0.5]))
    first = interval(Linear(), torch.tensor([1.0]), torch.tensor([0.5]))
    with pytest.raises(UsageError, match="infinite where α_t is 0"):
        steps.analytic(torch.ones(1, 2, 5), noisy, first, MaskSource(4))
    with pytest.raises(UsageError, match="ratios have 4 states"):
        steps.analytic(torch.ones(1, 2, 4), noisy, step, MaskSource(4))
    with pytest.raises(UsageError, match="at least one step"):
        grid(0)
