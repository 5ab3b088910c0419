"""What must hold of every run: invariances, unbiasedness, control, rejuvenation, constraints and events."""

import math
from itertools import permutations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from tenfold.energy.closed_forms import GaussianMixture, KernelDensity, LinearLikelihood, product_at
from tenfold.energy.composition import InHalfSpace, composed, mixture, reward
from tenfold.energy.feynman_kac import (
    ControlOptions,
    GridOptions,
    MoveOptions,
    ParticleRun,
    ParticleSampler,
    ProposalOptions,
    ResamplingOptions,
    Start,
    WeightOptions,
    adaptive_grid,
    calibrate,
    energy_log_likelihood,
    event_probability,
    flow_log_likelihood,
)
from tenfold.energy.feynman_kac import control as controls
from tenfold.energy.feynman_kac.divergence import divergence
from tenfold.energy.feynman_kac.moves import mala
from tenfold.energy.feynman_kac.randomness import Numbers
from tenfold.energy.feynman_kac.steps import NoiseStep
from tenfold.energy.noise import karras_grid, variance_preserving
from tenfold.smc.adaptive import resample_where
from tenfold.smc.resampling import SCHEMES
from tests.energy.forms import close, number, pair
from tests.energy.test_composition import ScoreOnly

GRID = GridOptions(24, 0.02, 40.0)
PLAIN = ControlOptions("none")


def run_of(target, grid=GRID, m: int = 4, n: int = 64, seed: int = 0, **options) -> ParticleRun:
    how = {name: options.pop(name) for name in ("chunk", "first", "start") if name in options}
    options.setdefault("control", PLAIN)
    return ParticleSampler(target, grid, **options).sample(m, n, seed, dtype=torch.float64, **how)


def unbiased(log_z: Tensor, truth: Tensor, errors: float = 4.0) -> tuple[float, float]:
    """Whether the mean of Ẑ/Z is 1 within so many standard errors; returns mean and standard error."""
    ratio = (log_z - truth).exp()
    error = float(ratio.std()) / math.sqrt(len(ratio))
    assert abs(float(ratio.mean()) - 1) < errors * error
    return float(ratio.mean()), error


class Shifted:
    """An energy with another constant at every level."""

    normalised = False

    def __init__(self, inner: GaussianMixture) -> None:
        self.inner, self.shape, self.data_scale = inner, inner.shape, inner.data_scale

    def constant(self, sigma: Tensor) -> Tensor:
        return 3 * torch.sin(5 * sigma) + sigma.log()

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.score(x, sigma)

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.log_density(x, sigma) + self.constant(sigma)

    def log_density_and_score(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        log, score = self.inner.log_density_and_score(x, sigma)
        return log + self.constant(sigma), score


def test_one_exact_model_needs_no_weights() -> None:
    a, _ = pair()
    spreads = []
    for steps in (12, 36, 108):
        run = run_of(a, GridOptions(steps, 0.02, 40.0), m=8, n=64, resampling=ResamplingOptions(threshold=0.0))
        spreads.append(float(run.log_weights.std(1).mean()))
        assert run.evidence.standard_error is not None
        assert abs(run.evidence.log_z) < 4 * run.evidence.standard_error
    assert spreads[0] > spreads[1] > spreads[2]
    assert float(run.weighted.effective_size.min()) > 0.8 * 64


@pytest.mark.parametrize("control", ["none", "ecg"])
def test_constants_change_log_z_alone(control: str) -> None:
    a, b = pair()
    options = {"control": ControlOptions(control, frozen=False), "moves": MoveOptions(1)}
    plain, moved = run_of(2 * a & b, **options), run_of(2 * composed(Shifted(a)) & b, **options)
    close(moved.particles, plain.particles)
    close(moved.weighted.weights, plain.weighted.weights)
    shift = 2 * Shifted(a).constant(plain.sigma)
    close(moved.log_path - plain.log_path, shift[:, None].expand_as(plain.log_path))


def test_variance_preserving_noise_is_the_same_run() -> None:
    """The exact weight of one step in the other convention, written out: kernels and densities of α x."""
    a, b = pair()
    target, span = 1.5 * a & 0.5 * b, NoiseStep(number(2.0), number(1.3))
    x, y = torch.randn(2, 30, 2, dtype=torch.float64)
    scale, scale_next = variance_preserving(span.sigma).scale, variance_preserving(span.sigma_next).scale

    def log_normal(at: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return -((at - mean).square().sum(1) / variance + 2 * (2 * math.pi * variance).log()) / 2

    # VE: noising x' -> x adds v. VP: x_t = (α/α') x'_t + N(0, α² v).
    here = log_normal(x, y, span.v) + target.log_density(y, span.sigma_next) - target.log_density(x, span.sigma)
    xs, ys = scale * x, scale_next * y
    there = log_normal(xs, scale / scale_next * ys, scale.square() * span.v)
    order, d = 2.0, 2
    there = there + target.log_density(ys / scale_next, span.sigma_next) - order * d * scale_next.log()
    there = there - (target.log_density(xs / scale, span.sigma) - order * d * scale.log())
    # The proposal's density changes by d log α' as well, and what remains is (B − 1) d log(α/α').
    proposal = -d * scale_next.log()
    close(there - proposal - here, ((order - 1) * d * (scale / scale_next).log()).expand(30))


def test_a_run_in_variance_preserving_noise_is_the_same() -> None:
    """A whole run on x_t = α x_0 + s n, written out with densities, kernels and proposals of its own, from the same
    numbers: the same ancestors and normalised weights; log Z differs by (B − 1) d log α."""
    a, b = pair()
    target, order, d, n = 1.5 * a & 0.5 * b, 2.0, 2, 64
    run = run_of(target, m=1, n=n)
    numbers = Numbers(0, 1, n, torch.device("cpu"), torch.float64)
    noise = [variance_preserving(sigma) for sigma in run.sigma]
    models = [
        [
            (power, GaussianMixture(one.weights, here.scale * one.means, here.scale.square() * one.covariances))
            for power, one in ((1.5, a), (0.5, b))
        ]
        for here in noise
    ]

    def said(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        found = [(p, *model.log_density_and_score(x, noise[k].noise)) for p, model in models[k]]
        return sum(p * log for p, log, _ in found), sum(p * score for p, _, score in found)  # type: ignore[return-value]

    def log_normal(x: Tensor, variance: Tensor) -> Tensor:
        return -(x.square().sum(1) / variance + d * (2 * math.pi * variance).log()) / 2

    # At the first level α² (σ² + σ_d²) is s² + (α σ_d)².
    first = noise[0]
    variance = (first.noise.square() + (first.scale * target.data_scale) ** 2) / order
    x = variance.sqrt() * numbers.normal("start", 0, (2,))
    log, score = said(x, 0)
    logs, log_z = log - log_normal(x, variance), number(0.0)
    began, delta = logs.logsumexp(0) - math.log(n), target.data_scale
    for k in range(len(noise) - 1):
        here, there = noise[k], noise[k + 1]
        ratio = there.scale / here.scale
        kept = here.noise.square() - (there.noise / ratio).square()  # noising of x_t from x_t' in units of x_t
        wide = (there.noise / ratio).square() + (here.scale * delta) ** 2
        pull, spread = kept * (wide + kept) / (wide + order * kept), kept * wide / (wide + order * kept)
        step = pull * score + spread.sqrt() * numbers.normal("step", k, (2,))
        after = ratio * (x + step)
        log_after, score_after = said(after, k + 1)
        forward = log_normal(ratio * (step - pull * score), ratio.square() * spread)
        logs = logs + log_after - log + log_normal(x - after / ratio, kept) - forward
        last = k + 2 == len(noise)
        done = resample_where(logs[None], numbers.shared("resampling", k, 1), 0.0 if last else 0.5)
        assert torch.equal(done.ancestors, run.ancestors[k])
        logs, log_z = done.log_weights[0], log_z + done.log_mean[0]
        x, log, score = (part[done.ancestors[0]] for part in (after, log_after, score_after))
    close(x / noise[-1].scale, run.particles[0], 1e-7)
    close(logs.softmax(0), run.weighted.weights[0], 1e-7)
    found = log_z + logs.logsumexp(0) - math.log(n)
    shift = (order - 1) * d * (noise[0].scale / noise[-1].scale).log()
    close(found - began - run.log_ratio[0], shift, 1e-7)


def test_order_of_models_and_particles(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    one, other = run_of(a & b), run_of(b & a)
    close(one.particles, other.particles)
    close(one.log_z, other.log_z)
    assert torch.equal(one.ancestors, other.ancestors)
    for first, second in permutations((2 * a, a & a), 2):
        close(run_of(first).particles, run_of(second).particles)
    # Particles with permuted numbers are permuted, until ancestors are drawn; a control fitted to them is the same.
    options = {"control": ControlOptions("ecg", frozen=False), "resampling": ResamplingOptions(threshold=0.0)}
    plain, order = run_of(a & b, m=1, **options), torch.randperm(64, generator=torch.Generator().manual_seed(0))
    normal = Numbers.normal
    monkeypatch.setattr(Numbers, "normal", lambda *given: normal(*given)[order])
    permuted = run_of(a & b, m=1, **options)
    close(permuted.particles, plain.particles[:, order])
    close(permuted.log_weights, plain.log_weights[:, order])
    close(permuted.theta, plain.theta)
    close(permuted.log_z, plain.log_z)


def test_chunks_and_populations_change_nothing() -> None:
    a, b = pair()
    options = {"control": ControlOptions("ecg", pilot=64), "moves": MoveOptions(1)}
    grid = GridOptions(10, 0.02, 40.0)
    whole = run_of(a & b, grid, **options)
    pieces = run_of(a & b, grid, chunk=37, **options)
    close(pieces.particles, whole.particles)
    close(pieces.log_path, whole.log_path)
    assert torch.equal(pieces.ancestors, whole.ancestors)
    sampler = ParticleSampler(a & b, grid, **options)
    first, again = (sampler.sample(4, 64, seed, dtype=torch.float64) for seed in (7, 0))
    close(again.particles, whole.particles)
    assert first.units - again.units == 64 * 21 * 6  # the pilot runs once
    later = run_of(a & b, grid, m=2, first=2, **options)
    close(later.particles, whole.particles[2:])
    close(later.log_path, whole.log_path[:, 2:])
    assert not torch.equal(first.particles, whole.particles)


def test_each_step_uses_its_numbers_whether_needed_or_not() -> None:
    """The same noise moves particles whatever was resampled before: up to the first resampling runs agree."""
    a, b = pair()
    never, often = (run_of(a & b, resampling=ResamplingOptions(threshold=t)) for t in (0.0, 0.9))
    first = int(often.resampled.any(1).nonzero()[0, 0])
    close(never.log_path[: first + 2], often.log_path[: first + 2])
    assert not bool(never.resampled.any())
    assert torch.equal(never.roots, torch.arange(64).expand(4, 64))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("steps", [6, 12])
def test_the_evidence_of_tiny_runs_is_unbiased(scheme: str, steps: int) -> None:
    """E[Ẑ] = Z for 16 particles and a coarse grid: 1,500 populations at once."""
    a, b = pair()
    run = run_of(
        a & b, GridOptions(steps, 0.02, 20.0), 1500, 16, seed=steps, resampling=ResamplingOptions(scheme=scheme)
    )
    unbiased(run.log_z, product_at(a, b, 0.02)[0])


def test_frozen_control_is_unbiased_and_tighter() -> None:
    a, b = pair()
    truth = product_at(a, b, 0.02)[0]
    grid = GridOptions(12, 0.02, 20.0)
    _, plain = unbiased(run_of(a & b, grid, 3000, 16, seed=5).log_z, truth)
    _, frozen = unbiased(run_of(a & b, grid, 3000, 16, seed=5, control=ControlOptions("ecg")).log_z, truth)
    assert frozen < 1.2 * plain


@pytest.mark.parametrize("target", ["product", "beta2"])
def test_control_halves_the_spread(target: str) -> None:
    """T = 64, N = 256, 32 populations, each with coefficients of one pilot or with its own."""
    a, b = pair()
    made = a & b if target == "product" else 2 * a
    truth = product_at(a, b if target == "product" else a, 0.02)[0]
    plain = run_of(made, GridOptions(64, 0.02, 40.0), 32, 256, seed=2)
    kinds = {"product": ControlOptions("vcg"), "beta2": ControlOptions("ecg", frozen=False)}
    for control in (ControlOptions("ecg"), kinds[target]):
        run = run_of(made, GridOptions(64, 0.02, 40.0), 32, 256, seed=2, control=control)
        assert run.log_z.std() < 0.6 * plain.log_z.std()
        assert run.control_failures == 0
        assert control.frozen == (not any("log Z is biased" in said for said in run.warnings))
        if control.frozen:
            unbiased(run.log_z, truth)
            assert run.units > plain.units


def test_control_without_strength_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    zero = lambda logs, rates, bases, ridge: controls.Fitted(  # noqa: E731
        torch.zeros(len(logs), bases.fields.shape[2], dtype=torch.float64), number(0.0)
    )
    monkeypatch.setattr(controls, "energy_control", zero)
    run, plain = run_of(a & b, control=ControlOptions("ecg", frozen=False)), run_of(a & b)
    assert torch.equal(run.particles, plain.particles)
    assert torch.equal(run.log_z, plain.log_z)


def test_a_control_without_solution_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair()
    plain = controls.total_rate
    monkeypatch.setattr(controls, "total_rate", lambda *given: plain(*given) * torch.nan)
    run = run_of(a & b, control=ControlOptions("ecg", frozen=False))
    assert run.control_failures == 4 * 24
    assert "the control had no solution 96 time(s)" in "".join(run.warnings)
    assert torch.equal(run.particles, run_of(a & b).particles)


def test_terms_of_the_control_have_mean_zero() -> None:
    """E_γ[s · b + ∇ · b] = 0 for every basis, and the probe's divergences are right."""
    a, b = pair()
    _, exact = product_at(a, b, 0.8)
    x = exact.sample(40_000, 0.0, seed=1)
    found = composed(a & b).evaluate(x, number(0.8), parts=True)
    laplacians = torch.stack([one.laplacian(x, number(0.8)) for one in (a, b)], 1)
    bases = controls.bases_of(x, found, 1)
    h = controls.stein(found, bases, laplacians, 2)[0]
    assert h.shape == (40_000, 3)
    error = h.std(0) / math.sqrt(len(x))
    assert bool((h.mean(0).abs() < 4 * error).all())
    by_probe = divergence(lambda y: a.score(y, number(0.8)), x[:50], number(1e-4), "full")
    close(by_probe, laplacians[:50, 0], 1e-6)
    signs = torch.where(torch.rand(20_000, 2) < 0.5, -1.0, 1.0).double()
    one = x[:1].expand(20_000, 2).contiguous()
    probes = divergence(lambda y: a.score(y, number(0.8)), one, number(1e-4), "probe", signs)
    assert abs(float(probes.mean() - laplacians[0, 0])) < 4 * float(probes.std()) / math.sqrt(20_000) + 1e-6


def test_moves_keep_the_density_and_accept_one_by_one() -> None:
    a, _ = pair()
    sigma, x = number(0.5), a.sample(20_000, 0.5, seed=1)
    found = composed(a).evaluate(x, sigma)
    h = torch.full((20_000,), 0.3, dtype=torch.float64)
    z, u = torch.randn(20_000, 2, dtype=torch.float64), torch.rand(20_000, dtype=torch.float64)
    done = mala(lambda y: composed(a).evaluate(y, sigma), x, found, h, z, u)
    rate = float(done.accepted.double().mean())
    assert 0.3 < rate < 0.98
    assert torch.equal(done.x[~done.accepted], x[~done.accepted])
    close(done.found.log_density, a.log_density(done.x, sigma))
    close(done.found.full_score, a.score(done.x, sigma))
    error = float((done.x - x).std()) / math.sqrt(20_000)
    assert (done.x.mean(0) - x.mean(0)).abs().max() < 5 * error
    assert (torch.cov(done.x.T) - torch.cov(x.T)).abs().max() < 0.05
    # The line integral of a gradient is third-order exact: nearly the same decisions.
    scored = mala(lambda y: composed(a).evaluate(y, sigma, "score"), x, found, h / 30, z, u, from_score=True)
    valued = mala(lambda y: composed(a).evaluate(y, sigma), x, found, h / 30, z, u)
    assert float((scored.accepted == valued.accepted).double().mean()) > 0.995


@pytest.mark.parametrize("moves", [MoveOptions(2), MoveOptions(waste_free=4)], ids=["moves", "waste-free"])
def test_moves_help(moves: MoveOptions) -> None:
    a, _ = pair()
    truth = product_at(a, a, 0.02)[0]
    plain = run_of(2 * a, GridOptions(32, 0.02, 40.0), 32, 128, seed=3)
    run = run_of(2 * a, GridOptions(32, 0.02, 40.0), 32, 128, seed=3, moves=moves)
    unbiased(run.log_z, truth)
    assert run.log_z.std() < 0.6 * plain.log_z.std()
    assert 0.4 < float(run.acceptance.mean()) < 0.75
    mean = product_at(a, a, 0.02)[1].mean
    found = run.weighted.pooled(run.log_z).mean()[0]
    assert (found - mean).abs().max() < 0.2


def test_statistics_of_the_spec() -> None:
    """log Z within 0.15 for the product, β ≤ 2 and NOT: two moves a level."""
    a, b = pair()
    quotient = GaussianMixture(torch.ones(1), torch.tensor([[0.3, 0.3]]), 4 * torch.eye(2)[None])
    grid, moves = GridOptions(48, 0.02, 40.0), MoveOptions(2)
    truths = {"product": (a & b, product_at(a, b, 0.02)[0]), "beta2": (2 * a, product_at(a, a, 0.02)[0])}
    for target, truth in truths.values():
        run = run_of(target, grid, 4, 256, seed=4, moves=moves)
        assert abs(float((run.log_z - truth).mean())) < 0.15
    for target in (0.5 * a, 1.3 * a - 0.3 * quotient):
        fine = run_of(target, GridOptions(32, 0.02, 40.0), 4, 256, seed=5, moves=moves)
        again = run_of(target, GridOptions(24, 0.02, 40.0), 4, 256, seed=6, moves=moves)
        assert abs(fine.evidence.log_z - again.evidence.log_z) < 0.15


def test_a_hard_power_is_told() -> None:
    a, _ = pair()
    grid = GridOptions(32, 0.02, 40.0)
    twice = product_at(a, a, 0.02)
    truth = product_at(twice[1], twice[1], 0.0)[0] + 2 * twice[0]
    runs = {kind: run_of(4 * a, grid, 32, 256, proposal=ProposalOptions(kind)) for kind in ("em", "gaussian")}
    error = {kind: float((run.log_z - truth).square().mean().sqrt()) for kind, run in runs.items()}
    assert error["gaussian"] < error["em"]
    assert any("uncertain" in said or "fewer than 5 %" in said for said in runs["em"].warnings)


def test_continuous_weights_tend_to_the_exact_ones() -> None:
    a, b = pair()
    truth = product_at(a, b, 0.02)[0]
    errors = []
    for steps in (30, 150):
        options = {"weights": WeightOptions("continuous")}
        run = run_of(a & b, GridOptions(steps, 0.02, 40.0), 8, 128, seed=1, **options)
        errors.append(float((run.log_z - truth).mean()))
    assert errors[0] > 1.5
    assert abs(errors[1]) < 0.6
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.eye(1)[None])
    for noise in (1.0, 1.3):
        less = run_of(2 * one, GridOptions(150, 0.05, 20.0), 2, 512, weights=WeightOptions("continuous", noise=noise))
        assert abs(float((less.log_z - product_at(one, one, 0.05)[0]).mean())) < 0.35


def test_escorted_weights_are_the_continuous_ones() -> None:
    """∂ log γ/∂τ and the divergence of the probability flow cancel into the rate that has neither."""
    a, b = pair()
    options = {"m": 1, "n": 32, "resampling": ResamplingOptions(threshold=0.0)}
    grid = GridOptions(48, 0.5, 10.0)
    plain = run_of(a & b, grid, weights=WeightOptions("continuous"), **options)
    full = run_of(a & b, grid, weights=WeightOptions("escorted"), **options)
    close(full.particles, plain.particles)
    assert (full.log_weights - plain.log_weights).abs().mean() < 0.3
    probe = run_of(a & b, grid, weights=WeightOptions("escorted", divergence="probe"), **options)
    close(probe.particles, plain.particles)
    assert probe.units < full.units


def test_jumps_touch_poor_particles_alone() -> None:
    a, b = pair()
    options = {"weights": WeightOptions("continuous"), "resampling": ResamplingOptions(jump=True, every_end=True)}
    run = run_of(a & b, GridOptions(120, 0.02, 40.0), 8, 128, **options)
    moved = (run.ancestors != torch.arange(128)).double().mean(2)
    assert 0 < float(moved.mean()) < 0.1
    assert bool((run.log_weights == run.log_weights[:, :1]).all())
    mean = product_at(a, b, 0.02)[1].mean
    assert (run.particles.mean((0, 1)) - mean).abs().max() < 0.3


def test_the_base_proposal_is_the_first_model_alone() -> None:
    a, b = pair()
    options = {"proposal": ProposalOptions("base"), "resampling": ResamplingOptions(threshold=0.0)}
    start = Start(20 * torch.randn(4, 64, 2, dtype=torch.float64))
    close(run_of(a & b, start=start, **options).particles, run_of(a, start=start, **options).particles)
    unbiased(run_of(a, GridOptions(24, 0.02, 40.0), 200, 32, proposal=ProposalOptions("base")).log_z, number(0.0))


@pytest.mark.parametrize("moves", [0, 1])
def test_teacher_proposes_energy_weighs(moves: int) -> None:
    """A worse score moves, the energy weighs: unbiased, for 2 units a step in place of 3."""
    a, b = pair()
    worse = GaussianMixture(a.weights, a.means + 0.1, 1.2 * a.covariances)
    options = {"moves": MoveOptions(moves)}
    run = run_of(a, GridOptions(16, 0.02, 40.0), 200, 32, proposer=ScoreOnly(worse), **options)
    unbiased(run.log_z, number(0.0))
    plain = run_of(a, GridOptions(16, 0.02, 40.0), 200, 32, **options)
    assert run.units == pytest.approx(2 / 3 * plain.units, rel=0.02)
    both = run_of(a & b, m=16, n=64, proposer=composed(ScoreOnly(a)) & ScoreOnly(b))
    close(both.log_z, run_of(a & b, m=16, n=64).log_z)


def test_rewards_tilt_and_exact_twists_are_exact() -> None:
    """r_σ = log p(y | x_σ): log Z = log p(y), with less spread on finer grids, and the posterior's mean."""
    a, _ = pair()
    seen = LinearLikelihood(a, torch.tensor([[1.0, -0.5]]), torch.tensor([0.8]), 0.3)
    target, spreads = a + seen, []
    for steps in (12, 72):
        run = run_of(target, GridOptions(steps, 0.002, 80.0), 16, 128)
        spreads.append(float(run.log_z.std()))
        if steps == 72:
            unbiased(run.log_z, seen.log_evidence)
    assert spreads[1] < 0.6 * spreads[0]
    found = run.weighted.pooled(run.log_z).mean()[0]
    assert (found - seen.posterior.mean).abs().max() < 0.1
    # By scores alone, under the discretised sampler: near the same for a fine grid.
    alone = composed(ScoreOnly(a)) + seen
    options = {"weights": WeightOptions("twisted"), "proposal": ProposalOptions("em")}
    twisted = run_of(alone, GridOptions(100, 0.002, 80.0), 16, 128, **options)
    assert abs(float(twisted.log_z.mean() - seen.log_evidence)) < 0.15
    assert twisted.units < run.units * 100 / 72


def test_a_reward_of_clean_samples() -> None:
    """e^{−(x−1)²} under N(0, 1): a Gaussian, by paths that look ahead or are annealed, and by steering."""
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.eye(1)[None])
    truth = number(-1 / 3 - 0.5 * math.log(3))
    for path in ("look-ahead", "annealed"):
        target = one + reward(lambda x: -(x - 1).square().sum(1), path)
        run = run_of(target, GridOptions(48, 0.02, 40.0), 64, 64)
        unbiased(run.log_z, truth)
        assert abs(float(run.weighted.pooled(run.log_z).mean()) - 2 / 3) < 0.05
        controlled = run_of(target, GridOptions(48, 0.02, 40.0), 64, 64, control=ControlOptions("ecg", pilot=256))
        unbiased(controlled.log_z, truth)
    target = one + reward(lambda x: -(x - 1).square().sum(1))
    run = run_of(target, GridOptions(48, 0.02, 40.0), 64, 64, weights=WeightOptions("steering"))
    assert abs(float(run.weighted.pooled(run.log_z).mean()) - 2 / 3) < 0.1


def test_annealed_rewards_with_continuous_weights() -> None:
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.eye(1)[None])
    target = one + reward(lambda x: -(x - 1).square().sum(1), "annealed")
    run = run_of(target, GridOptions(100, 0.02, 40.0), 4, 128, weights=WeightOptions("continuous"))
    # Euler's error: −0.26 at 100 steps, −0.13 at 200.
    assert abs(float(run.log_z.mean()) - (-1 / 3 - 0.5 * math.log(3))) < 0.35


def test_powers_that_change_with_sigma_end_at_the_target() -> None:
    a, _ = pair()
    target = (lambda sigma: 1 + 1 / (1 + sigma)) * a
    truth = product_at(a, a, 0.02)[0]
    run = run_of(target, GridOptions(24, 0.02, 40.0), 8, 128, control=ControlOptions("ecg", pilot=256))
    power = 1 + 1 / 1.02  # nearly 2
    assert abs(float(run.evidence.log_z) - float(truth) * (power - 1)) < 0.2
    rate = run_of(target, GridOptions(100, 0.02, 40.0), 8, 128, weights=WeightOptions("continuous"))
    assert abs(float(rate.log_z.mean()) - run.evidence.log_z) < 0.4


def test_a_box_is_kept() -> None:
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    run = run_of(one.within(0.5, 1.5), GridOptions(32, 0.002, 40.0), 32, 128)
    alive = run.weighted.alive
    assert bool(((run.particles >= 0.5) & (run.particles <= 1.5)).all(2)[alive].all())
    inside = torch.special.ndtr(torch.tensor([1.5, 0.5], dtype=torch.float64))
    unbiased(run.log_z, 2 * (inside[0] - inside[1]).log())


def test_a_rare_event_has_its_probability() -> None:
    """A half-space of probability 2e-4 under a mixture: exact weights measure the density, base weights the sampler."""
    a = GaussianMixture(
        torch.tensor([0.5, 0.5]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.25 * torch.eye(2).expand(2, 2, 2)
    )
    normal, offset = torch.tensor([1.0, 0.0], dtype=torch.float64), 2.67
    ends = (offset - torch.tensor([-1.0, 1.0], dtype=torch.float64)) / 0.5
    truth = float((0.5 * torch.special.ndtr(-ends)).sum())
    assert 1e-4 < truth < 3e-4
    half = InHalfSpace(normal, offset)
    event = lambda x: x[:, 0] >= offset  # noqa: E731
    options = {"populations": 64, "particles": 64, "dtype": torch.float64}
    found = event_probability(a, event, half, grid=GridOptions(32, 0.002, 40.0), **options)
    assert abs(found.probability - truth) < 4 * found.standard_error < 0.6 * truth
    assert "density" in found.law
    gaps = []
    for steps in (24, 120):
        base = event_probability(
            ScoreOnly(a), event, half, weights="base", proposal=ProposalOptions("em"),
            grid=GridOptions(steps, 0.002, 40.0), **options,
        )  # fmt: skip
        gaps.append(abs(base.probability - truth))
    assert gaps[1] < 0.5 * gaps[0]
    assert "discretised" in base.law
    assert gaps[1] < 0.75 * truth


def test_calibration_finds_the_constants() -> None:
    a, b = pair()
    loose = Shifted(a)
    grid = GridOptions(32, 0.05, 20.0)
    made = calibrate(loose, grid, particles=256, dtype=torch.float64, control=PLAIN)
    close(made.log_z, loose.constant(made.sigma), 0.02)
    x = a.sample(20, 0.5, seed=1)
    assert made.normalised
    assert (made.log_density(x, number(0.5)) - a.log_density(x, number(0.5))).abs().max() < 0.5
    # A mixture of them samples right shares; two values at grid levels, one between.
    level = made.sigma[10]
    exact = mixture([a, b]).log_density(x, level)
    assert (
        (made | calibrate(b, grid, dtype=torch.float64, control=PLAIN)).log_density(x, level) - exact
    ).abs().max() < 0.1
    run = run_of(made | b, GridOptions(24, 0.05, 20.0), 8, 128)
    assert abs(run.evidence.log_z) < 0.1


def test_likelihoods_by_energy_and_by_flow() -> None:
    a, b = pair()
    x = a.sample(12, 0.05, seed=2)
    truth = a.log_density(x, number(0.05))
    close(energy_log_likelihood(a, x, 0.05, chunk=5), truth)
    grid = karras_grid(96, 0.05, 80.0)
    full = flow_log_likelihood(ScoreOnly(a), x, grid)
    assert (full - truth).abs().max() < 0.05
    probe = flow_log_likelihood(ScoreOnly(a), x, grid, "probe", seed=1)
    assert (probe - truth).abs().mean() < 0.5
    close(flow_log_likelihood(ScoreOnly(a), x[7:], grid, "probe", seed=1, start=7), probe[7:])
    with pytest.raises(ValueError, match="calibrate it first"):
        energy_log_likelihood(a & b, x)


def test_an_adaptive_grid_keeps_what_it_promises() -> None:
    a, b = pair()
    grid = adaptive_grid(a & b, sigma_min=0.02, sigma_max=20.0, keep=0.9, dtype=torch.float64)
    assert grid[0] == 20.0
    assert grid[-1] == pytest.approx(0.02)
    assert bool((grid[1:] < grid[:-1]).all())
    coarser = adaptive_grid(a & b, sigma_min=0.02, sigma_max=20.0, keep=0.7, dtype=torch.float64)
    assert 4 < len(coarser) < len(grid)
    even = run_of(a & b, grid, 32, 128, resampling=ResamplingOptions(threshold=1.0))
    assert float((even.ess / 128).mean(1).min()) > 0.6
    unbiased(even.log_z, product_at(a, b, 0.02)[0])


def test_three_or_eight_and_eight_or_nine_is_eight() -> None:
    """Kernel densities of digits: the product of two mixtures returns what they share."""
    digits = load_digits()
    data, labels = torch.tensor(digits.data, dtype=torch.float64) / 8 - 1, torch.tensor(digits.target)
    of = lambda *classes: KernelDensity(data[torch.isin(labels, torch.tensor(classes))])  # noqa: E731
    target = of(3, 8) & of(8, 9)
    sampler = ParticleSampler(target, GridOptions(32, 0.1, 20.0), control=ControlOptions("ecg", pilot=256))
    run = sampler.sample(4, 128, seed=0)
    drawn = run.weighted.pooled(run.log_z).resample(400).particles[0]
    nearest = torch.cdist(drawn.double(), data).argmin(1)
    assert float((labels[nearest] == 8).double().mean()) >= 0.9
    assert len(nearest.unique()) > 3
