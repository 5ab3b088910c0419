"""Simulated annealing of graph problems: sweeps at falling temperature, the best kept, repaired and searched around."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.classical.repair import improved, repaired
from tenfold.discrete_samplers.result import CountedTarget, SamplerResult
from tenfold.discrete_samplers.targets.annealed import uniform
from tenfold.discrete_samplers.targets.graphs import GraphProblem
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, colour_classes, site_log_ratio, site_odds
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


class Scaled:
    """ρ^{scale} of a target: exp(−E/T) where the target is exp(−E) and the scale 1/T."""

    def __init__(self, target: DiscreteTarget, scale: float) -> None:
        self.target, self.scale = target, scale
        self.sites, self.states = target.sites, target.states

    @property
    def colours(self) -> list[Tensor]:
        """Those of the target."""
        return colour_classes(self.target)

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """scale · log ρ."""
        return self.scale * self.target.log_prob(x)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """Scaled."""
        return self.scale * self.target.neighbour_log_ratio(x)

    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m s"]:
        """Scaled."""
        return self.scale * site_log_ratio(self.target, x, chosen)

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Scaled."""
        return self.scale * site_odds(self.target, x, chosen)


def temperatures(sweeps: int, hot: float, cold: float) -> list[float]:
    """From hot to cold, each the same factor below the one before.

    >>> temperatures(3, 1.0, 0.01)
    [1.0, 0.1, 0.01]
    """
    return [hot * (cold / hot) ** (k / max(1, sweeps - 1)) for k in range(sweeps)]


@read_arguments
@torch.no_grad()
def simulated_annealing(
    problem: GraphProblem,
    chains: int = 64,
    sweeps: int = 200,
    hot: float = 1.0,
    cold: float = 1e-4,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """The best feasible choice that each chain passed, after a local search.

    Heat-bath sweeps at temperatures from ``hot`` to ``cold`` (of the problem at its own temperature), as DISCS anneals;
    after each the repaired choice is kept where it is better than the best before.

    Returns:
        ``SamplerResult``; all samples are feasible, diagnostics "best" and "mean" of the objective.

    Raises:
        UsageError: temperatures that do not fall or are not positive, fewer than 1 chain or sweep.
    """
    if not hot >= cold > 0:
        raise UsageError(f"the temperature goes from {hot} to {cold}; it falls and stays above 0")
    if chains < 1 or sweeps < 1:
        raise UsageError(f"chains and sweeps are {chains} and {sweeps}; give at least 1 of each")
    counted, kernel = CountedTarget(problem), Gibbs()
    draws = ChainDraws(seed, torch.arange(first, first + chains, device=device))
    x = uniform(problem.sites, 2).to(device).draw(draws.uniform("start", problem.sites))
    best = repaired(problem, x)
    value = problem.objective(best)
    with progress.task("annealing", sweeps, "sweeps") as step:
        for turn, temperature in enumerate(temperatures(sweeps, hot, cold)):
            x = kernel(Scaled(counted, 1 / temperature), x, draws.at(turn + 1)).x
            kept = repaired(problem, x)
            now = problem.objective(kept)
            best, value = torch.where((now > value)[:, None], kept, best), torch.maximum(now, value)
            step()
    best = improved(problem, best)
    value = problem.objective(best).double()
    diagnostics = {"best": float(value.max()), "mean": float(value.mean())}
    zeros = torch.zeros(chains, dtype=torch.float64, device=best.device)
    return SamplerResult(best, zeros, counted.counts, diagnostics=diagnostics)
