"""Cluster moves of ferromagnets (Swendsen and Wang 1987, Wolff 1989), which do not slow down at criticality."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from tenfold.discrete_samplers.classical.kernels import ChainDraws, Moved, drawn
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget
from tenfold.discrete_samplers.targets.binary import PairwiseBinary
from tenfold.discrete_samplers.targets.potts import Potts
from tenfold.errors import UsageError


def _parts(target: Any) -> tuple[Any, Float[Tensor, "r m"], Float[Tensor, "r d s"]]:
    """Couplings, −log of the probability that a bond between equal ends stays closed, and log-fields of the tokens, of
    a target or an annealed one (a row each)."""
    beta = torch.ones(1)
    if isinstance(target, AnnealedTarget):
        if bool((target.prior.log_probs != target.prior.log_probs[:1, :1]).any()):
            raise UsageError("cluster moves of a path start from the uniform prior; leave the prior out")
        target, beta = target.target, target.beta.reshape(-1).cpu()
    target = getattr(target, "target", target)  # of a counted one
    if isinstance(target, PairwiseBinary) and target.low == -1:
        bonds, field = 2 * target.couplings.weights, torch.stack([-target.linear, target.linear], -1)
    elif isinstance(target, Potts):
        bonds, field = target.couplings.weights, target.field
    else:
        raise UsageError(
            f"cluster moves are for spins and Potts models, this is {type(target).__name__}; use Gibbs or Informed"
        )
    if bool((bonds < 0).any()):
        raise UsageError("a coupling is negative; cluster moves need ferromagnets: use Gibbs with tempering")
    return target.couplings, beta[:, None] * bonds.detach().cpu(), beta[:, None, None] * field.detach().cpu()


def clusters(open_bonds: Bool[Tensor, "b m"], edges: Int[Tensor, "m 2"], sites: int) -> Int[Tensor, "b d"]:
    """The smallest site of the cluster that each site is in."""
    chain, bond = (part.numpy() for part in open_bonds.nonzero(as_tuple=True))
    i, j = edges.numpy().T
    ends = (chain * sites + i[bond], chain * sites + j[bond])
    size = len(open_bonds) * sites
    graph = coo_array((np.ones(len(chain), dtype=np.int8), ends), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    found = torch.from_numpy(labels).long()
    first = torch.full((int(found.max()) + 1,), size).scatter_reduce(0, found, torch.arange(size), "amin")
    return (first[found] % sites).view(-1, sites)


def _open(couplings: Any, bonds: Float[Tensor, "r m"], x: Int[Tensor, "b d"], draws: ChainDraws) -> Bool[Tensor, "b m"]:
    edges = couplings.edges.cpu()
    same = x[:, edges[:, 0]] == x[:, edges[:, 1]]
    return same & (draws.uniform("bonds", len(edges)).cpu() < -torch.expm1(-bonds))


class SwendsenWang:
    """Bonds between equal neighbours open with probability 1 − e^{−w} (w = 2 J of spins), and every cluster draws a new
    token, by the field where there is one. Clusters are found on the CPU.

    Raises UsageError for couplings that are negative and for targets other than spins and Potts models."""

    def __call__(self, target: Any, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """All clusters."""
        couplings, bonds, field = _parts(target)
        home, x = x.device, x.cpu()
        root = clusters(_open(couplings, bonds, x, draws), couplings.edges.cpu(), x.shape[1])
        gain = field.expand(len(x), -1, -1)
        total = torch.zeros_like(gain).scatter_add_(1, root[..., None].expand_as(gain), gain)
        tokens = drawn(total.softmax(-1), draws.uniform("clusters", x.shape[1]).cpu())
        return Moved(tokens.gather(1, root).to(home), torch.ones(len(x), device=home))


class Wolff:
    """The cluster of a random site moves to another token, without refusal.

    Raises UsageError as ``SwendsenWang`` does, and for a field, which would refuse moves."""

    def __call__(self, target: Any, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """One cluster a chain."""
        couplings, bonds, field = _parts(target)
        if bool((field != field[..., :1]).any()):
            raise UsageError("Wolff's move knows no field; use SwendsenWang")
        home, x, states = x.device, x.cpu(), field.shape[-1]
        root = clusters(_open(couplings, bonds, x, draws), couplings.edges.cpu(), x.shape[1])
        seed, shift = draws.uniform("seed", 2).cpu().T
        site = (seed * x.shape[1]).long()[:, None]
        inside = root == root.gather(1, site)
        jump = 1 + (shift * (states - 1)).long()[:, None]
        return Moved(torch.where(inside, (x + jump) % states, x).to(home), torch.ones(len(x), device=home))
