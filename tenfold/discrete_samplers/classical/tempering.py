"""Parallel tempering: copies at several temperatures that swap (Geyer 1991)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.classical.kernels import ChainDraws, ChainKernel, check_kernel, check_watched
from tenfold.discrete_samplers.result import CountedTarget, SamplerResult, one_mode
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, ProductPrior, check_prior, exponents
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, check_function
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments


@read_arguments
@torch.no_grad()
def parallel_tempering(
    target: DiscreteTarget,
    kernel: ChainKernel,
    chains: int = 64,
    moves: int = 256,
    ladder: Values | None = None,
    prior: ProductPrior | None = None,
    seed: int = 0,
    first: int = 0,
    watched: Callable[[Tensor], Tensor] | None = None,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Each chain is a ladder of copies at exponents 0 = β_0 < ... < β_K = 1 of p ∝ η^{1−β} ρ^β; neighbours swap after
    every move, even pairs and odd pairs in turn. The samples are the copies at β = 1 where they end.

    Args:
        ladder: (K + 1,) exponents; 16 equally spaced ones by default.
        watched: tokens (n, d) to (n,), whose mean over the second half of every chain at β = 1 is told.

    Returns:
        ``SamplerResult``; diagnostics "acceptance", and "swaps", the least share of accepted swaps between neighbours.

    Raises:
        UsageError: a ladder that does not rise from 0 or more to 1.
    """
    if chains < 2 or moves < 1:
        raise UsageError(f"chains and moves are {chains} and {moves}; give at least 2 and 1")
    check_kernel(kernel)
    if watched is not None:
        check_function(watched, "watched")
    steps = torch.linspace(0, 1, 16) if ladder is None else ladder
    betas = exponents(steps, "the ladder", "torch.linspace(0, 1, 16) say", start=False).to(device)
    k = len(betas)
    counted, prior = CountedTarget(target), check_prior(target, prior).to(device)
    # A copy's draws are those of its place on its ladder: number of the chain times K + 1, plus the place.
    index = torch.arange(first * k, (first + chains) * k, device=device)
    copies, ladders = ChainDraws(seed, index), ChainDraws(seed, torch.arange(first, first + chains, device=device))
    path = AnnealedTarget(counted, prior, betas.repeat(chains))
    x = prior.draw(copies.uniform("start", target.sites))
    accepted, swapped = torch.zeros((), device=device), torch.zeros(k - 1, device=device)
    total = torch.zeros(chains, dtype=torch.float64, device=device)
    with progress.task("parallel tempering", moves, "moves") as step:
        for turn in range(moves):
            moved = kernel(path, x, copies.at(turn + 1))
            accepted += moved.accepted.mean()
            energy = (counted.log_prob(moved.x) - prior.log_prob(moved.x)).view(chains, k)
            order, swaps = swap_places(energy, betas, turn % 2, ladders.at(turn + 1).uniform("swap", k - 1))
            swapped += swaps
            places = order + k * torch.arange(chains, device=device)[:, None]
            x = moved.x[places.flatten()]
            if watched is not None and turn >= moves // 2:
                total += check_watched(watched(x.view(chains, k, -1)[:, -1]), chains)
            step()
    cold = x.view(chains, k, -1)[:, -1]
    attempts = torch.tensor([(moves + 1 - pair % 2) // 2 for pair in range(k - 1)], device=device).clamp(min=1)
    diagnostics = {"acceptance": float(accepted) / moves, "swaps": float((swapped / (attempts * chains)).min())}
    note = one_mode(cold, target.states)
    zeros = torch.zeros(chains, dtype=torch.float64, device=device)
    means = None if watched is None else total / (moves - moves // 2)
    notes = (note,) if note else ()
    return SamplerResult(cold, zeros, counted.counts, diagnostics=diagnostics, notes=notes, chain_means=means)


def swap_places(
    energy: Float[Tensor, "c k"], betas: Float[Tensor, " k"], parity: int, uniforms: Float[Tensor, "c k1"]
) -> tuple[Int[Tensor, "c k"], Float[Tensor, " k1"]]:
    """Which copy goes to each place, and how many swaps there were by pair: the pair (j, j+1) with j of this parity
    swaps with probability min(1, exp((β_{j+1} − β_j)(e_j − e_{j+1}))), e = log ρ − log η."""
    k = len(betas)
    mine = torch.arange(k - 1, device=energy.device) % 2 == parity
    log_ratio = betas.diff() * (energy[:, :-1] - energy[:, 1:])
    # Two forbidden copies may as well swap; a forbidden one does not go to where it is.
    swap = mine & (uniforms.log() < torch.where(log_ratio.isnan(), 0.0, log_ratio))
    up = torch.nn.functional.pad(swap, (0, 1)).long()
    down = torch.nn.functional.pad(swap, (1, 0)).long()
    return torch.arange(k, device=energy.device) + up - down, swap.sum(0).to(energy.dtype)
