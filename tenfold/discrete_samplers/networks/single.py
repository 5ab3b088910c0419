"""Hollow networks of one layer: leMLP and leAttn (arXiv 2502.10843). Stacked naively they would not be hollow."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.networks.parts import EquivariantOutput, TimeEmbedding, TokenTable
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.settings.arguments import read_arguments


@reads_tokens
class EquivariantPerceptron(nn.Module):
    """leMLP: H = Σ_k σ(W_k X + b_k) of embedded tokens X, each W_k (d, d) with zeros on the diagonal."""

    off_diagonal: Tensor

    @read_arguments
    def __init__(self, sites: int, states: int, hidden: int = 32, terms: int = 8) -> None:
        super().__init__()
        self.sites, self.states = sites, states
        self.tokens, self.time = TokenTable(states, hidden), TimeEmbedding(hidden)
        self.weight = nn.Parameter(torch.randn(terms, sites, sites) / sites**0.5)
        self.bias = nn.Parameter(torch.zeros(terms, sites, hidden))
        self.output = EquivariantOutput(states, hidden)
        self.register_buffer("off_diagonal", 1 - torch.eye(sites), persistent=False)

    def hollow(self, x: Int[Tensor, "b d"], c: Float[Tensor, "b h"]) -> Float[Tensor, "b d h"]:
        """Features whose row i does not depend on x_i."""
        v = self.tokens(x) + c[:, None]
        mixed = torch.einsum("kij,bjh->bkih", self.weight * self.off_diagonal, v) + self.bias
        return nn.functional.silu(mixed).sum(1)

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d s"]:
        """G."""
        c = self.time(t)
        return self.output(self.hollow(x, c), c, x)


@reads_tokens
class EquivariantAttention(nn.Module):
    """leAttn: row i attends to all j ≠ i with a query of its place and the time alone."""

    @read_arguments
    def __init__(self, sites: int, states: int, hidden: int = 64) -> None:
        super().__init__()
        self.sites, self.states = sites, states
        self.tokens, self.time = TokenTable(states, hidden), TimeEmbedding(hidden)
        self.place = nn.Parameter(torch.randn(sites, hidden) / hidden**0.5)
        self.query, self.key = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.output = EquivariantOutput(states, hidden)

    def hollow(self, x: Int[Tensor, "b d"], c: Float[Tensor, "b h"]) -> Float[Tensor, "b d h"]:
        """Features whose row i does not depend on x_i."""
        places = self.place + c[:, None]
        v = self.tokens(x) + places
        others = ~torch.eye(self.sites, dtype=torch.bool, device=x.device)
        return nn.functional.scaled_dot_product_attention(
            self.query(places), self.key(v), self.value(v), attn_mask=others
        )

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d s"]:
        """G."""
        c = self.time(t)
        return self.output(self.hollow(x, c), c, x)
