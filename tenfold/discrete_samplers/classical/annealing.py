"""Annealed importance sampling (Neal 2001) and sequential Monte Carlo along p_t ∝ η^{1−β} ρ^β: samples with weights,
and log Z from below; reverse annealing from samples of the target bounds it from above (Grosse et al. 2015)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.classical.kernels import ChainDraws, ChainKernel, check_kernel
from tenfold.discrete_samplers.result import CountedTarget, Counts, SamplerResult, weighted_result
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, ProductPrior, check_prior, exponents
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, check_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.tempering import next_exponent
from tenfold.smc.weights import log_mean_weight, normalised_weights
from tenfold.training.streams import Draws

_LEAST_STEP = 1e-3


def check_schedule(betas: Values) -> Float[Tensor, " k"]:
    """Exponents 0 = β_0 < ... < β_K = 1, float64. Raises UsageError for others."""
    return exponents(betas, "the schedule", "torch.linspace(0, 1, 65) say")


@read_arguments
@torch.no_grad()
def annealed_sampling(
    target: DiscreteTarget,
    kernel: ChainKernel,
    particles: int = 1024,
    populations: int = 1,
    betas: Values | None = None,
    keep: float = 0.9,
    threshold: float = 0.5,
    moves: int = 1,
    prior: ProductPrior | None = None,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Sequential Monte Carlo, or annealed importance sampling where ``threshold`` is 0.

    Args:
        kernel: leaves p_t invariant at every t.
        particles: of each population.
        populations: independent ones, numbers ``first``, ...; of two and more the error of log Z is that between them.
        betas: the schedule; by default each population takes the next exponent at which the conditional effective
            size is ``keep`` of the particles (Zhou, Johansen, Aston 2016).
        threshold: populations resample below this share of effective particles.
        moves: of the kernel after each reweighting.

    Returns:
        ``SamplerResult``. With a fixed schedule E[Ẑ] = Z exactly for any number of steps and particles; an adaptive one
        adds a bias of order 1/particles. Diagnostics: "steps", "resamplings" (a population), "acceptance".

    Raises:
        UsageError: a schedule that does not rise from 0 to 1, fewer than 2 particles, a population that dies.
    """
    if particles < 2 or populations < 1 or moves < 1:
        raise UsageError(
            f"particles, populations, moves are {particles}, {populations}, {moves}; give at least 2, 1 and 1"
        )
    check_kernel(kernel)
    counted, prior = CountedTarget(target), check_prior(target, prior).to(device)
    schedule = None if betas is None else check_schedule(betas).to(device)
    m, n = populations, particles
    numbers = torch.arange(first, first + m, device=device)
    draws = ChainDraws(seed, torch.arange(first * n, (first + m) * n, device=device))
    x = prior.draw(draws.uniform("prior", target.sites))
    beta = torch.zeros(m, dtype=torch.float64, device=device)
    weights = torch.zeros(m, n, dtype=torch.float64, device=device)
    log_z, resamplings, accepted, turn = torch.zeros(m, dtype=torch.float64, device=device), 0.0, 0.0, 0
    elbo = torch.zeros(m, dtype=torch.float64, device=device)
    with progress.task("annealing", 1000, "per mille") as step:
        while bool((beta < 1).any()):
            gain = (counted.log_prob(x) - prior.log_prob(x)).double().view(m, n)
            if schedule is None:
                # Where states are forbidden no step is small enough: it goes on all the same.
                new = torch.maximum(next_exponent(weights, gain, beta, keep), (beta + _LEAST_STEP).clamp(max=1))
            else:
                new = schedule[turn + 1].expand(m)
            change = torch.where(new[:, None] == beta[:, None], 0.0, (new - beta)[:, None] * gain)
            share = normalised_weights(weights)
            elbo = elbo + torch.where(share == 0, 0.0, share * change).sum(1)
            weights = weights + change
            step(1000 * float(new.min() - beta.min()))
            beta, turn = new, turn + 1
            found = resample_where(weights, Draws(seed, turn).uniform("resample", numbers, (1,)), threshold)
            x = gather_particles(x.view(m, n, -1), found.ancestors).flatten(0, 1)
            weights, log_z = found.log_weights, log_z + found.log_mean
            resamplings += float(found.mask.double().mean())
            path = AnnealedTarget(counted, prior, beta.to(prior.log_probs.dtype).repeat_interleave(n))
            for repeat in range(moves):
                moved = kernel(path, x, draws.at(turn * moves + repeat))
                x, accepted = moved.x, accepted + float(moved.accepted.mean())
    total = log_z + log_mean_weight(weights)
    diagnostics = {
        "steps": float(turn),
        "resamplings": resamplings,
        "acceptance": accepted / (turn * moves),
    }
    plain = threshold == 0 and schedule is not None
    return weighted_result(
        x.view(m, n, -1), weights, counted.counts, None if plain else total, float(elbo.mean()), diagnostics
    )


class UpperBound(NamedTuple):
    """An upper bound of log Z in expectation, its standard error, and what it cost."""

    log_z: float
    standard_error: float
    counts: Counts


@read_arguments
@torch.no_grad()
def reverse_annealing(
    target: DiscreteTarget,
    kernel: ChainKernel,
    samples: Values,
    betas: Values,
    prior: ProductPrior | None = None,
    seed: int = 0,
) -> UpperBound:
    """The mean log weight of annealing backwards from samples of the target: E ≥ log Z.

    It bounds log Z only as far as the samples are the target's: exact ones (cluster moves that have mixed, closed
    forms), not those of an annealing whose quality is in question.

    Args:
        samples: (n, d) of the target.
        betas: the schedule from 0 to 1 that is gone backwards. Any kernel that leaves p_t invariant gives a bound.
    """
    check_kernel(kernel)
    counted = CountedTarget(target)
    x = check_tokens(samples, target)
    schedule = check_schedule(betas).to(x.device)
    if len(x) < 2:
        raise UsageError(f"{len(x)} samples are given; give at least 2")
    prior = check_prior(target, prior).to(x.device)
    draws = ChainDraws(seed, torch.arange(len(x), device=x.device))
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for turn in range(len(schedule) - 1, 0, -1):
        path = AnnealedTarget(counted, prior, schedule[turn].to(prior.log_probs.dtype))
        x = kernel(path, x, draws.at(turn)).x
        gain = (counted.log_prob(x) - prior.log_prob(x)).double()
        total += (schedule[turn] - schedule[turn - 1]) * gain
    return UpperBound(float(total.mean()), float(total.std() / len(x) ** 0.5), counted.counts)
