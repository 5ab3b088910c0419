"""From the prior to the target by a jump process: samples, and weights that are exact for any number of steps.

With kernels K (forward, at t_k) and L (backward, at t_{k+1}) that share their supports,
w += log p̃_{k+1}(y) − log p̃_k(x) + log L(x | y) − log K(y | x) has E e^w = Z for every grid (Neal 2001; Del Moral,
Doucet, Jasra 2006). The state at t_{k+1} is looked at once: K + 1 calls of the network for K steps.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import progress
from tenfold.discrete_samplers.classical.kernels import ChainDraws, ChainKernel, drawn
from tenfold.discrete_samplers.flow.process import StateFacts, see
from tenfold.discrete_samplers.flow.steps import (
    backward_log_rates,
    chosen_log_probability,
    euler_probabilities,
    forward_log_rates,
    leap,
    leap_log_probabilities,
    overflow_share,
)
from tenfold.discrete_samplers.result import CountedTarget, SamplerResult, one_mode, weighted_result
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, ProductPrior, check_prior
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, check_tokens
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.weights import log_mean_weight
from tenfold.training.streams import Draws

Step = Literal["exact", "euler"]
_LARGEST_OVERFLOW = 0.01


class Trajectories(NamedTuple):
    """States on the grid, (k + 1, n, d), and ξ there without a clamp, (k + 1, n), with the log weights so far."""

    states: Int[Tensor, "k n d"]
    xi: Float[Tensor, "k n"]
    log_weights: Float[Tensor, "k n"]


def times(steps: int) -> Float[Tensor, " k"]:
    """t_k = k/K. Raises UsageError for fewer than 1 step."""
    if steps < 1:
        raise UsageError(f"steps is {steps}; give at least 1")
    return torch.linspace(0, 1, steps + 1, dtype=torch.float64)


def adapted_times(grid: Float[Tensor, " k"], deviations: Float[Tensor, " k"], steps: int) -> Float[Tensor, " m"]:
    """A grid on which ∫ sd(ξ) dt is the same in every step, from standard deviations of ξ on another."""
    middle = (deviations[1:] + deviations[:-1]).double() / 2
    work = torch.cat([torch.zeros(1, dtype=torch.float64), (middle.clamp(min=1e-12) * grid.diff()).cumsum(0)])
    goal = torch.linspace(0, 1, steps + 1, dtype=torch.float64) * work[-1]
    place = torch.searchsorted(work, goal).clamp(1, len(grid) - 1)
    share = (goal - work[place - 1]) / (work[place] - work[place - 1])
    found = grid[place - 1] + share.clamp(0, 1) * (grid[place] - grid[place - 1])
    found[0], found[-1] = 0, 1
    return found


def check_grid(grid: Tensor) -> Float[Tensor, " k"]:
    """Times 0 = t_0 < ... < t_K = 1, float64. Raises UsageError for others."""
    rising = grid.ndim == 1 and len(grid) > 1 and bool((grid.diff() > 0).all())
    if not rising or grid[0] != 0 or grid[-1] != 1:
        raise UsageError("the times must rise from 0 to 1; flow.simulation.times(64) say")
    return grid.double()


def exact_increment(
    before: StateFacts,
    after: StateFacts,
    x: Int[Tensor, "b d"],
    y: Int[Tensor, "b d"],
    span: Float[Tensor, " b"],
    floor: float,
) -> Float[Tensor, " b"]:
    """What a step from x to y adds to the log weight, float64; −∞ where y is forbidden
    at the end."""
    forward = leap_log_probabilities(forward_log_rates(before.g, before.log_ratio, x, floor), x, span)
    backward = leap_log_probabilities(backward_log_rates(after.g, after.log_ratio, y, floor), y, span)
    change = after.log_prob.double() - before.log_prob.double()
    found = change + chosen_log_probability(backward, x) - chosen_log_probability(forward, y)
    return torch.where(after.log_prob == -torch.inf, -torch.inf, found)


@read_arguments
@torch.no_grad()
def sample_flow(
    process: nn.Module,
    target: DiscreteTarget,
    num: int = 2048,
    grid: Tensor | None = None,
    prior: ProductPrior | None = None,
    step: str = "exact",
    floor: float = 1.0,
    threshold: float = 0.0,
    populations: int = 1,
    refine: ChainKernel | None = None,
    refinements: int = 1,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Samples with log weights.

    Args:
        process: ``FlowProcess``, or any module of (tokens, times, target's ratios, prior's ratios) that gives G.
        num: samples of each population.
        grid: times from 0 to 1; 64 equal steps by default.
        step: "exact" leaps with a floor, whose weights are unbiased for any grid; "euler" the reference's steps with
            left-endpoint sums of ξ, whose log Z has an error of the order of a step.
        floor: ε of the reversible rates that make the supports match. Where neighbours change in one step, G may have
            another sign at its end than at its beginning, and such jumps weigh about G/ε: a small floor makes seldom
            and large weights, one of the size of G does not. Its own jumps, about ε/2 a site, leave every p_t alone.
        threshold: populations resample where their effective share is below; log Z is kept.
        refine: moves that leave p_t invariant, after every step, ``refinements`` of them; weights stay.
        first: number of the first population.

    Returns:
        ``SamplerResult``; diagnostics "overflow", the largest share of sites with Δ Σ R > 1, and "resamplings".

    Raises:
        UsageError: settings that do not fit, G that is NaN.
    """
    made = _Simulation(process, target, num, grid, prior, step, floor, populations, seed, first, device)
    return made.run(threshold, refine, refinements)


@torch.no_grad()
def trajectories(
    process: nn.Module,
    target: DiscreteTarget,
    num: int,
    grid: Tensor,
    prior: ProductPrior,
    draws: ChainDraws,
    step: Step = "euler",
    floor: float = 0.0,
) -> Trajectories:
    """What training learns from: states on the grid, with ξ and weights by the way, one call of the network a state."""
    made = _Simulation(process, target, num, grid, prior, step, floor, 1, draws.seed, 0, draws.index.device)
    made.draws = draws
    return made.record()


class _Simulation:
    def __init__(
        self,
        process: nn.Module,
        target: DiscreteTarget,
        num: int,
        grid: Tensor | None,
        prior: ProductPrior | None,
        step: str,
        floor: float,
        populations: int,
        seed: int,
        first: int,
        device: str | torch.device,
    ) -> None:
        if step not in ("exact", "euler"):
            raise UsageError(f"step is {step!r}; choose exact or euler")
        if num < 2 or populations < 1:
            raise UsageError(f"num and populations are {num} and {populations}; give at least 2 and 1")
        if not floor >= 0 or (step == "exact" and floor == 0):
            raise UsageError(f"floor is {floor}; exact weights need one above 0, 0.05 say, so that supports match")
        self.process, self.counted = process, CountedTarget(target)
        self.prior = check_prior(target, prior).to(device)
        self.grid = check_grid(times(64) if grid is None else grid)
        self.exact, self.floor, self.m, self.n, self.seed = step == "exact", floor, populations, num, seed
        numbers = torch.arange(first * num, (first + populations) * num, device=device)
        self.populations = torch.arange(first, first + populations, device=device)
        self.draws = ChainDraws(seed, numbers)
        self.dtype = self.prior.log_probs.dtype

    def _see(self, x: Tensor, k: int) -> StateFacts:
        t = torch.full((len(x),), float(self.grid[k]), dtype=self.dtype, device=x.device)
        self.counted.counts.network += len(x)
        return see(self.process, self.counted, self.prior, x, t)

    def _advance(self, x: Tensor, seen: StateFacts, k: int) -> tuple[Tensor, Tensor]:
        span = torch.full((len(x),), float(self.grid[k + 1] - self.grid[k]), dtype=self.dtype, device=x.device)
        uniforms = self.draws.at(k + 1).uniform("jump", x.shape[1])
        if not self.exact:
            return drawn(euler_probabilities(seen.g, x, span), uniforms), span
        return leap(forward_log_rates(seen.g, seen.log_ratio, x, self.floor), x, span, uniforms), span

    def _increment(self, before: StateFacts, after: StateFacts, x: Tensor, y: Tensor, span: Tensor) -> Tensor:
        if self.exact:
            return exact_increment(before, after, x, y, span, self.floor)
        return span.double() * before.xi().double()

    def start(self) -> Tensor:
        """From the prior."""
        return self.prior.draw(self.draws.uniform("prior", self.prior.sites))

    def record(self) -> Trajectories:
        x = self.start()
        seen, weight = self._see(x, 0), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        states, found, weights = [x], [seen.xi()], [weight]
        for k in range(len(self.grid) - 1):
            y, span = self._advance(x, seen, k)
            after = self._see(y, k + 1)
            weight = weight + self._increment(seen, after, x, y, span)
            x, seen = y, after
            states.append(x)
            found.append(seen.xi())
            weights.append(weight)
        return Trajectories(torch.stack(states), torch.stack(found), torch.stack(weights))

    def run(self, threshold: float, refine: ChainKernel | None, refinements: int) -> SamplerResult:
        m, n = self.m, self.n
        x = self.start()
        seen = self._see(x, 0)
        weights = torch.zeros(m, n, dtype=torch.float64, device=x.device)
        log_z = torch.zeros(m, dtype=torch.float64, device=x.device)
        overflow, resamplings = torch.zeros((), device=x.device), torch.zeros((), device=x.device)
        with progress.task("sampling", len(self.grid) - 1, "steps") as meter:
            for k in range(len(self.grid) - 1):
                y, span = self._advance(x, seen, k)
                overflow = torch.maximum(overflow, overflow_share(seen.g, span))
                after = self._see(y, k + 1)
                step = self._increment(seen, after, x, y, span).view(m, n)
                weights = torch.where(weights == -torch.inf, weights, weights + step)
                last = k == len(self.grid) - 2
                if threshold > 0 and not last:
                    uniforms = Draws(self.seed, k + 1).uniform("resample", self.populations, (1,))
                    made = resample_where(weights, uniforms, threshold)
                    y = gather_particles(y.view(m, n, -1), made.ancestors).flatten(0, 1)
                    after = StateFacts(
                        *(gather_particles(v.unflatten(0, (m, n)), made.ancestors).flatten(0, 1) for v in after)
                    )
                    weights, log_z = made.log_weights, log_z + made.log_mean
                    resamplings += made.mask.float().mean()
                if refine is not None:
                    beta = torch.full((len(y),), float(self.grid[k + 1]), dtype=self.dtype, device=y.device)
                    path = AnnealedTarget(self.counted, self.prior, beta)
                    for repeat in range(refinements):
                        y = refine(path, y, self.draws.at((k + 1) * refinements + repeat)).x
                    after = after if last else self._see(y, k + 1)
                x, seen = y, after
                meter()
        diagnostics = {"overflow": float(overflow), "resamplings": float(resamplings)}
        notes = []
        if float(overflow) > _LARGEST_OVERFLOW:
            notes.append(
                f"{100 * float(overflow):.0f} % of the sites would jump more than once in a step: use more than "
                f"{len(self.grid) - 1} steps"
            )
        if (mode := one_mode(x, self.counted.states)) is not None:
            notes.append(mode)
        total = log_z + log_mean_weight(weights) if threshold > 0 else None
        shaped = x.view(m, n, -1)
        return weighted_result(shaped, weights, self.counted.counts, total, None, diagnostics, tuple(notes))


@torch.no_grad()
def data_bound(
    process: nn.Module,
    target: DiscreteTarget,
    data: Tensor,
    grid: Tensor,
    prior: ProductPrior | None = None,
    floor: float = 0.05,
    seed: int = 0,
) -> Float[Tensor, " n"]:
    """A lower bound, in expectation, of the log-probability with which the process' exact steps end in each row of
    ``data``: the chain backwards from it, log η(x_0) + Σ log K(x_{k+1} | x_k) − log L(x_k | x_{k+1}); float64."""
    x, prior = check_tokens(data, target), check_prior(target, prior)
    grid, draws = check_grid(grid), ChainDraws(seed, torch.arange(len(data), device=data.device))
    dtype = prior.log_probs.dtype

    def at(state: Tensor, k: int) -> StateFacts:
        return see(process, target, prior, state, torch.full((len(state),), float(grid[k]), dtype=dtype))

    total, seen = torch.zeros(len(x), dtype=torch.float64), at(x, len(grid) - 1)
    for k in range(len(grid) - 2, -1, -1):
        span = torch.full((len(x),), float(grid[k + 1] - grid[k]), dtype=dtype)
        back = leap_log_probabilities(backward_log_rates(seen.g, seen.log_ratio, x, floor), x, span)
        y = drawn(back.exp(), draws.at(k + 1).uniform("backward", x.shape[1]))
        before = at(y, k)
        ahead = leap_log_probabilities(forward_log_rates(before.g, before.log_ratio, y, floor), y, span)
        total += chosen_log_probability(ahead, x) - chosen_log_probability(back, y)
        x, seen = y, before
    return total + prior.log_prob(x).double()


def gillespie(
    process: nn.Module,
    target: DiscreteTarget,
    x: Int[Tensor, "b d"],
    grid: Sequence[float],
    prior: ProductPrior,
    draws: ChainDraws,
    most: int = 10_000,
) -> Int[Tensor, "b d"]:
    """One jump after another: exact for rates that are frozen at the beginning of each span of the grid, whose states
    they follow. For tests and small systems: every jump of the busiest chain is a call of the network.

    Raises UsageError for more than ``most`` jumps in a span."""
    dtype = prior.log_probs.dtype
    for k in range(len(grid) - 1):
        left = torch.full((len(x),), grid[k + 1] - grid[k], dtype=torch.float64)
        t = torch.full((len(x),), grid[k], dtype=dtype)
        for jump in range(most):
            with torch.no_grad():
                rates = see(process, target, prior, x, t).g.clamp(min=0).flatten(1).double()
            numbers = draws.at(k * most + jump + 1).uniform("gillespie", 2, dtype=torch.float64)
            wait = -torch.log1p(-numbers[:, 0]) / rates.sum(1).clamp(min=1e-300)
            go = wait < left
            if not bool(go.any()):
                break
            chosen = drawn(rates.clamp(min=0) + (~go)[:, None], numbers[:, 1])
            site, token = chosen // target.states, chosen % target.states
            x = torch.where(go[:, None], x.scatter(1, site[:, None], token[:, None]), x)
            left = torch.where(go, left - wait, 0.0)
        else:
            raise UsageError(f"a chain jumped {most} times in the span from t = {grid[k]}: the rates diverge")
    return x
