"""Graph problems from a graph to a choice of nodes, with a proof where there is one."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.discrete_samplers.classical.optimise import simulated_annealing
from tenfold.discrete_samplers.classical.repair import improved
from tenfold.discrete_samplers.exact.proof import prove
from tenfold.discrete_samplers.graphs.model import GraphFlow
from tenfold.discrete_samplers.graphs.sampling import flow_choices
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, Graph, graph_of
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments

_STEPS, _MOVES = 32, 5  # of a trained sampler's path, and of DMALA after each


@dataclass(frozen=True)
class Solution:
    """The best choice that was found.

    Attributes:
        value: nodes chosen, or edges cut.
        bound: none is above it; None where no proof was asked for.
        choice: (n,) tokens, feasible.
        annealed: what annealing found before the proof.
        sampled: what a trained sampler found before it; None where none was given.
    """

    value: int
    bound: int | None
    choice: Int[Tensor, " n"]
    annealed: int
    sampled: int | None = None

    @property
    def proven(self) -> bool:
        """Whether the value is the optimum."""
        return self.value == self.bound


@read_arguments
def solve(
    graph: Any,
    problem: str,
    chains: int = 64,
    sweeps: int = 200,
    seconds: float = 10.0,
    seed: int = 0,
    flow: GraphFlow | None = None,
) -> Solution:
    """Annealing, and a trained sampler where one is given, then a proof as far as it goes in so many seconds (0: none);
    the best of all.

    Args:
        graph: ``Graph``, a networkx graph, or edges (m, 2).
        problem: "mis", "clique" or "cut".
        flow: trained for the problem, with at least as many nodes; as many samples as there are chains.

    Raises:
        UsageError: another problem, what is no graph, a sampler of another problem or of fewer nodes.
    """
    if problem not in PROBLEMS:
        raise UsageError(f"problem is {problem!r}{suggest(problem, PROBLEMS)}")
    made = graph_of(graph)
    target = PROBLEMS[problem](made)
    sampled = None if flow is None else _sampled(flow, made, problem, chains, seed)
    annealed = simulated_annealing(target, chains, sweeps, seed=seed).samples
    choices = annealed if sampled is None else torch.cat([annealed, sampled])
    values = target.objective(choices)
    best = int(values.argmax())
    value, choice = int(values[best]), choices[best]
    found = int(values[:chains].max()), None if sampled is None else int(values[chains:].max())
    if not seconds:
        return Solution(value, None, choice, *found)
    optimum = prove(target, seconds)
    if optimum.choice is not None and optimum.value > value:
        return Solution(optimum.value, optimum.bound, optimum.choice, *found)
    return Solution(value, max(value, optimum.bound), choice, *found)


def _sampled(flow: GraphFlow, graph: Graph, problem: str, samples: int, seed: int) -> Int[Tensor, "c n"]:
    """Feasible local optima from the trained sampler, with DMALA moves between its steps."""
    if flow.config.problem != problem:
        raise UsageError(
            f"the sampler was trained for {flow.config.problem}, and {problem} is asked for; train another"
        )
    (law,) = flow.problems([graph])
    laws = flow.laws([graph])
    laws = laws.of(torch.zeros(samples, dtype=torch.int64, device=laws.constant.device))
    x = flow_choices(flow.process(laws), laws, _STEPS, _MOVES, seed=seed)
    return improved(law, x.cpu()[:, : graph.nodes])
