"""Other ways along a path: backwards from data, and jump by jump."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.classical.kernels import ChainDraws, drawn
from tenfold.discrete_samplers.flow.process import see
from tenfold.discrete_samplers.flow.simulation import check_grid, colours_of, leap_kernels
from tenfold.discrete_samplers.flow.steps import backward_log_rates, leap
from tenfold.discrete_samplers.targets.annealed import ProductPrior, check_prior
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, check_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments


@read_arguments
@torch.no_grad()
def data_bound(
    process: nn.Module,
    target: DiscreteTarget,
    data: Values,
    grid: Values,
    prior: ProductPrior | None = None,
    floor: float = 0.05,
    seed: int = 0,
) -> Float[Tensor, " n"]:
    """A lower bound, in expectation, of the log-probability with which the process' exact steps end in each row of
    ``data``: the chain backwards from it, log η(x_0) + Σ log K(x_{k+1} | x_k) − log L(x_k | x_{k+1}); float64."""
    x, prior = check_tokens(data, target), check_prior(target, prior)
    grid, draws = check_grid(grid), ChainDraws(seed, torch.arange(len(x), device=x.device))
    if not floor > 0:
        raise UsageError(f"floor is {floor}; give one above 0, 0.05 say")
    dtype, colours = prior.log_probs.dtype, [sites.to(x.device) for sites in colours_of(target)]

    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for k in range(len(grid) - 2, -1, -1):
        span = torch.full((len(x),), float(grid[k + 1] - grid[k]), dtype=dtype, device=x.device)
        middle = torch.full_like(span, float(grid[k + 1] + grid[k]) / 2)
        uniforms = draws.at(k + 1).uniform("backward", x.shape[1])
        seen = see(process, target, prior, x, middle)
        for sites in colours[::-1] if k % 2 == 0 else colours:
            back = backward_log_rates(seen.g[:, sites], seen.log_ratio[:, sites], x[:, sites], floor)
            y = x.index_copy(1, sites, leap(back, x[:, sites], span, uniforms[:, sites]))
            before = see(process, target, prior, y, middle)
            total -= leap_kernels(before, seen, y, x, span, floor, sites)
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
