"""Conditionals p(x_i | what is revealed): a bidirectional transformer over tokens and masks, and a causal one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.networks.conditional import TimeScale
from tenfold.discrete_samplers.networks.parts import PointwiseBlock
from tenfold.discrete_samplers.networks.transformer import CausalLayer
from tenfold.discrete_samplers.targets.protocol import looked_at
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments


class WholeLayer(nn.Module):
    """Attention over all sites, and a pointwise network."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.mlp = PointwiseBlock(hidden)

    def forward(self, u: Float[Tensor, "b n h"]) -> Float[Tensor, "b n h"]:
        """Both, each added to what goes in."""
        v = self.norm(u)
        u = u + self.attention(v, v, v, need_weights=False)[0]
        return u + self.mlp(u)


class RevealedField(nn.Module):
    """What revealed neighbours say of a site, (b, d, S) logits: a(share) · (a_i + Σ_j w_ij v_j) · v_τ, masks adding
    nothing. With a = 1 it is the exact conditional of every site whose neighbours are all revealed; a is learned by
    straight lines in the share of revealed sites.

    Args:
        matrix: (d, d) w.
        linear: (d, c) a_i.
        values: (S, c) v of each token.
    """

    matrix: Tensor
    linear: Tensor
    values: Tensor

    def __init__(self, matrix: Tensor, linear: Tensor, values: Tensor) -> None:
        super().__init__()
        for name, tensor in (("matrix", matrix), ("linear", linear), ("values", values)):
            self.register_buffer(name, tensor.clone(), persistent=False)  # of the target, not of the network
        self.scale = TimeScale(1.0)

    def forward(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """Logits."""
        states = len(self.values)
        shown = nn.functional.one_hot(x, states + 1)[..., :states].to(self.values.dtype) @ self.values
        said = torch.einsum("ij,bjc->bic", self.matrix, shown) + self.linear
        share = (x < states).to(self.values.dtype).mean(1)
        return self.scale(share)[:, None, None] * (said @ self.values.T)


class MaskedConditionals(nn.Module):
    """log p(x_i = τ | revealed), (b, d, S), of tokens in which S stands for a mask; for any set of masks at once.

    With a ``field`` the network learns what is to be added to it (``RevealedField``).
    """

    @read_arguments
    def __init__(
        self,
        sites: int,
        states: int,
        hidden: int = 64,
        heads: int = 4,
        layers: int = 3,
        field: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise UsageError(f"heads is {heads} and hidden {hidden}; heads divide the width")
        self.sites, self.states, self.field = sites, states, field
        self.tokens = nn.Embedding(states + 1, hidden)
        self.place = nn.Parameter(torch.randn(sites, hidden) / hidden**0.5)
        self.layers = nn.ModuleList(WholeLayer(hidden, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(hidden), nn.Linear(hidden, states)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Values) -> Float[Tensor, "b d s"]:
        """Normalised over tokens, at masks and elsewhere."""
        x = looked_at(x, self.sites, self.states + 1)
        u = self.tokens(x) + self.place
        for layer in self.layers:
            u = layer(u)
        logits = self.head(self.norm(u))
        if self.field is not None:
            logits = logits + self.field(x)
        return logits.log_softmax(-1)


class CausalConditionals(nn.Module):
    """log p(x_i = τ | x_{<i}), (b, d, S), of all sites in one pass."""

    @read_arguments
    def __init__(self, sites: int, states: int, hidden: int = 64, head: int = 16, layers: int = 3) -> None:
        super().__init__()
        if hidden % head:
            raise UsageError(f"head is {head} and hidden {hidden}; the width of a head divides the width")
        self.sites, self.states = sites, states
        self.tokens = nn.Embedding(states + 1, hidden)  # S begins
        self.place = nn.Parameter(torch.randn(sites, hidden) / hidden**0.5)
        self.layers = nn.ModuleList(CausalLayer(hidden, head) for _ in range(layers))
        self.norm, self.readout = nn.LayerNorm(hidden), nn.Linear(hidden, states)
        nn.init.zeros_(self.readout.weight)
        nn.init.zeros_(self.readout.bias)

    def forward(self, x: Values) -> Float[Tensor, "b d s"]:
        """Row i does not depend on x_{≥i}; the first tokens alone may be given, for the first rows."""
        x = looked_at(x, min(x.shape[-1], self.sites) if isinstance(x, Tensor) else self.sites, self.states)
        begin = torch.full_like(x[:, :1], self.states)
        u = self.tokens(torch.cat([begin, x[:, :-1]], 1)) + self.place[: x.shape[1]]
        for layer in self.layers:
            u = layer(u, None)
        return self.readout(self.norm(u)).log_softmax(-1)
