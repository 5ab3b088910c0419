"""Proven optima of graph problems by mixed-integer programming (HiGHS, which SciPy brings)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array
from torch import Tensor

from tenfold.discrete_samplers.targets.graphs import Graph, GraphProblem, MaximumCut, MaximumIndependentSet
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_ITS_LIMIT = 1  # HiGHS's status where the time is over


@dataclass(frozen=True)
class Optimum:
    """The best that was found, and what is proven.

    Attributes:
        value: of the best choice; −1 where none was found in time.
        bound: no choice is above it.
        choice: (n,) tokens, or None.
    """

    value: int
    bound: int
    choice: Int[Tensor, " n"] | None

    @property
    def proven(self) -> bool:
        """Whether the value is the optimum."""
        return self.value == self.bound


@read_arguments
def prove(problem: GraphProblem, seconds: float = 60.0) -> Optimum:
    """Solve a problem to proven optimality, or as far as it goes in that time.

    Independent sets and cliques have one constraint a clique of a greedy cover of the (missing) edges; cuts have a
    variable an edge, y ≤ x_i + x_j and y ≤ 2 − x_i − x_j.

    Raises UsageError for a time that is not positive.
    """
    if not seconds > 0:
        raise UsageError(f"seconds is {seconds}; give a positive number")
    graph = problem.graph
    if isinstance(problem, MaximumCut):
        cost, constraint = _cut(graph)
        upper = len(graph.edges)
    else:
        barred = graph.edges if isinstance(problem, MaximumIndependentSet) else graph.complement
        cost, constraint = _packing(graph.nodes, barred)
        upper = graph.nodes
    options = {"time_limit": seconds, "mip_rel_gap": 0.0}
    done = milp(cost, constraints=constraint, integrality=np.ones_like(cost), bounds=Bounds(0, 1), options=options)
    bound = upper if done.mip_dual_bound is None else min(upper, int(np.floor(-done.mip_dual_bound + 1e-6)))
    if done.x is None:
        return Optimum(-1, bound, None)
    choice = torch.from_numpy(done.x[: graph.nodes].round().astype(np.int64))
    value = int(problem.objective(choice[None])[0])
    return Optimum(value, value if done.status == 0 else bound, choice)


def _cut(graph: Graph) -> tuple[np.ndarray, LinearConstraint]:
    n, m = graph.nodes, len(graph.edges)
    i, j = graph.edges.numpy().T
    edge = np.arange(m)
    rows = np.concatenate([edge, edge, edge, m + edge, m + edge, m + edge])
    columns = np.concatenate([n + edge, i, j, n + edge, i, j])
    values = np.repeat([1.0, -1.0, -1.0, 1.0, 1.0, 1.0], m)
    upper = np.repeat([0.0, 2.0], m)
    cost = np.concatenate([np.zeros(n), -np.ones(m)])
    constraint = LinearConstraint(coo_array((values, (rows, columns)), shape=(2 * m, n + m)), ub=upper)
    return cost, constraint


def _packing(nodes: int, barred: Int[Tensor, "m 2"]) -> tuple[np.ndarray, LinearConstraint]:
    cliques = _clique_cover(nodes, barred)
    rows = np.concatenate([np.full(len(c), k) for k, c in enumerate(cliques)] or [np.zeros(0)])
    columns = np.concatenate([np.array(c) for c in cliques] or [np.zeros(0)])
    matrix = coo_array((np.ones(len(rows)), (rows.astype(int), columns.astype(int))), shape=(len(cliques) or 1, nodes))
    return -np.ones(nodes), LinearConstraint(matrix, ub=np.ones(len(cliques) or 1))


def _clique_cover(nodes: int, edges: Int[Tensor, "m 2"]) -> list[list[int]]:
    """Cliques that hold every edge, each grown greedily from an edge that none holds yet."""
    adjacent: list[set[int]] = [set() for _ in range(nodes)]
    for i, j in edges.tolist():
        adjacent[i].add(j)
        adjacent[j].add(i)
    covered: set[tuple[int, int]] = set()
    cliques = []
    for i, j in edges.tolist():
        if (i, j) in covered:
            continue
        clique, common = [i, j], adjacent[i] & adjacent[j]
        while common:
            node = max(common, key=lambda k: (len(adjacent[k] & common), -k))
            clique.append(node)
            common = common & adjacent[node]
        clique.sort()
        covered |= {(a, b) for n, a in enumerate(clique) for b in clique[n + 1 :]}
        cliques.append(clique)
    return cliques
