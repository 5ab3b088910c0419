"""A hollow network of near-linear cost: decayed sums from either side instead of attention, O(d log d) time, O(d)
memory."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.networks.parts import EquivariantOutput, PointwiseBlock, TimeEmbedding, TokenTable
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.settings.arguments import read_arguments


def decayed_sums(u: Float[Tensor, "b n h"], decay: Float[Tensor, " h"]) -> Float[Tensor, "b n h"]:
    """y_k = Σ_{j ≤ k} λ^{k−j} u_j of every channel, by doubling: log₂ n steps over the whole sequence.

    >>> decayed_sums(torch.ones(1, 4, 1), torch.tensor([0.5]))[0, :, 0]
    tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    reach = 1
    while reach < u.shape[1]:
        u = u + nn.functional.pad(u[:, :-reach] * decay**reach, (0, 0, reach, 0))
        reach *= 2
    return u


class ScanLayer(nn.Module):
    """Decayed sums over what stands before, gated, and a pointwise network."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.enter, self.leave = nn.Linear(hidden, 2 * hidden), nn.Linear(hidden, hidden)
        self.rate = nn.Parameter(torch.linspace(-2.0, 4.0, hidden))
        self.mlp = PointwiseBlock(hidden, 2)

    def forward(self, u: Float[Tensor, "b n h"]) -> Float[Tensor, "b n h"]:
        """Row k sees rows j ≤ k."""
        value, gate = self.enter(self.norm(u)).chunk(2, -1)
        decay = torch.sigmoid(self.rate)
        u = u + self.leave(decayed_sums(value * (1 - decay), decay) * nn.functional.silu(gate))
        return u + self.mlp(u)


@reads_tokens
class EquivariantScan(nn.Module):
    """G from a stream on either side of every site."""

    @read_arguments
    def __init__(self, sites: int, states: int, hidden: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.sites, self.states = sites, states
        self.tokens, self.time = TokenTable(states, hidden), TimeEmbedding(hidden)
        self.place = nn.Parameter(1e-2 * torch.randn(1 + sites, hidden))
        self.left = nn.Sequential(*(ScanLayer(hidden) for _ in range(layers)))
        self.right = nn.Sequential(*(ScanLayer(hidden) for _ in range(layers)))
        self.join = PointwiseBlock(hidden)
        self.output = EquivariantOutput(states, hidden)

    def hollow(self, x: Int[Tensor, "b d"], c: Float[Tensor, "b h"]) -> Float[Tensor, "b d h"]:
        """Features whose row i does not depend on x_i."""
        v = self.tokens(x)
        left = self.left(torch.cat([c[:, None], v], 1) + self.place)[:, :-1]
        right = self.right(torch.cat([c[:, None], v.flip(1)], 1) + self.place.flip(0))[:, :-1].flip(1)
        h = left + right + self.place[1:]
        return h + self.join(h)

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d s"]:
        """G."""
        c = self.time(t)
        return self.output(self.hollow(x, c), c, x)
