"""leGF, the locally equivariant transformer with a bias for every distance of the graph, for graphs of many sizes."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.networks.parts import EquivariantOutput, TimeEmbedding, TokenTable
from tenfold.discrete_samplers.networks.transformer import CausalBlock, HollowReadout
from tenfold.discrete_samplers.targets.graph_laws import GraphLaws
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


@reads_tokens
class GraphTransformer(nn.Module):
    """leTF's two causal streams and readout; all attention has a learned number for every distance and head, which all
    layers share, and every node its degree. The paper does not say how smaller graphs are padded: here absent nodes are
    no keys, carry no token and have G = 0, so that what stands beside a graph in a batch changes nothing.

    Args:
        nodes: of the largest graph.
        hidden: width.
        head: width of a head, which divides it.
        blocks, layers: of each stream, and layers of a block.
        farthest: distances beyond count as this one; that there is no path has a number of its own.

    Raises:
        UsageError: a head that does not divide the width.
    """

    @read_arguments
    def __init__(
        self, nodes: int, hidden: int = 48, head: int = 16, blocks: int = 2, layers: int = 1, farthest: int = 6
    ) -> None:
        super().__init__()
        if hidden % head:
            raise UsageError(f"head is {head} and hidden {hidden}; the width of a head divides the width")
        self.sites, self.states, self.farthest = nodes, 2, farthest
        self.vocab_embedder, self.time_embedder = TokenTable(2, hidden), TimeEmbedding(hidden)
        self.degree_embedder = TokenTable(nodes, hidden)
        self.fwd_blocks = nn.ModuleList(CausalBlock(1 + nodes, hidden, head, layers) for _ in range(blocks))
        self.bwd_blocks = nn.ModuleList(CausalBlock(1 + nodes, hidden, head, layers) for _ in range(blocks))
        self.readout = HollowReadout(nodes, hidden, head)
        self.output_layer = EquivariantOutput(2, hidden)
        self.distance_bias = nn.Parameter(torch.zeros(farthest + 2, hidden // head))

    def hollow(self, x: Int[Tensor, "b d"], c: Float[Tensor, "b h"], laws: GraphLaws) -> Float[Tensor, "b d h"]:
        """Features whose row i does not depend on x_i."""
        degrees = self.degree_embedder(laws.degree)
        tokens = torch.where(laws.present[..., None], self.vocab_embedder(x) + degrees, 0.0)
        pairs = self.distance_bias[laws.distance].permute(0, 3, 1, 2)
        pairs = pairs.masked_fill(~laws.present[:, None, None], -torch.inf)
        left, right = torch.cat([c[:, None], tokens], 1), torch.cat([c[:, None], tokens.flip(1)], 1)
        ahead, back = _causal(pairs), _causal(pairs.flip(2, 3))
        for block, mirrored in zip(self.fwd_blocks, self.bwd_blocks, strict=True):
            left, right = block(left, ahead), mirrored(right, back)
        return self.readout(left[:, :-1] + degrees, right.flip(1)[:, 1:] + degrees, c, pairs)

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"], laws: GraphLaws) -> Float[Tensor, "b d 2"]:
        """G of rows, each on a graph of its own."""
        c = self.time_embedder(t)
        return self.output_layer(self.hollow(x, c, laws), c, x) * laws.present[..., None]


def _causal(pairs: Float[Tensor, "b k d d"]) -> Float[Tensor, "b k n n"]:
    """The bias between tokens, none to and from that of the time, with the causal mask."""
    whole = nn.functional.pad(pairs, (1, 0, 1, 0))
    late = torch.ones(whole.shape[-2:], dtype=torch.bool, device=pairs.device).triu(1)
    return whole.masked_fill(late, -torch.inf)
