"""Many graph problems at once: row b of the tokens belongs to graph b, graphs of fewer nodes are padded."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse.csgraph import shortest_path
from torch import Tensor

from tenfold.discrete_samplers.targets.graphs import GraphProblem
from tenfold.discrete_samplers.targets.protocol import chosen_sites, of_flips, reads_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments


@reads_tokens
@dataclass
class GraphLaws:
    """A ``DiscreteTarget`` whose rows have laws of their own, log ρ_b = constant_b + Σ_i a_bi v_i + ½ v'W_b v.

    Attributes:
        low: what token 0 stands for, 0 or −1; token 1 stands for 1.
        matrix: (b, n, n) symmetric couplings W, 0 where a node is absent.
        linear: (b, n) a.
        constant: (b,).
        present: (b, n) which nodes there are; the tokens of others change nothing, each adds log 2 to log Z.
        distance: (b, n, n) int64 shortest paths along couplings, cut at ``farthest``; ``farthest + 1`` without a path.
    """

    low: int
    matrix: Float[Tensor, "b n n"]
    linear: Float[Tensor, "b n"]
    constant: Float[Tensor, " b"]
    present: Bool[Tensor, "b n"]
    distance: Int[Tensor, "b n n"]
    sites: int = field(init=False)
    states: int = field(default=2, init=False)

    def __post_init__(self) -> None:
        self.sites = self.matrix.shape[-1]

    @property
    def degree(self) -> Int[Tensor, "b n"]:
        """Nodes that each is coupled to."""
        return (self.matrix != 0).sum(-1)

    def of(self, rows: Values) -> "GraphLaws":
        """The laws of these numbers, repeated as they are."""
        chosen = chosen_sites(rows, len(self.constant), "rows").to(self.constant.device)
        parts = {name: getattr(self, name)[chosen] for name in _TENSORS}
        return replace(self, **parts)

    def to(self, device: torch.device | str) -> "GraphLaws":
        """On another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSORS})

    def _values(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return x.to(self.linear.dtype) * (1 - self.low) + self.low

    def local_field(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """f_i = a_i + Σ_j w_ij v_j."""
        return self._field(x)

    def _field(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        if len(x) != len(self.linear):
            raise UsageError(f"x has {len(x)} rows for {len(self.linear)} laws; give one a law (``of`` repeats laws)")
        return self.linear + torch.einsum("bij,bj->bi", self.matrix, self._values(x))

    def log_prob(self, x: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
        """log ρ_b(x_b)."""
        return (self._values(x) * (self.linear + self._field(x))).sum(1) / 2 + self.constant

    def neighbour_log_ratio(self, x: Int[Tensor, "b n"]) -> Float[Tensor, "b n 2"]:
        """As the protocol says."""
        return of_flips((1 - self.low) * (1 - 2 * x) * self._field(x), x)


_TENSORS = ("matrix", "linear", "constant", "present", "distance")


@read_arguments
def graph_laws(problems: Sequence[GraphProblem], nodes: int, farthest: int = 6) -> GraphLaws:
    """The laws of problems of one kind, each padded to so many nodes.

    Raises UsageError for graphs of more nodes, and where there are none."""
    if not problems:
        raise UsageError("there are no graphs; give at least one")
    if farthest < 1:
        raise UsageError(f"farthest is {farthest}; give at least 1")
    most = max(problem.sites for problem in problems)
    if most > nodes:
        raise UsageError(f"a graph has {most} nodes; the network was made for at most {nodes}")
    count = len(problems)
    matrix, linear = torch.zeros(count, nodes, nodes), torch.zeros(count, nodes)
    present = torch.zeros(count, nodes, dtype=torch.bool)
    distance = torch.full((count, nodes, nodes), farthest + 1)
    for b, problem in enumerate(problems):
        n = problem.sites
        matrix[b, :n, :n], linear[b, :n], present[b, :n] = problem.couplings.matrix, problem.linear, True
        paths = shortest_path((problem.couplings.matrix != 0).numpy(), unweighted=True, directed=False)
        # Between nodes without a path the distance is infinite: a number of its own, beyond the farthest.
        distance[b, :n, :n] = torch.from_numpy(paths).nan_to_num(posinf=farthest + 1).clamp(max=farthest + 1).long()
    constant = torch.tensor([problem.constant for problem in problems])
    return GraphLaws(problems[0].low, matrix, linear, constant, present, distance)
