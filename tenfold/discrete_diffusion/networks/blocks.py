"""The transformer of the room: attention to all tokens or to the left, rotary positions, mixing of neighbours; and
the hollow one, of which no output sees its own token: leave-one-out conditionals in one pass.

In the hollow one two causal streams read the tokens from the left and from the right. Position i takes what the first
knows of tokens before i and the second of tokens behind i, and looks once more at both streams' states of that kind
(the hollow transformer of Sun et al., arXiv 2211.16750).

Given the clean tokens at the other sites, the noisy sequence tells of token i only through x_t^i. So a joint model's
conditional is p(x_0^i | x_0 without i, x_t) ∝ Q_i(· | x_0 without i) p(x_t^i | ·): the same network run on clean
tokens, then ``posterior_from_leave_one_out``.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.discrete_diffusion.config import DiffusionConfig, NetworkConfig
from tenfold.errors import UsageError
from tenfold.nn.norm import LayerNorm
from tenfold.nn.rotary import line_angles, rotate, turns

_GROUPS = 8


class LocalMixing(nn.Module):
    """x + GELU(grouped convolution over neighbours): what lies near, before any attention has learnt to find it."""

    def __init__(self, width: int, reach: int, causal: bool) -> None:
        super().__init__()
        self.pad = (reach - 1, 0) if causal else (reach // 2, reach // 2)
        self.conv = nn.Conv1d(width, width, reach, groups=_GROUPS)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """Same shape."""
        mixed: Tensor = self.conv(F.pad(x.transpose(1, 2), self.pad)).transpose(1, 2)
        return x + F.gelu(mixed)


class TokenAttention(nn.Module):
    """Multi-head attention of ``x`` to itself, or to ``others``; positions are told by ``rotary`` turns."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        others: Float[Tensor, "b m d"] | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
        allowed: Bool[Tensor, "n m"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "b n d"]:
        """``rotary`` are the turns of the n queries and of the m keys; ``allowed`` is True where a query may look."""
        turned, keys = rotary or (None, None)
        return self.look(x, *self.keys_values(x if others is None else others, keys), turned, allowed, causal)

    def keys_values(
        self, x: Float[Tensor, "b m d"], rotary: Tensor | None = None
    ) -> tuple[Float[Tensor, "b h m e"], Float[Tensor, "b h m e"]]:
        """What can be looked at, the keys turned by their places."""
        key, value = (self._split(part) for part in self.key_value(x).chunk(2, dim=-1))
        return (key if rotary is None else rotate(key, rotary, "half")), value

    def look(
        self,
        x: Float[Tensor, "b n d"],
        key: Float[Tensor, "b h m e"],
        value: Float[Tensor, "b h m e"],
        rotary: Tensor | None = None,
        allowed: Bool[Tensor, "n m"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "b n d"]:
        """Attention of ``x`` to keys and values, some of them of earlier passes."""
        query = self._split(self.query(x))
        if rotary is not None:
            query = rotate(query, rotary, "half")
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Layer(nn.Module):
    """Mixing of neighbours, attention, perceptron; each on a residual branch."""

    def __init__(self, config: NetworkConfig, causal: bool) -> None:
        super().__init__()
        width, hidden = config.width, config.intermediate or 4 * config.width
        self.causal, self.dropout = causal, config.dropout
        self.mixing = LocalMixing(width, config.local_mixing, causal) if config.local_mixing else None
        self.attention_norm, self.attention = LayerNorm(width), TokenAttention(width, config.heads)
        self.mlp_norm = LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        others: Float[Tensor, "b m d"] | None = None,
        rotary: tuple[Tensor, Tensor] | None = None,
        allowed: Bool[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """(b, n, d) -> (b, n, d); see ``TokenAttention`` for the arguments."""
        if self.mixing is not None:
            x = self.mixing(x)
        causal = self.causal and allowed is None
        seen = self.attention(self.attention_norm(x), others, rotary, allowed, causal)
        x = x + F.dropout(seen, self.dropout, self.training)
        return x + F.dropout(self.mlp(self.mlp_norm(x)), self.dropout, self.training)


class Stack(nn.Module):
    """Tokens to hidden states: an embedding, positions, the noise level if it is told, and layers.

    ``states`` are the tokens that can come in; a ``time`` network takes −log α as well."""

    def __init__(self, config: NetworkConfig, states: int, causal: bool, time: bool = False) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(states, config.width)
        nn.init.normal_(self.embedding.weight, std=0.02 * math.sqrt(config.width / 2))
        self.places = None
        if config.positions == "learned":
            self.places = nn.Parameter(config.position_std * torch.randn(config.length, config.width))
        self.level = LevelEmbedding(config.width, config.width) if time else None
        self.layers = nn.ModuleList(Layer(config, causal) for _ in range(config.layers))
        self.norm = LayerNorm(config.width)

    def forward(self, tokens: Int[Tensor, "b n"], sigma: Float[Tensor, " b"] | None = None) -> Float[Tensor, "b n d"]:
        """Hidden states, normalised."""
        require_length(tokens, self.config.length)
        return self.of_vectors(self.embedding(tokens), sigma)

    def of_vectors(self, x: Float[Tensor, "b n d"], sigma: Float[Tensor, " b"] | None = None) -> Float[Tensor, "b n d"]:
        """The same of token vectors."""
        if self.places is not None:
            x = x + self.places[: x.shape[1]]
        if self.level is not None:
            assert sigma is not None  # the model made sure
            x = x + self.level(sigma)[:, None]
        rotary = None if self.places is not None else own_turns(x.shape[1], self.config, x)
        for layer in self.layers:
            x = layer(x, None, rotary)
        return self.norm(x)


class LevelEmbedding(nn.Module):
    """Sines and cosines of the level σ, through a perceptron; the published networks' layout and names."""

    def __init__(self, width: int, out: int, features: int = 256) -> None:
        super().__init__()
        self.features = features
        self.mlp = nn.Sequential(nn.Linear(features, width), nn.SiLU(), nn.Linear(width, out))

    def forward(self, sigma: Float[Tensor, " b"]) -> Float[Tensor, "b w"]:
        """(b,) -> (b, out); cosines first, periods up to 10⁴."""
        half = self.features // 2
        frequencies = torch.exp(-math.log(10_000) / half * torch.arange(half, device=sigma.device).float())
        angles = sigma[:, None].float() * frequencies
        weight: Tensor = self.mlp[0].weight  # type: ignore[assignment]
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(weight.dtype))


def zeroed(into: int, out: int) -> nn.Linear:
    """A layer that gives 0 at first."""
    layer = nn.Linear(into, out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def own_turns(length: int, config: NetworkConfig, like: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary turns of a sequence that looks at itself."""
    positions = torch.arange(length, device=like.device).float()
    table = turns(line_angles(positions, config.width // config.heads), like.dtype)
    return table, table


def require_length(tokens: Tensor, length: int) -> None:
    """Raises UsageError for a sequence that is longer than the positions are made for."""
    if tokens.shape[1] > length:
        raise UsageError(f"a sequence of {tokens.shape[1]} tokens exceeds the {length} of the model; shorten it")


class HollowTransformer(nn.Module):
    """Hidden states (b, n, d) of tokens (b, n), of which state i does not depend on token i.

    >>> network = HollowTransformer(DiffusionConfig(network="hollow", width=32, layers=1, heads=2), states=28)
    >>> network(torch.zeros(1, 6, dtype=torch.long)).shape
    torch.Size([1, 6, 32])
    """

    def __init__(self, config: DiffusionConfig, states: int) -> None:
        super().__init__()
        self.config, self.begin = config, states
        self.left = Stack(config, states + 1, causal=True)
        self.right = Stack(config, states + 1, causal=True)
        self.join = nn.Linear(2 * config.width, config.width)
        self.top = _Top(config)

    def forward(self, tokens: Int[Tensor, "b n"], sigma: Float[Tensor, " b"] | None = None) -> Float[Tensor, "b n d"]:
        """Hidden states; the noise level is not looked at."""
        start = torch.full_like(tokens[:, :1], self.begin)
        left = self.left(torch.cat([start, tokens[:, :-1]], dim=1))
        right = self.right(torch.cat([start, tokens.flip(1)[:, :-1]], dim=1)).flip(1)
        return self.top(self.join(torch.cat([left, right], dim=-1)), left, right)


class _Top(nn.Module):
    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = Layer(replace(config, local_mixing=0), causal=False)  # neighbours would be seen
        self.norm = LayerNorm(config.width)

    def forward(self, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        n = x.shape[1]
        whole = torch.ones(n, n, dtype=torch.bool, device=x.device)
        allowed = torch.cat(
            [whole.tril(), whole.triu()], dim=1
        )  # states j ≤ i know tokens < i, states j ≥ i tokens > i
        table, _ = own_turns(n, self.config, x)
        rotary = (table, torch.cat([table, table], dim=1))
        return self.norm(self.layer(x, torch.cat([left, right], dim=1), rotary, allowed))
