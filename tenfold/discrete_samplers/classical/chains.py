"""Chains of moves, and what they tell of their own convergence."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.classical.kernels import ChainDraws, ChainKernel, check_kernel, check_watched
from tenfold.discrete_samplers.result import CountedTarget, SamplerResult, one_mode
from tenfold.discrete_samplers.targets.annealed import uniform
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, bare, check_function, check_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments

_LARGEST_R_HAT = 1.05


@read_arguments
@torch.no_grad()
def run_chains(
    target: DiscreteTarget,
    kernel: ChainKernel,
    chains: int = 256,
    moves: int = 256,
    burn_in: int | None = None,
    seed: int = 0,
    first: int = 0,
    start: Values | None = None,
    watched: Callable[[Tensor], Tensor] | None = None,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Independent chains; the samples are where they end.

    Args:
        target: what the moves leave invariant.
        kernel: the move.
        chains: how many, numbers ``first``, ``first`` + 1, ...: parts computed apart are the parts of the whole.
        moves: of each.
        burn_in: moves whose log-probabilities the diagnostics leave out; half by default.
        seed: of all draws.
        start: (chains, d) tokens; uniform by default.
        watched: tokens (n, d) to (n,), whose mean over every chain after the burn-in is told.

    Returns:
        ``SamplerResult`` without weights; diagnostics "acceptance", "r_hat" of log ρ over halves of chains (Gelman and
        Rubin 1992, split) and "draws", the number of independent draws that the whole run is worth for the mean of
        log ρ (Geyer 1992).

    Raises:
        UsageError: fewer than 2 chains or 1 move, starts that are no states.
    """
    if chains < 2 or moves < 1:
        raise UsageError(f"chains and moves are {chains} and {moves}; give at least 2 and 1")
    if burn_in is not None and not 0 <= burn_in <= moves:
        raise UsageError(f"burn_in is {burn_in} of {moves} moves; give 0 to {moves}")
    check_kernel(kernel)
    if watched is not None:
        check_function(watched, "watched")
    counted = CountedTarget(target)
    index = torch.arange(first, first + chains, device=device)
    draws = ChainDraws(seed, index)
    if start is None:
        x = uniform(target.sites, target.states).to(device).draw(draws.uniform("start", target.sites))
    else:
        x = check_tokens(start, target).to(device)
        if len(x) != chains:
            raise UsageError(f"start has {len(x)} rows for {chains} chains; give one a chain")
    skip = moves // 2 if burn_in is None else burn_in
    trace, accepted = [], torch.zeros(chains, device=device)
    total = torch.zeros(chains, dtype=torch.float64, device=device)
    with progress.task("chains", moves, "moves") as step:
        for turn in range(moves):
            moved = kernel(counted, x, draws.at(turn + 1))
            x = moved.x
            accepted += moved.accepted
            if turn >= skip:
                trace.append(bare(target, "log_prob")(x).double())
                if watched is not None:
                    total += check_watched(watched(x), chains)
            step()
    diagnostics = {"acceptance": float(accepted.mean()) / moves}
    notes = [sentence for sentence in (one_mode(x, target.states),) if sentence]
    if len(trace) >= 4:
        values = torch.stack(trace, 1)
        if bool(values.isfinite().all()):
            diagnostics |= {"r_hat": split_r_hat(values), "draws": independent_draws(values)}
            if diagnostics["r_hat"] > _LARGEST_R_HAT:
                notes.append(
                    f"R-hat of log rho is {diagnostics['r_hat']:.3f}: the chains have not mixed, use more moves"
                )
    zeros = torch.zeros(chains, dtype=torch.float64, device=device)
    means = None if watched is None or not trace else total / len(trace)
    return SamplerResult(x, zeros, counted.counts, diagnostics=diagnostics, notes=tuple(notes), chain_means=means)


def split_r_hat(trace: Float[Tensor, "c t"]) -> float:
    """√(total variance / variance within) of halves of chains; 1 where they tell the same."""
    half = trace.shape[1] // 2
    parts = torch.cat([trace[:, :half], trace[:, half : 2 * half]])
    within, between = parts.var(1).mean(), parts.mean(1).var()
    if float(within) == 0:
        return 1.0 if float(between) == 0 else math.inf
    return float(((half - 1) / half + between / within).sqrt())


def independent_draws(trace: Float[Tensor, "c t"]) -> float:
    """Chains times moves over the integrated autocorrelation time, by Geyer's initial positive sequence."""
    c, t = trace.shape
    away = trace - trace.mean()
    spectrum = torch.fft.rfft(away, 2 * t)
    covariance = torch.fft.irfft(spectrum.abs().square(), 2 * t)[:, :t].mean(0) / t
    if float(covariance[0]) <= 0:
        return float(c * t)
    rho = covariance / covariance[0]
    pairs = rho[: t // 2 * 2].view(-1, 2).sum(1)
    stop = int((pairs <= 0).int().argmax()) if bool((pairs <= 0).any()) else len(pairs)
    time = max(1.0, float(2 * pairs[:stop].sum() - 1))
    return c * t / time
