"""From any choice of nodes to a good feasible one: conflicts out, free nodes in, exchanges; many chains at once."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold.discrete_samplers.targets.graphs import GraphProblem, MaximumCut, MaximumIndependentSet
from tenfold.discrete_samplers.targets.protocol import bare, looked_at
from tenfold.errors import UsageError
from tenfold.nn.border import Values

_MOST_PAIRS = 2**25  # entries (chain, node, node) looked at at once


def repaired(problem: GraphProblem, x: Values) -> Int[Tensor, "b d"]:
    """A feasible choice: of an independent set (or clique) the nodes that the greedy rule keeps which goes through the
    chosen nodes by number and drops their later neighbours (or strangers). Cuts are as they are."""
    x = _choices(problem, x)
    if isinstance(problem, MaximumCut):
        return x
    return _kept(x.bool(), _barred(problem).to(x.device)).long()


def improved(problem: GraphProblem, x: Values) -> Int[Tensor, "b d"]:
    """A feasible local optimum, never worse than ``repaired``: single flips of a cut; of a set, nodes that fit in, and
    exchanges of one node for two."""
    x = _choices(problem, x)
    if isinstance(problem, MaximumCut):
        return _flipped(problem, x)
    barred = _barred(problem).to(x.device)
    rows = max(1, _MOST_PAIRS // len(barred) ** 2)
    return torch.cat([_exchanged(part.bool(), barred) for part in repaired(problem, x).split(rows)]).long()


def _choices(problem: GraphProblem, x: Values) -> Int[Tensor, "b d"]:
    if not isinstance(problem, GraphProblem):
        raise UsageError(f"problem is {type(problem).__name__}; give a MaximumIndependentSet, -Clique or -Cut")
    return looked_at(x, problem.sites, problem.states)


def _barred(problem: GraphProblem) -> Bool[Tensor, "d d"]:
    """The pairs that may not be chosen together."""
    adjacent = problem.graph.adjacency
    if isinstance(problem, MaximumIndependentSet):
        return adjacent
    return ~adjacent & ~torch.eye(len(adjacent), dtype=torch.bool)


def _any_of(x: Bool[Tensor, "b d"], matrix: Bool[Tensor, "d d"]) -> Int[Tensor, "b d"]:
    """How many of the chosen nodes are barred neighbours of each node."""
    return (x.float() @ matrix.float()).round().long()


def _kept(candidates: Bool[Tensor, "b d"], barred: Bool[Tensor, "d d"]) -> Bool[Tensor, "b d"]:
    """The greedy rule, in rounds: a candidate without an earlier barred candidate is kept, and drops the later ones."""
    earlier = barred.triu(1)  # [i, j]: i stands before j
    kept = torch.zeros_like(candidates)
    while bool(candidates.any()):
        sure = candidates & (_any_of(candidates, earlier) == 0)
        kept |= sure
        candidates = candidates & ~sure & (_any_of(sure, barred) == 0)
    return kept


def _exchanged(x: Bool[Tensor, "b d"], barred: Bool[Tensor, "d d"]) -> Bool[Tensor, "b d"]:
    friends = ~barred & ~torch.eye(len(barred), dtype=torch.bool, device=x.device)
    while True:
        x = x | _kept(~x & (_any_of(x, barred) == 0), barred)
        # A node with one chosen barred neighbour, its owner; two such friends of one owner replace it.
        tight = ~x & (_any_of(x, barred) == 1)
        owner = (x[:, None] & barred).float().argmax(-1)
        pairs = tight[:, :, None] & tight[:, None] & friends & (owner[:, :, None] == owner[:, None])
        flat = pairs.flatten(1)
        found = flat.any(1)
        if not bool(found.any()):
            return x
        rows, which = found.nonzero()[:, 0], flat[found].int().argmax(1)
        one, other = which // x.shape[1], which % x.shape[1]
        x = x.clone()
        x[rows, owner[rows, one]] = False
        x[rows, one] = x[rows, other] = True


def _flipped(problem: MaximumCut, x: Int[Tensor, "b d"]) -> Int[Tensor, "b d"]:
    """The best flip of every chain as long as one cuts more edges."""
    while True:
        gain = bare(problem, "flip_log_ratio")(x)
        best, site = gain.max(1)
        better = best > 1e-4 * problem.couplings.weights.abs().max()
        if not bool(better.any()):
            return x
        new = 1 - x.gather(1, site[:, None])
        x = torch.where(better[:, None], x.scatter(1, site[:, None], new), x)
