"""From the prior to the target by a jump process: samples, and weights that are exact for any number of steps.

In the middle m of a step, sites that do not interact among themselves leap by themselves, colour after colour, with
kernels K(y | x) forward and L(x | y) backward that share their supports:
w += log p̃_{k+1}(x_{k+1}) − log p̃_k(x_k) + Σ over colours of log L(x | y) − log K(y | x) has E e^w = Z for every grid
(Neal 2001; Del Moral, Doucet, Jasra 2006). Rates of both directions are those of one time, so that a single jump weighs
p̃_m(x)/p̃_m(y) and no more, and steps are of second order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import progress
from tenfold.discrete_samplers.classical.kernels import ChainDraws, ChainKernel, check_kernel, drawn
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
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, ProductPrior, check_prior, exponents
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, colour_classes
from tenfold.errors import UsageError
from tenfold.nn.border import Values, whole
from tenfold.settings.arguments import read_arguments
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.weights import log_mean_weight
from tenfold.training.streams import Draws, key_of

_LARGEST_OVERFLOW = 0.01
_MOST_COLOURS = 4
_MOST_STEPS = 1_000_000


class Trajectories(NamedTuple):
    """States on the grid, (k + 1, n, d), and ξ there without a clamp, (k + 1, n), with the log weights so far."""

    states: Int[Tensor, "k n d"]
    xi: Float[Tensor, "k n"]
    log_weights: Float[Tensor, "k n"]


@read_arguments
def times(steps: int) -> Float[Tensor, " k"]:
    """t_k = k/K. Raises UsageError for fewer than 1 step."""
    if not 1 <= steps <= _MOST_STEPS:
        raise UsageError(f"steps is {steps}; give 1 to {_MOST_STEPS}")
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


def check_grid(grid: Values) -> Float[Tensor, " k"]:
    """Times 0 = t_0 < ... < t_K = 1, float64. Raises UsageError for others."""
    return exponents(grid, "the grid", "times(64) say")


def colours_of(target: DiscreteTarget, groups: Sequence[Tensor] | None = None) -> list[Tensor]:
    """Sets of sites that leap together: the target's colours where they are few, otherwise all sites at once; or those
    given. Raises UsageError unless every site is in one of these."""
    if groups is not None:
        parts = [whole(sites, "groups").flatten() for sites in groups]
        if not parts or not torch.equal(torch.cat(parts).sort().values.cpu(), torch.arange(target.sites)):
            raise UsageError(f"the groups do not hold each of {target.sites} sites once; make a partition of them")
        return parts
    found = colour_classes(target)
    return found if len(found) <= _MOST_COLOURS else [torch.arange(target.sites)]


def leap_kernels(
    before: StateFacts,
    after: StateFacts,
    x: Int[Tensor, "b d"],
    y: Int[Tensor, "b d"],
    span: Float[Tensor, " b"],
    floor: float,
    sites: Int[Tensor, " m"],
) -> Float[Tensor, " b"]:
    """log L(x | y) − log K(y | x), float64, of a leap of some sites from x to y, seen before and after at one time."""
    here, there = x[:, sites], y[:, sites]
    forward = forward_log_rates(before.g[:, sites], before.log_ratio[:, sites], here, floor)
    backward = backward_log_rates(after.g[:, sites], after.log_ratio[:, sites], there, floor)
    ahead = chosen_log_probability(leap_log_probabilities(forward, here, span), there)
    return chosen_log_probability(leap_log_probabilities(backward, there, span), here) - ahead


@read_arguments
@torch.no_grad()
def sample_flow(
    process: nn.Module,
    target: DiscreteTarget,
    num: int = 2048,
    grid: Values | None = None,
    prior: ProductPrior | None = None,
    step: str = "exact",
    floor: float = 1.0,
    threshold: float = 0.0,
    populations: int = 1,
    refine: ChainKernel | None = None,
    refinements: int = 1,
    groups: Sequence[Tensor] | None = None,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Samples with log weights.

    Args:
        process: ``FlowProcess``, or any module of (tokens, times, target's ratios, prior's ratios) that gives G.
        num: samples of each population.
        grid: times from 0 to 1; 64 equal steps by default.
        step: "exact" leaps with a floor, whose weights are unbiased for any grid, in 1 + (colours) calls of the network
            a step; "euler" the reference's steps with left-endpoint sums of ξ, whose log Z has an error of the order of
            a step, in one call.
        floor: ε of the reversible rates that make the supports match. Where other sites of its colour change with it, a
            jump may have G of another sign after than before, and weighs about G/ε: a small floor makes seldom and
            large weights. Its own jumps, about ε/2 a site over the whole path, leave every p_t alone.
        threshold: populations resample where their effective share is below; log Z is kept.
        refine: moves that leave p_t invariant, after every step, ``refinements`` of them; weights stay.
        groups: sites that leap together, a partition; the target's colours by default. Where sites of a group influence
            each other's rates, through what a network sees, leaps of two of them at once are what weights vary by:
            sites further apart (``targets.couplings.spread_sites``) cost more calls, and are worth more than as many
            more steps.
        first: number of the first population.

    Returns:
        ``SamplerResult``; diagnostics "overflow", the largest share of sites with Δ Σ R > 1, and "resamplings".

    Raises:
        UsageError: settings that do not fit, G that is NaN.
    """
    if refine is not None:
        check_kernel(refine)
    made = _Simulation(process, target, num, grid, prior, step, floor, populations, seed, first, device, groups)
    return made.run(threshold, refine, refinements)


@read_arguments
@torch.no_grad()
def adapted_grid(
    process: nn.Module,
    target: DiscreteTarget,
    steps: int,
    prior: ProductPrior | None = None,
    floor: float = 1.0,
    groups: Sequence[Tensor] | None = None,
    pilot: int = 256,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Float[Tensor, " k"]:
    """Times at which steps add alike to the variance of the log weights, from so many trajectories in a quarter of the
    steps. Where leaps of two sites at once are what they vary by, a step adds as the square of its length: steps are in
    inverse proportion to the deviations of the pilot's. Its seed is its own, so that the weights stay unbiased.

    Raises UsageError as ``sample_flow`` does."""
    times(steps)
    coarse = times(max(8, steps // 4))
    key = key_of("pilot", seed) >> 1
    made = _Simulation(process, target, pilot, coarse, prior, "exact", floor, 1, key, 0, device, groups)
    spread = made.increments().std(1).float().cpu()
    spread = spread + 0.1 * spread.mean()
    smooth = torch.nn.functional.pad(spread[None], (2, 2), mode="replicate").unfold(1, 5, 1).mean(-1)[0]
    return adapted_times(coarse, torch.cat([smooth[:1], smooth]), steps)


@torch.no_grad()
def trajectories(
    process: nn.Module,
    target: DiscreteTarget,
    num: int,
    grid: Tensor,
    prior: ProductPrior,
    draws: ChainDraws,
) -> Trajectories:
    """What training learns from: states on the grid by Euler steps, with ξ and weights by the way, one call of the
    network a state."""
    made = _Simulation(process, target, num, grid, prior, "euler", 0.0, 1, draws.seed, 0, draws.index.device)
    made.draws = draws
    return made.record()


class _Simulation:
    def __init__(
        self,
        process: nn.Module,
        target: DiscreteTarget,
        num: int,
        grid: Values | None,
        prior: ProductPrior | None,
        step: str,
        floor: float,
        populations: int,
        seed: int,
        first: int,
        device: str | torch.device,
        groups: Sequence[Tensor] | None = None,
    ) -> None:
        if step not in ("exact", "euler"):
            raise UsageError(f"step is {step!r}; choose exact or euler")
        if num < 2 or populations < 1:
            raise UsageError(f"num and populations are {num} and {populations}; give at least 2 and 1")
        if not floor >= 0 or (step == "exact" and floor == 0):
            raise UsageError(f"floor is {floor}; exact weights need one above 0, 0.05 say, so that supports match")
        if not isinstance(process, nn.Module):
            raise UsageError(f"process is {type(process).__name__}; give a FlowProcess, or a module that gives G")
        self.process, self.counted = process, CountedTarget(target)
        self.prior = check_prior(target, prior).to(device)
        self.grid = check_grid(times(64) if grid is None else grid)
        self.exact, self.floor, self.m, self.n, self.seed = step == "exact", floor, populations, num, seed
        numbers = torch.arange(first * num, (first + populations) * num, device=device)
        self.populations = torch.arange(first, first + populations, device=device)
        self.draws = ChainDraws(seed, numbers)
        self.dtype = self.prior.log_probs.dtype
        self.colours = [sites.to(device) for sites in colours_of(target, groups)]
        self.overflow = torch.zeros((), device=device)

    def _see(self, x: Tensor, t: float) -> StateFacts:
        times = torch.full((len(x),), t, dtype=self.dtype, device=x.device)
        self.counted.counts.network += len(x)
        return see(self.process, self.counted, self.prior, x, times)

    def _span(self, x: Tensor, k: int) -> Tensor:
        return torch.full((len(x),), float(self.grid[k + 1] - self.grid[k]), dtype=self.dtype, device=x.device)

    def _euler(self, x: Tensor, seen: StateFacts, k: int) -> tuple[Tensor, Tensor]:
        span = self._span(x, k)
        uniforms = self.draws.at(k + 1).uniform("jump", x.shape[1])
        step = span.double() * seen.xi().double()
        return drawn(euler_probabilities(seen.g, x, span), uniforms), step

    def _leaps(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        now, then = float(self.grid[k]), float(self.grid[k + 1])
        middle, span = (now + then) / 2, self._span(x, k)
        uniforms = self.draws.at(k + 1).uniform("jump", x.shape[1])
        seen = self._see(x, middle)
        self.overflow = torch.maximum(self.overflow, overflow_share(seen.g, span))
        weight = -seen.log_prob(now)
        # The order alternates, which makes the splitting of the colours of second order too.
        for sites in self.colours if k % 2 == 0 else self.colours[::-1]:
            rates = forward_log_rates(seen.g[:, sites], seen.log_ratio[:, sites], x[:, sites], self.floor)
            y = x.index_copy(1, sites, leap(rates, x[:, sites], span, uniforms[:, sites]))
            after = self._see(y, middle)
            weight = weight + leap_kernels(seen, after, x, y, span, self.floor, sites)
            x, seen = y, after
        return x, weight + seen.log_prob(then)

    def start(self) -> Tensor:
        """From the prior."""
        return self.prior.draw(self.draws.uniform("prior", self.prior.sites))

    def record(self) -> Trajectories:
        x = self.start()
        seen, weight = self._see(x, 0.0), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        states, found, weights = [x], [seen.xi()], [weight]
        for k in range(len(self.grid) - 1):
            x, step = self._euler(x, seen, k)
            seen, weight = self._see(x, float(self.grid[k + 1])), weight + step
            states.append(x)
            found.append(seen.xi())
            weights.append(weight)
        return Trajectories(torch.stack(states), torch.stack(found), torch.stack(weights))

    def increments(self) -> Tensor:
        """What every step adds to the log weight of every trajectory, (k, n)."""
        x, found = self.start(), []
        for k in range(len(self.grid) - 1):
            x, step = self._advance(x, k)
            found.append(step)
        return torch.stack(found)

    def _advance(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if self.exact:
            return self._leaps(x, k)
        seen = self._see(x, float(self.grid[k]))
        self.overflow = torch.maximum(self.overflow, overflow_share(seen.g, self._span(x, k)))
        return self._euler(x, seen, k)

    def run(self, threshold: float, refine: ChainKernel | None, refinements: int) -> SamplerResult:
        m, n = self.m, self.n
        x = self.start()
        weights = torch.zeros(m, n, dtype=torch.float64, device=x.device)
        log_z = torch.zeros(m, dtype=torch.float64, device=x.device)
        resamplings = torch.zeros((), device=x.device)
        with progress.task("sampling", len(self.grid) - 1, "steps") as meter:
            for k in range(len(self.grid) - 1):
                x, step = self._advance(x, k)
                step = step.view(m, n)
                weights = torch.where(weights == -torch.inf, weights, weights + step)
                if threshold > 0 and k < len(self.grid) - 2:
                    uniforms = Draws(self.seed, k + 1).uniform("resample", self.populations, (1,))
                    made = resample_where(weights, uniforms, threshold)
                    x = gather_particles(x.view(m, n, -1), made.ancestors).flatten(0, 1)
                    weights, log_z = made.log_weights, log_z + made.log_mean
                    resamplings += made.mask.float().mean()
                if refine is not None:
                    beta = torch.full((len(x),), float(self.grid[k + 1]), dtype=self.dtype, device=x.device)
                    path = AnnealedTarget(self.counted, self.prior, beta)
                    for repeat in range(refinements):
                        x = refine(path, x, self.draws.at((k + 1) * refinements + repeat)).x
                meter()
        overflow = self.overflow
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
