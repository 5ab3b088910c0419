"""leTF, the locally equivariant transformer (arXiv 2505.17741), in the layout and the names of its reference: two
causal streams, left to right and right to left, and one attention that lets row i see what lies before it in the first
and after it in the second. With a bias for every distance of a graph it is leGF.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tenfold.discrete_samplers.networks.parts import EquivariantOutput, PointwiseBlock, TimeEmbedding, TokenTable
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


class StreamAttention(nn.Module):
    """Pre-norm multi-head attention; q, k, v are the thirds of one projection, heads inside each."""

    def __init__(self, hidden: int, head: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.proj = nn.Linear(hidden, hidden)
        self.head = head

    def forward(self, u: Float[Tensor, "b n h"], bias: Float[Tensor, "*a n n"] | None) -> Float[Tensor, "b n h"]:
        """Without the residual; ``bias``, of all rows and heads or of each, holds the causal mask where it is given."""
        q, k, v = self.qkv(self.norm(u)).unflatten(-1, (-1, self.head)).transpose(1, 2).chunk(3, 1)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class CausalLayer(nn.Module):
    """Attention and a pointwise network, each added to what goes in."""

    def __init__(self, hidden: int, head: int) -> None:
        super().__init__()
        self.attention = StreamAttention(hidden, head)
        self.mlp = PointwiseBlock(hidden)

    def forward(self, u: Float[Tensor, "b n h"], bias: Float[Tensor, "*a n n"] | None) -> Float[Tensor, "b n h"]:
        """Both."""
        u = u + self.attention(u, bias)
        return u + self.mlp(u)


class CausalBlock(nn.Module):
    """u + layers(projection(u) + positions); the mask is a buffer because the reference's state has it."""

    causal_attn_mask: Tensor

    def __init__(self, length: int, hidden: int, head: int, layers: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(hidden, hidden)
        self.pos_embed = nn.Parameter(1e-2 * torch.randn(length, hidden))
        self.fwd_blocks = nn.ModuleList(CausalLayer(hidden, head) for _ in range(layers))
        self.register_buffer("causal_attn_mask", torch.ones(length, length).tril())

    def forward(self, u: Float[Tensor, "b n h"], bias: Float[Tensor, "*a n n"] | None) -> Float[Tensor, "b n h"]:
        """One block of a stream."""
        z = self.proj_in(u) + self.pos_embed
        for layer in self.fwd_blocks:
            z = layer(z, bias)
        return z + u


class HollowReadout(nn.Module):
    """Row i attends to the left stream's rows k ≤ i, which know x_{<k}, and to the right stream's k ≥ i, which know
    x_{>k}: never to x_i."""

    def __init__(self, sites: int, hidden: int, head: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.attn_q, self.attn_k = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.attn_v, self.attn_out = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.pos_embed = nn.Parameter(1e-2 * torch.randn(sites, head))
        self.mlp = PointwiseBlock(hidden)
        self.head = head

    def _heads(self, u: Tensor) -> Tensor:
        return u.unflatten(-1, (-1, self.head)).transpose(1, 2)

    def forward(
        self,
        left: Float[Tensor, "b d h"],
        right: Float[Tensor, "b d h"],
        c: Float[Tensor, "b h"],
        bias: Float[Tensor, "*a d d"] | None,
    ) -> Float[Tensor, "b d h"]:
        """Hollow features; ``left`` and ``right`` have no row that knows x_i at i."""
        start = (left + right) / 2**0.5 + c[:, None]
        both = torch.cat([left, right], 1) + c[:, None]
        query, keys = self.norm1(start), self.norm1(both)
        q = self._heads(self.attn_q(query)) + self.pos_embed
        k = self._heads(self.attn_k(keys)) + self.pos_embed.repeat(2, 1)
        mixed = scaled_dot_product_attention(q, k, self._heads(self.attn_v(keys)), attn_mask=self._mask(bias))
        h = start + self.attn_out(mixed.transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm2(h))

    def _mask(self, bias: Float[Tensor, "*a d d"] | None) -> Bool[Tensor, "d k"] | Float[Tensor, "*a d k"]:
        d = len(self.pos_embed)
        lower = torch.ones(d, d, dtype=torch.bool, device=self.pos_embed.device).tril()
        seen = torch.cat([lower, lower.T], 1)
        if bias is None:
            return seen
        return torch.cat([bias, bias], -1).masked_fill(~seen, -torch.inf)


@reads_tokens
class EquivariantTransformer(nn.Module):
    """leTF; with ``distances``, leGF: a learned number for every distance of the graph is added to all attention.

    Args:
        sites, states: d and S.
        hidden: width h.
        head: width of a head, which divides h.
        blocks, layers: of each stream, and layers of a block.
        distances: (d, d) int64 of shortest paths, −1 where there is none; None for no graph.

    Raises:
        UsageError: a head that does not divide the width, distances of another shape.
    """

    distance: Tensor
    distance_bias: nn.Parameter | None

    @read_arguments
    def __init__(
        self,
        sites: int,
        states: int,
        hidden: int = 64,
        head: int = 16,
        blocks: int = 3,
        layers: int = 1,
        distances: Tensor | None = None,
    ) -> None:
        super().__init__()
        if hidden % head:
            raise UsageError(f"head is {head} and hidden {hidden}; the width of a head divides the width")
        if distances is not None and distances.shape != (sites, sites):
            raise UsageError(f"distances have shape {tuple(distances.shape)}; give ({sites}, {sites})")
        self.sites, self.states = sites, states
        self.vocab_embedder = TokenTable(states, hidden)
        self.time_embedder = TimeEmbedding(hidden)
        self.fwd_blocks = nn.ModuleList(CausalBlock(1 + sites, hidden, head, layers) for _ in range(blocks))
        self.bwd_blocks = nn.ModuleList(CausalBlock(1 + sites, hidden, head, layers) for _ in range(blocks))
        self.readout = HollowReadout(sites, hidden, head)
        self.output_layer = EquivariantOutput(states, hidden)
        if distances is not None:
            self.register_buffer("distance", torch.where(distances < 0, int(distances.max()) + 1, distances))
            self.distance_bias = nn.Parameter(torch.zeros(int(self.distance.max()) + 1))
        else:
            self.register_parameter("distance_bias", None)

    def streams(
        self, x: Int[Tensor, "b d"], c: Float[Tensor, "b h"]
    ) -> tuple[Float[Tensor, "b n h"], Float[Tensor, "b n h"]]:
        """Row k of the first knows c and x_{<k}, row k of the second, d + 1 rows too, c and x_{≥k}."""
        tokens = self.vocab_embedder(x)
        left, right = torch.cat([c[:, None], tokens], 1), torch.cat([c[:, None], tokens.flip(1)], 1)
        forward, backward = self._causal_bias(False), self._causal_bias(True)
        for block, mirrored in zip(self.fwd_blocks, self.bwd_blocks, strict=True):
            left, right = block(left, forward), mirrored(right, backward)
        return left, right.flip(1)

    def hollow(self, x: Int[Tensor, "b d"], c: Float[Tensor, "b h"]) -> Float[Tensor, "b d h"]:
        """Features whose row i does not depend on x_i."""
        left, right = self.streams(x, c)
        bias = None if self.distance_bias is None else self.distance_bias[self.distance]
        return self.readout(left[:, :-1], right[:, 1:], c, bias)

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d s"]:
        """G."""
        c = self.time_embedder(t)
        return self.output_layer(self.hollow(x, c), c, x)

    def _causal_bias(self, mirrored: bool) -> Float[Tensor, "n n"] | None:
        """The bias between tokens (none to and from the token of the time) with the causal mask, or None."""
        if self.distance_bias is None:
            return None
        pairs = self.distance_bias[self.distance]
        whole = nn.functional.pad(pairs.flip(0, 1) if mirrored else pairs, (1, 0, 1, 0))
        late = torch.ones_like(whole, dtype=torch.bool).triu(1)
        return whole.masked_fill(late, -torch.inf)
