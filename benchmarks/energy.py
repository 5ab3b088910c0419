"""Energies and their sampler: resampling against loops, particles against a particle filter, steps against PITA's.

``python -m benchmarks.energy [--quick] [--json FILE]``
"""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Record, main, paired
from benchmarks.reference_energy import pita_step, resample_each
from tenfold.energy.closed_forms import GaussianMixture, product_at
from tenfold.energy.composition import composed
from tenfold.energy.feynman_kac import (
    ControlOptions,
    GridOptions,
    ParticleSampler,
    WeightOptions,
)
from tenfold.energy.feynman_kac.steps import NoiseStep, ProposedStep, exact_increment, proposal, shifted
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.resampling import draw_ancestors
from tenfold.smc.weights import log_mean_weight

Emit = Callable[[Record], None]
PLAIN = ControlOptions("none")


def resampling_batched(emit: Emit, quick: bool) -> None:
    """Systematic resampling of 256 populations of 64, float64, against a NumPy loop over them."""
    m, n = 256, 64
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(m, n, generator=generator, dtype=torch.float64)
    numbers = torch.rand(m, 1, generator=generator, dtype=torch.float64)
    arrays = logs.numpy(), numbers[:, 0].numpy()
    different = int((draw_ancestors(logs, numbers).numpy() != resample_each(*arrays)).sum())
    seconds = paired(lambda: draw_ancestors(logs, numbers), lambda: resample_each(*arrays), 5 if quick else 51, 3)
    note = "error: indices that differ"
    emit(Record("resampling-batched", *seconds, "seconds", different, {"populations": m, "particles": n}, note=note))


# --- particles ------------------------------------------------------------------------------------------------------

_STEPS, _POPULATIONS, _RHO, _NOISE = 50, 64, 0.9, 0.5


def _observed() -> np.ndarray:
    """y_t = x_t + noise of x_t = ρ x_{t−1} + n."""
    generator = np.random.default_rng(0)
    x = np.zeros(_STEPS)
    for t in range(1, _STEPS):
        x[t] = _RHO * x[t - 1] + generator.normal()
    return x + _NOISE * generator.normal(size=_STEPS)


def _kalman(y: np.ndarray) -> float:
    """log p(y) in closed form."""
    mean, variance, total = 0.0, 1.0, 0.0
    for value in y:
        spread = variance + _NOISE**2
        total -= 0.5 * ((value - mean) ** 2 / spread + math.log(2 * math.pi * spread))
        gain = variance / spread
        mean, variance = mean + gain * (value - mean), variance * (1 - gain)
        mean, variance = _RHO * mean, _RHO**2 * variance + 1
    return total


def _filter(y: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """log p(y) by bootstrap filters of n particles, all populations at once."""
    x = torch.randn(_POPULATIONS, n, generator=generator, dtype=torch.float64)
    logs, log_z = torch.zeros_like(x), torch.zeros(_POPULATIONS, dtype=torch.float64)
    constant = math.log(_NOISE * math.sqrt(2 * math.pi))
    for t, value in enumerate(y.tolist()):
        if t:
            x = _RHO * x + torch.randn(x.shape, generator=generator, dtype=torch.float64)
        logs = logs - ((value - x) / _NOISE).square() / 2 - constant
        done = resample_where(logs, torch.rand(_POPULATIONS, 1, generator=generator, dtype=torch.float64))
        x, logs, log_z = gather_particles(x, done.ancestors), done.log_weights, log_z + done.log_mean
    return log_z + log_mean_weight(logs)


def smc_particles(emit: Emit, quick: bool) -> None:
    """64 bootstrap filters of one linear Gaussian model, 50 steps, against the package ``particles``."""
    try:
        import particles
        from particles import distributions
        from particles import state_space_models as models
    except ImportError:
        print(
            "smc-particles: the package 'particles' is not installed (pip install tenfold[benchmarks])", file=sys.stderr
        )
        return

    class Walk(models.StateSpaceModel):  # type: ignore[misc]
        """The same model in its words."""

        def PX0(self) -> Any:
            return distributions.Normal()

        def PX(self, t: int, xp: Any) -> Any:
            return distributions.Normal(loc=_RHO * xp)

        def PY(self, t: int, xp: Any, x: Any) -> Any:
            return distributions.Normal(loc=x, scale=_NOISE)

    y = _observed()
    truth, tensor = _kalman(y), torch.from_numpy(y)

    def theirs(n: int) -> np.ndarray:
        found = []
        for _ in range(_POPULATIONS):
            run = particles.SMC(fk=models.Bootstrap(ssm=Walk(), data=y), N=n, resampling="systematic", ESSrmin=0.5)
            run.run()
            found.append(run.logLt)
        return np.array(found)

    for n in (64,) if quick else (64, 1_000, 10_000):
        generator = torch.Generator().manual_seed(1)
        ours = lambda n=n, g=generator: _filter(tensor, n, g)  # noqa: E731
        errors = {name: np.exp(run - truth) for name, run in (("ours", ours().numpy()), ("other", theirs(n)))}
        seconds = paired(ours, lambda n=n: theirs(n), 1 if quick else 3, 1)
        details = {f"{name}_mean_ratio": float(r.mean()) for name, r in errors.items()}
        details |= {f"{name}_standard_error": float(r.std() / math.sqrt(_POPULATIONS)) for name, r in errors.items()}
        sizes = {"populations": _POPULATIONS, "particles": n, "steps": _STEPS}
        error = abs(details["ours_mean_ratio"] - 1)
        note = "error: mean of the estimates of p(y) over its closed form, less 1"
        emit(Record(f"smc-particles-{n}", *seconds, "seconds", error, sizes, details, note))


# --- steps ----------------------------------------------------------------------------------------------------------


class PlainEnergy(nn.Module):
    """−⟨x, N(x c_in, ln σ/4)⟩/2-like energy of an MLP, the same network for both sides."""

    normalised, data_scale = False, 1.0

    def __init__(self, d: int, width: int) -> None:
        super().__init__()
        self.shape = (d,)
        self.net = nn.Sequential(
            nn.Linear(d + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, d)
        )

    def energy(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E (n,) with a quadratic part that keeps it normalisable."""
        sigma = sigma.expand(len(x))
        scale = (sigma.square() + 1).rsqrt()
        y = x * scale[:, None]
        out = self.net(torch.cat([y, sigma.log()[:, None] / 4], 1))
        return y.square().sum(1) / 2 - (y * out).sum(1) / (2 * sigma)

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """−E."""
        return -self.energy(x, sigma)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        """−∇E."""
        return self.log_density_and_score(x, sigma)[1]

    def log_density_and_score(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            value = -self.energy(inner, sigma)
            (score,) = torch.autograd.grad(value.sum(), inner)
        return value.detach(), score


def step_pita(emit: Emit, quick: bool) -> None:
    """One exact-weight step of 2a (64 dimensions) against PITA's, by network evaluations and by the clock."""
    d, width, n, beta = 64, 256, 128 if quick else 512, 2.0
    torch.manual_seed(0)
    model = PlainEnergy(d, width).requires_grad_(False).eval()
    target = beta * composed(model)
    levels = torch.tensor([1.0, 0.9], dtype=torch.float64)
    span = NoiseStep(levels[0], levels[1])
    x, z = torch.randn(n, d), torch.randn(n, d)
    found = target.evaluate(x, span.sigma)
    affine = proposal("gaussian", span, torch.tensor(beta, dtype=torch.float64), 1.0)

    def ours() -> Tensor:
        moved = shifted(shifted(x, affine.pull, found.full_score), affine.variance.sqrt(), z)
        after = target.evaluate(moved, span.sigma_next)
        step = ProposedStep(x, moved, z, affine, span)
        return exact_increment(step, found.log_density, after.log_density)

    def other() -> Tensor:
        return pita_step(model.energy, x, levels[0].float(), levels[1].float(), z, beta)[1]

    seconds = paired(ours, other, 3 if quick else 9)
    sizes = {"dimensions": d, "width": width, "particles": n}
    note = "PITA's step written anew after its paper: energy, gradient, derivative by sigma, full Jacobian"
    emit(Record("step-pita", *seconds, "seconds", None, sizes, {"beta": beta}, note))
    # Value and gradient: 3 forward passes; PITA: value, gradient and ∂σ (4), and one backward pass a dimension.
    emit(
        Record(
            "step-pita-evaluations", 3, 4 + d, "units", None, sizes, note="counted; a backward pass is one unit here"
        )
    )


def overhead(emit: Emit, quick: bool) -> None:
    """Resampling and bookkeeping of a step (1,024 particles, 3-layer MLP of width 256) against all of the step."""
    d, n = 64, 1024
    torch.manual_seed(0)
    model = PlainEnergy(d, 256).requires_grad_(False).eval()
    x, z = torch.randn(n, d), torch.randn(n, d)
    span = NoiseStep(*torch.tensor([1.0, 0.9], dtype=torch.float64))
    found = composed(model).evaluate(x, span.sigma)
    affine = proposal("gaussian", span, torch.ones((), dtype=torch.float64), 1.0)
    logs = torch.randn(1, n, dtype=torch.float64)
    numbers = torch.rand(1, 1, dtype=torch.float64)

    def network() -> None:
        composed(model).evaluate(x, span.sigma_next)

    def bookkeeping() -> None:
        moved = shifted(shifted(x, affine.pull, found.full_score), affine.variance.sqrt(), z)
        step = ProposedStep(x, moved, z, affine, span)
        more = logs + exact_increment(step, found.log_density, found.log_density)
        done = resample_where(more, numbers, 1.0)
        gather_particles(x[None], done.ancestors)
        found.map(lambda value: gather_particles(value[None], done.ancestors)[0])

    ours, other = paired(bookkeeping, lambda: (bookkeeping(), network()), 5 if quick else 31, 3)
    sizes = {"dimensions": d, "width": 256, "particles": n}
    note = "ours: the proposal, its weight, resampling and gathering; other: the whole step; the noise is not counted"
    emit(Record("overhead", ours, other, "seconds", None, sizes, {"share": ours / other}, note))


# --- weights --------------------------------------------------------------------------------------------------------


def weights_exact(emit: Emit, quick: bool) -> None:
    """RMSE of log Z by continuous weights with 200 steps over that by exact weights with 50."""
    generator = torch.Generator().manual_seed(0)

    def mixture() -> GaussianMixture:
        spread = (0.1 + 0.3 * torch.rand(3, generator=generator))[:, None, None] * torch.eye(2)
        means = 1.2 * torch.randn(3, 2, generator=generator)
        return GaussianMixture(torch.rand(3, generator=generator) + 0.3, means, spread)

    a, b = mixture(), mixture()
    cases = (("product", a & b, product_at(a, b, 0.02)[0]), ("beta2", 2 * a, product_at(a, a, 0.02)[0]))
    m, n = (4, 128) if quick else (32, 512)
    for name, target, truth in cases:
        found, clocks, units = {}, {}, {}
        for kind, steps, control in (
            ("exact", 50, ControlOptions()),
            ("continuous", 200, PLAIN),
            ("uncontrolled", 50, PLAIN),
        ):
            weights = WeightOptions("continuous" if kind == "continuous" else "exact")
            sampler = ParticleSampler(target, GridOptions(steps, 0.02, 40.0), weights=weights, control=control)
            began = time.perf_counter()
            run = sampler.sample(m, n, seed=1, dtype=torch.float64)
            clocks[kind], units[kind] = time.perf_counter() - began, run.units
            off = run.log_z - truth
            found[kind] = (float(off.square().mean().sqrt()), float(off.mean()), float(off.std()))
        details: dict[str, Any] = {f"{kind}_bias": bias for kind, (_, bias, _) in found.items()}
        details |= {f"{kind}_sd": spread for kind, (_, _, spread) in found.items()}
        details |= {f"{kind}_seconds": seconds for kind, seconds in clocks.items()}
        details |= {f"{kind}_units": count for kind, count in units.items()}
        sizes = {"populations": m, "particles": n, "exact_steps": 50, "continuous_steps": 200}
        note = "root mean square errors of log Z over populations, one seed, no moves; exact weights as they are by "
        note += "default, with frozen control (its pilot is in the units and seconds)"
        pair = found["exact"][0], found["continuous"][0]
        emit(Record(f"weights-exact-{name}", *pair, "nats", None, sizes, details, note))
        pair = found["uncontrolled"][0], found["continuous"][0]
        emit(Record(f"weights-exact-{name}-uncontrolled", *pair, "nats", None, sizes, {}, "the same without control"))


def benchmarks(quick: bool, emit: Emit) -> None:
    """All of them."""
    resampling_batched(emit, quick)
    smc_particles(emit, quick)
    step_pita(emit, quick)
    overhead(emit, quick)
    weights_exact(emit, quick)


if __name__ == "__main__":
    sys.exit(main("energy", benchmarks, ("tenfold", "torch", "numpy", "particles")))
