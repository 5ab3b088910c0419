"""Graphs, and the optimisation problems on them as laws exp(−E/T) of chosen nodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx
import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold.discrete_samplers.targets.binary import PairwiseBinary
from tenfold.discrete_samplers.targets.couplings import Couplings, check_edges
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import whole
from tenfold.settings.arguments import read_all_arguments, read_arguments


@read_all_arguments
@dataclass(frozen=True)
class Graph:
    """An undirected graph without loops and repeated edges.

    Attributes:
        nodes: how many; they are 0, 1, ....
        edges: (m, 2) int64, each once.
        names: of the nodes, where they have any.
    """

    nodes: int
    edges: Int[Tensor, "m 2"]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.nodes < 1 or not len(self.edges):
            raise UsageError(
                f"the graph has {self.nodes} nodes and {len(self.edges)} edges; without edges nothing is to be chosen"
            )
        object.__setattr__(self, "edges", check_edges(self.nodes, self.edges))

    @property
    def adjacency(self) -> Bool[Tensor, "n n"]:
        """Which nodes are neighbours."""
        matrix = torch.zeros(self.nodes, self.nodes, dtype=torch.bool)
        matrix[self.edges[:, 0], self.edges[:, 1]] = True
        return matrix | matrix.T

    @property
    def complement(self) -> Int[Tensor, "k 2"]:
        """The pairs that are not edges, the smaller node first."""
        return (~self.adjacency).triu(1).nonzero()


def graph_of(given: Any) -> Graph:
    """A ``Graph`` from a networkx graph (its direction, weights and loops must not be there), or from edges (m, 2),
    whose nodes are 0 to the largest number.

    Raises UsageError for anything else."""
    if isinstance(given, Graph):
        return given
    if isinstance(given, networkx.Graph):
        if given.is_directed():
            raise UsageError("the graph is directed; give given.to_undirected()")
        if given.is_multigraph():
            raise UsageError("the graph has parallel edges; give networkx.Graph(given)")
        number = {node: i for i, node in enumerate(given)}
        pairs = [(number[a], number[b]) for a, b in given.edges()]
        edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        return Graph(len(number), edges, tuple(map(str, given)))
    if isinstance(given, Tensor | np.ndarray | Sequence) and not isinstance(given, str):
        edges = whole(given, "edges")
        if edges.ndim == 2 and edges.shape[1] == 2 and len(edges):
            return Graph(int(edges.max()) + 1, edges)
    raise UsageError(f"{type(given).__name__} is no graph; give a networkx graph, or edges of shape (number, 2)")


def _temperature(value: float) -> float:
    if not value > 0:
        raise UsageError(f"temperature is {value}; give one above 0")
    return value


@reads_tokens
class MaximumIndependentSet(PairwiseBinary):
    """exp(−E/T), E(x) = −Σ x_i + λ Σ_{edges} x_i x_j: chosen nodes, without an edge among them.

    Raises UsageError for λ ≤ 1, with which an edge may pay, and T ≤ 0."""

    problem = "mis"

    @read_arguments
    def __init__(self, graph: Graph, temperature: float = 1.0, penalty: float = 1.0001) -> None:
        graph = graph_of(graph)
        if not penalty > 1:
            raise UsageError(f"penalty is {penalty}; at most 1 and an edge inside the set may pay, give more")
        scale = 1 / _temperature(temperature)
        weights = torch.full((len(graph.edges),), -penalty * scale)
        super().__init__(0, torch.full((graph.nodes,), scale), Couplings(graph.nodes, graph.edges, weights))
        self.graph = graph

    def feasible(self, x: Int[Tensor, "b d"]) -> Bool[Tensor, " b"]:
        """Whether no two chosen nodes are neighbours."""
        one, other = self.couplings.between(x)
        return ~(one & other).bool().any(1)

    def objective(self, x: Int[Tensor, "b d"]) -> Int[Tensor, " b"]:
        """How many nodes are chosen; −1 where they are not independent."""
        return torch.where(self.feasible(x), x.sum(1), -1)


@reads_tokens
class MaximumClique(PairwiseBinary):
    """exp(−E/T), E(x) = −Σ x_i + λ · (pairs of chosen nodes that are not neighbours).

    Raises UsageError for λ ≤ 1 and T ≤ 0."""

    problem = "clique"

    @read_arguments
    def __init__(self, graph: Graph, temperature: float = 1.0, penalty: float = 1.0001) -> None:
        graph = graph_of(graph)
        if not penalty > 1:
            raise UsageError(f"penalty is {penalty}; at most 1 and a missing edge may pay, give more")
        scale, missing = 1 / _temperature(temperature), graph.complement
        couplings = Couplings(graph.nodes, missing, torch.full((len(missing),), -penalty * scale))
        super().__init__(0, torch.full((graph.nodes,), scale), couplings)
        self.graph = graph

    def feasible(self, x: Int[Tensor, "b d"]) -> Bool[Tensor, " b"]:
        """Whether all chosen nodes are neighbours of each other."""
        one, other = self.couplings.between(x)
        return ~(one & other).bool().any(1)

    def objective(self, x: Int[Tensor, "b d"]) -> Int[Tensor, " b"]:
        """How many nodes are chosen; −1 where they are no clique."""
        return torch.where(self.feasible(x), x.sum(1), -1)


@reads_tokens
class MaximumCut(PairwiseBinary):
    """exp(−E/T), E = −Σ_{edges} (1 − s_i s_j)/2: minus the number of edges between the two sides. Raises UsageError for
    T ≤ 0."""

    problem = "cut"

    @read_arguments
    def __init__(self, graph: Graph, temperature: float = 1.0) -> None:
        graph = graph_of(graph)
        half = 0.5 / _temperature(temperature)
        weights = torch.full((len(graph.edges),), -half)
        couplings = Couplings(graph.nodes, graph.edges, weights)
        super().__init__(-1, torch.zeros(graph.nodes), couplings, half * len(graph.edges))
        self.graph = graph

    def feasible(self, x: Int[Tensor, "b d"]) -> Bool[Tensor, " b"]:
        """Every choice is a cut."""
        return torch.ones(len(x), dtype=torch.bool, device=x.device)

    def objective(self, x: Int[Tensor, "b d"]) -> Int[Tensor, " b"]:
        """How many edges run between the sides."""
        one, other = self.couplings.between(x)
        return (one != other).sum(1)


GraphProblem = MaximumIndependentSet | MaximumClique | MaximumCut
PROBLEMS: dict[str, type[GraphProblem]] = {
    "mis": MaximumIndependentSet,
    "clique": MaximumClique,
    "cut": MaximumCut,
}
"""By their short names."""
