"""Samples of graph problems by a process, by it with moves between its steps, and by the moves alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.classical.langevin import Langevin
from tenfold.discrete_samplers.classical.repair import repaired
from tenfold.discrete_samplers.flow.process import FlowProcess
from tenfold.discrete_samplers.flow.simulation import sample_flow, times
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, uniform
from tenfold.discrete_samplers.targets.graph_laws import GraphLaws
from tenfold.discrete_samplers.targets.graphs import GraphProblem
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

FLOOR = 0.2  # of the reversible rates: they make the weights exact, and move a node a tenth of a time along the path


@read_arguments
@torch.no_grad()
def flow_choices(
    process: FlowProcess, laws: GraphLaws, steps: int, moves: int = 0, alpha: float = 0.5, seed: int = 0
) -> Int[Tensor, "b n"]:
    """One choice of nodes a row of the laws, by the process' exact steps, with DMALA moves after each."""
    if moves < 0:
        raise UsageError(f"moves is {moves}; give 0 or more")
    kernel = Langevin(alpha) if moves else None
    rows, device = len(laws.constant), laws.constant.device
    prior = uniform(laws.sites, 2)
    return sample_flow(
        process, laws, rows, times(steps), prior, floor=FLOOR, refine=kernel, refinements=max(1, moves), seed=seed,
        device=device,
    ).samples  # fmt: skip


@read_arguments
@torch.no_grad()
def moved_choices(
    laws: GraphLaws, steps: int, moves: int, alpha: float = 0.5, seed: int = 0, first: int = 0
) -> Int[Tensor, "b n"]:
    """The same path by DMALA moves alone, as many at each of its times; rows are numbers ``first``, ...."""
    if moves < 1:
        raise UsageError(f"moves is {moves}; give at least 1")
    rows, device = len(laws.constant), laws.constant.device
    draws, prior = ChainDraws(seed, torch.arange(first, first + rows, device=device)), uniform(laws.sites, 2).to(device)
    x, kernel = prior.draw(draws.uniform("prior", laws.sites)), Langevin(alpha)
    for k, t in enumerate(times(steps)[1:].tolist()):
        path = AnnealedTarget(laws, prior, torch.full((rows,), t, device=device))
        for repeat in range(moves):
            x = kernel(path, x, draws.at((k + 1) * moves + repeat)).x
    return x


def values_of(problems: Sequence[GraphProblem], x: Int[Tensor, "b n"], copies: int) -> Int[Tensor, "g c"]:
    """The objective of repaired choices, rows in the order of the problems, ``copies`` of each."""
    parts = x.cpu().split(copies)
    chosen = zip(problems, parts, strict=True)
    return torch.stack([problem.objective(repaired(problem, part[:, : problem.sites])) for problem, part in chosen])
