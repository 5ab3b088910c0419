"""Graph problems from a graph to a choice of nodes, with a proof where there is one."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Int
from torch import Tensor

from tenfold.discrete_samplers.classical.optimise import simulated_annealing
from tenfold.discrete_samplers.exact.proof import prove
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, graph_of
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments


@dataclass(frozen=True)
class Solution:
    """The best choice that was found.

    Attributes:
        value: nodes chosen, or edges cut.
        bound: none is above it; None where no proof was asked for.
        choice: (n,) tokens, feasible.
        annealed: what annealing found before the proof.
    """

    value: int
    bound: int | None
    choice: Int[Tensor, " n"]
    annealed: int

    @property
    def proven(self) -> bool:
        """Whether the value is the optimum."""
        return self.value == self.bound


@read_arguments
def solve(
    graph: Any, problem: str, chains: int = 64, sweeps: int = 200, seconds: float = 10.0, seed: int = 0
) -> Solution:
    """Annealing, then a proof as far as it goes in so many seconds (0: none); the better of both.

    Args:
        graph: ``Graph``, a networkx graph, or edges (m, 2).
        problem: "mis", "clique" or "cut".

    Raises:
        UsageError: another problem, what is no graph.
    """
    if problem not in PROBLEMS:
        raise UsageError(f"problem is {problem!r}{suggest(problem, PROBLEMS)}")
    target = PROBLEMS[problem](graph_of(graph))
    found = simulated_annealing(target, chains, sweeps, seed=seed)
    values = target.objective(found.samples)
    best = int(values.argmax())
    value, choice = int(values[best]), found.samples[best]
    if not seconds:
        return Solution(value, None, choice, value)
    optimum = prove(target, seconds)
    if optimum.choice is not None and optimum.value > value:
        return Solution(optimum.value, optimum.bound, optimum.choice, value)
    return Solution(value, max(value, optimum.bound), choice, value)
