"""Drawn chains against exact laws (chi-square on 20,000 draws), calls, prompts, and what is refused."""

import math
from pathlib import Path as File

import pytest
import torch
from torch import Tensor

from tenfold.discrete import Linear
from tenfold.discrete_diffusion import ChainOptions, Random, Sampled, interval, noise, predicted_chain, run_chain
from tenfold.discrete_diffusion import number_of as number
from tenfold.discrete_diffusion.samplers import steps
from tenfold.discrete_diffusion.samplers.prediction import guided, sharpened
from tenfold.errors import UsageError
from tests.discrete_diffusion.chains import SineSchedule, Table, law, of_clean, p_value, posterior
from tests.discrete_diffusion.world import World

COUNT = 20_000


@pytest.fixture(params=["mask", "uniform"])
def world(request: pytest.FixtureRequest, fixtures: File) -> World:
    return World(fixtures, request.param)


def drawn(world: World, options: ChainOptions, schedule: object = None, count: int = COUNT, seed: int = 1) -> Sampled:
    clean = torch.zeros(count, 3, dtype=torch.long)
    random = Random(seed)
    start = noise(world.source, clean, torch.zeros_like(clean, dtype=torch.bool), random)
    return run_chain(Table(world), schedule or Linear(), start, options, random.generator)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["ancestral", "exponential", "tau_leap"])
def test_grids_draw_from_their_laws(world: World, kind: str) -> None:
    fixture = {"ancestral": "ancestral", "exponential": "dfm_solver", "tau_leap": "tau_leap"}[kind]
    if world.kind == "uniform" and kind == "ancestral":
        fixture = "ancestral_loo"
    for name, schedule in (("linear", Linear()), ("cosine", SineSchedule())):
        found = drawn(world, ChainOptions(kind=kind, steps=4), schedule)  # type: ignore[arg-type]
        assert p_value(found.tokens, world[f"sampler_{name}_{fixture}_N4"]) > 1e-3
        assert found.calls == 4
        # The test would notice another law.
        assert p_value(found.tokens, world["p1"]) < 1e-6


def test_jumps_at_their_own_times_are_the_chain_of_any_order(fixtures: File) -> None:
    world = World(fixtures, "mask")
    found = drawn(world, ChainOptions(kind="first_hitting"))
    assert found.calls == 3
    assert p_value(found.tokens, world["anyorder_model_distribution"]) > 1e-3
    assert drawn(world, ChainOptions(kind="first_hitting", per_call=2), count=64).calls == 2
    assert drawn(world, ChainOptions(kind="first_hitting", per_call=3), count=64).calls == 1


def test_gillespie_has_the_law_of_many_short_steps(fixtures: File) -> None:
    world = World(fixtures, "uniform")

    # Short steps in −log(1 − α), down to the sampler's floor, where all tokens are drawn.
    count, floor = 400, 1e-2
    times = [math.exp(math.log(floor) * k / count) for k in range(count + 1)]

    def transition(k: int) -> Tensor:
        t = torch.full((64,), times[k], dtype=torch.float64)
        if k == count:
            return posterior(world, 1 - t).exp()
        hazard = torch.full((64,), -math.log(floor) / count, dtype=torch.float64)
        return steps.tau_leap(
            posterior(world, 1 - t), world.noisy, steps.Span(1 - t, 1 - t, hazard, False), world.source
        )

    expected = of_clean(world, law(world, transition, count + 1))
    found = drawn(world, ChainOptions(kind="gillespie", floor=floor))
    assert p_value(found.tokens, expected) > 1e-3


def test_cached_calls(fixtures: File) -> None:
    """Rows asked for: Σ_n [1 − (1 − p)^L] with p = 1/N on the linear schedule; the law is that of ancestral steps."""
    world, n = World(fixtures, "mask"), 8
    found = drawn(world, ChainOptions(kind="cached", steps=n))
    assert p_value(found.tokens, world["sampler_linear_ancestral_N8"]) > 1e-3
    expected = n * (1 - (1 - 1 / n) ** 3)
    assert found.rows / COUNT == pytest.approx(expected, rel=0.03)
    assert found.rows < 0.5 * drawn(world, ChainOptions(steps=n)).rows


def test_predictions_along_a_chain(fixtures: File) -> None:
    """A chain whose steps are recorded is the ancestral one; what it keeps of a prediction stays."""
    world = World(fixtures, "mask")
    found = predicted_chain(Table(world), Linear(), torch.full((COUNT, 3), 4), 4, Random(0))
    assert p_value(found.tokens, world["sampler_linear_ancestral_N4"]) > 1e-3
    masked = found.noisy == 4
    assert masked[0].all()
    after = torch.cat([found.noisy[1:], found.tokens[None]])
    kept = masked & (after != 4)
    assert torch.equal(after[kept], found.predicted[kept])
    assert torch.equal(found.predicted[~masked], found.noisy[~masked])
    assert kept.sum(0).eq(1).all()


def test_candidates(world: World) -> None:
    """k = 1 and window = 0 are the plain chain; many candidates draw from the corrected posterior."""

    def ratio(clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        # Log-ratios of a table by (noisy, clean).
        return world["log_ratio"][number(noisy, world.source.states), number(clean, 4)]

    clean = torch.zeros(COUNT, 3, dtype=torch.long)
    random = Random(0)
    start = noise(world.source, clean, torch.zeros_like(clean, dtype=torch.bool), random)
    plain = "sampler_linear_ancestral_N2" if world.kind == "mask" else "sampler_linear_ancestral_loo_N2"
    table = Table(world)
    none = run_chain(
        table, Linear(), start, ChainOptions(steps=2, candidates=4, window=0.0), random.generator, None, ratio
    )
    assert p_value(none.tokens, world[plain]) > 1e-3
    one = run_chain(table, Linear(), start, ChainOptions(steps=1, candidates=64), random.generator, None, ratio)
    # One step: everything is drawn from p_ref · r given pure noise.
    if world.kind == "mask":
        weights = ratio(world.clean, torch.full_like(world.clean, 4), torch.ones(64)).exp()
        p = posterior(world, world.alpha(0.0))[-1].exp()
        target = weights * torch.stack([p[i, world.clean[:, i]] for i in range(3)]).prod(0)
        shares = torch.bincount(number(one.tokens, 4), minlength=64) / COUNT
        # Choosing among k has a bias of order 1/k.
        assert float((shares - target / target.sum()).abs().sum() / 2) < 0.06
    with pytest.raises(UsageError, match="go together"):
        run_chain(table, Linear(), start, ChainOptions(candidates=2))


def test_corrector_and_remasking_come_nearer_to_the_data(fixtures: File) -> None:
    """With true posteriors, few ancestral steps miss the dependence of tokens; moves that take tokens back repair."""
    world = World(fixtures, "mask")
    source = world.source
    p = world.marginals(0.4).exp()
    table = Table(world, p.log())
    start = torch.full((COUNT, 3), source.vocabulary)

    def distance(options: ChainOptions) -> float:
        found = run_chain(table, Linear(), start, options, 3).tokens
        shares = torch.bincount(number(found, 4), minlength=64) / COUNT
        return float((shares - world["p1"]).abs().sum() / 2)

    plain = distance(ChainOptions(steps=4))
    assert distance(ChainOptions(steps=4, corrector=1.0)) < plain - 0.005
    assert distance(ChainOptions(steps=16, kind="remask", sigma="cap", eta=0.3)) < plain - 0.01
    for sigma in ("rescale", "confidence", "loop"):
        found = run_chain(table, Linear(), start[:256], ChainOptions(kind="remask", sigma=sigma, steps=8), 0)  # type: ignore[arg-type]
        assert (found.tokens < 4).all()


def test_analytic_chain_is_the_ancestral_one(world: World) -> None:
    expected = world["sampler_linear_ancestral_N4" if world.kind == "mask" else "sampler_linear_ancestral_loo_N4"]
    found = drawn(world, ChainOptions(kind="analytic", steps=4), Linear(1e-6))
    assert p_value(found.tokens, expected) > 1e-3


def test_euler_leaves_no_mask(fixtures: File) -> None:
    found = drawn(World(fixtures, "mask"), ChainOptions(kind="euler", steps=2), SineSchedule(), 512)
    assert (found.tokens < 4).all()
    assert found.calls == 3


@pytest.mark.parametrize(
    "kind", ["ancestral", "cached", "remask", "confidence", "first_hitting", "gillespie", "tau_leap", "euler"]
)
def test_prompts_stay(world: World, kind: str) -> None:
    options = ChainOptions(kind=kind, steps=4)  # type: ignore[arg-type]
    clean = torch.tensor([[1, 0, 2]]).expand(200, -1)
    prompt = torch.tensor([[True, False, True]]).expand(200, -1)
    start = noise(world.source, clean, prompt, Random(0))
    mask_only = kind in ("cached", "remask", "confidence", "first_hitting")
    if (world.kind == "uniform" and mask_only) or (world.kind == "mask" and kind == "gillespie"):
        with pytest.raises(UsageError, match=r"uniform|with a mask"):
            run_chain(Table(world), Linear(), start, options, 0, prompt)
        return
    found = run_chain(Table(world), Linear(), start, options, 0, prompt)
    assert torch.equal(found.tokens[prompt], clean[prompt])
    assert (found.tokens < 4).all()
    assert found.tokens[:, 1].unique().numel() > 1


def test_same_seed_same_tokens(world: World) -> None:
    options = ChainOptions(steps=4, corrector=0.2)
    first, again, other = (drawn(world, options, count=64, seed=seed).tokens for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_sharpened() -> None:
    log_p = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    torch.testing.assert_close(sharpened(log_p, 1.0, 0.6).exp(), torch.tensor([0.625, 0.375, 0.0, 0.0]))
    torch.testing.assert_close(sharpened(log_p, 1.0, 0.4).exp(), torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert sharpened(log_p, 0.0, None).exp().tolist() == [1.0, 0.0, 0.0, 0.0]
    squared = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    torch.testing.assert_close(sharpened(log_p, 0.5, None).exp(), squared / squared.sum())
    assert sharpened(log_p, 1.0, 1.0) is log_p


def test_guidance(fixtures: File) -> None:
    a, b = torch.tensor([0.5, 0.5, 0.0]).log(), torch.tensor([0.2, 0.4, 0.4]).log()
    expected = torch.tensor([0.5**2 / 0.2, 0.5**2 / 0.4, 0.0])
    torch.testing.assert_close(guided(a, b, 1.0).exp(), expected / expected.sum())
    torch.testing.assert_close(guided(a, b, 0.0), a)
    world = World(fixtures, "mask")
    start, prompt = torch.tensor([[1, 4, 4]]), torch.tensor([[True, False, False]])
    found = run_chain(Table(world), Linear(), start, ChainOptions(steps=4, guidance=1.0), 0, prompt)
    assert found.calls == 8
    with pytest.raises(UsageError, match="needs a prompt"):
        run_chain(Table(world), Linear(), start, ChainOptions(guidance=1.0))


def test_draws_are_float64() -> None:
    """Tokens of probability 1e-9 come out 1e-9 of the time, not never: the numbers have 53 bits."""
    numbers = Random(0)(1000, device=torch.device("cpu"))
    assert numbers.dtype == torch.float64
    assert ((numbers * 2**32) % 1 != 0).any()


def test_times_of_a_network_that_is_told(world: World) -> None:
    class Told(Table):
        time_conditioned = True

        def forward(self, noisy: Tensor, time: Tensor | None, rows: Tensor | None = None) -> Tensor:
            assert time is not None
            assert time.shape == noisy.shape[:1]
            assert time.dtype == torch.float64
            told.append(float(time[0]))
            return super().forward(noisy, time, rows)

    told: list[float] = []
    start = torch.zeros(1, 3, dtype=torch.long) + (4 if world.kind == "mask" else 0)
    run_chain(Told(world), Linear(), start, ChainOptions(steps=4))
    assert told == [1.0, 0.75, 0.5, 0.25]
    told.clear()
    run_chain(Told(world), Linear(), start, ChainOptions(kind="first_hitting" if world.kind == "mask" else "gillespie"))
    assert told == sorted(told, reverse=True)
    assert len(set(told)) == len(told) > 2


def test_bad_input(fixtures: File) -> None:
    world = World(fixtures, "mask")

    class Told(Table):
        time_conditioned = True

    start = torch.full((1, 3), 4)
    with pytest.raises(UsageError, match="told the time"):
        run_chain(Told(world), Linear(), start, ChainOptions(kind="cached"))
    with pytest.raises(UsageError, match="the prompt holds masks"):
        run_chain(Table(world), Linear(), start, ChainOptions(), 0, torch.ones(1, 3, dtype=torch.bool))
    with pytest.raises(UsageError, match="holds the token 5"):
        run_chain(Table(world), Linear(), start + 1, ChainOptions())
    for changes, words in (
        ({"steps": 0}, "steps is 0"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"eta": 1.5}, "eta is 1.5"),
        ({"floor": 0.0}, "floor is 0"),
        ({"power": 0.0}, "power is 0"),
        ({"kind": "gillespie", "corrector": 1.0}, "corrector belongs to a grid"),
        ({"kind": "euler", "candidates": 2}, "kind 'ancestral'"),
        ({"loop": (0.1, 0.5, 0.9)}, "loop is"),
    ):
        with pytest.raises(UsageError, match=words):
            ChainOptions(**changes)  # type: ignore[arg-type]


def test_the_last_step_ends_at_clean_tokens() -> None:
    step = interval(Linear(0.1), torch.ones(1), torch.zeros(1))
    assert step.last
    assert step.alpha_next.tolist() == [1.0]
    assert step.alpha.item() == pytest.approx(0.1)
