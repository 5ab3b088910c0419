"""The causal transformer that conditions a coupling: features of a position from the positions before it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.nn.attention import CausalAttention, KeyValueCache
from tenfold.nn.norm import LayerNorm
from tenfold.nn.rotary import line_angles, turns
from tenfold.nn.transformer import FeedForward
from tenfold.text_flows.config import TextFlowConfig

_GROUPS = 8


class LayerState:
    """What a layer keeps of the positions that are committed: keys and values, and the vectors that the convolution
    still reaches. A window behind them can be evaluated again and again until it is committed."""

    def __init__(self, layer: "BodyLayer", rows: int, capacity: int, like: Tensor) -> None:
        attention = layer.attention
        self.cache = KeyValueCache(rows, attention.kv_heads, capacity, attention.head_size, like.dtype, like.device)
        self.tail = like.new_zeros(rows, layer.reach - 1, like.shape[-1]) if layer.reach else None
        self.window: Tensor | None = None

    def advance(self, count: int) -> None:
        """Commit the first ``count`` positions of the window that was evaluated last."""
        self.cache.advance(count)
        if self.tail is not None and self.window is not None:
            self.tail = torch.cat([self.tail, self.window[:, :count]], 1)[:, count:]


class BodyLayer(nn.Module):
    """x += GELU(convolution over the last positions); x += attention(x); x += perceptron(x)."""

    def __init__(self, config: TextFlowConfig) -> None:
        super().__init__()
        self.reach = config.local_mixing
        self.mixing = nn.Conv1d(config.width, config.width, self.reach, groups=_GROUPS) if self.reach else None
        self.attention = CausalAttention(config.attention)
        self.mlp = FeedForward(config.perceptron)

    def forward(
        self, x: Float[Tensor, "b n w"], rotary: Float[Tensor, "2 n half"], state: LayerState | None = None
    ) -> Float[Tensor, "b n w"]:
        """n positions, which follow those committed to ``state``."""
        if self.mixing is not None:
            if state is None or state.tail is None:
                before = F.pad(x, (0, 0, self.reach - 1, 0))
            else:
                state.window = x
                before = torch.cat([state.tail, x], 1)
            x = x + F.gelu(self.mixing(before.transpose(1, 2)).transpose(1, 2))
        x = x + self.attention(x, None if state is None else state.cache, 1.0, rotary)
        return x + self.mlp(x)


class CausalBody(nn.Module):
    """Features (b, n, width) of n positions, each from the values (b, n, c) of those before it; the first from a
    learned start vector alone."""

    def __init__(self, config: TextFlowConfig, layers: int) -> None:
        super().__init__()
        self.head_size = config.width // config.heads
        self.proj_in = nn.Linear(config.channels, config.width)
        self.start = nn.Parameter(0.02 * math.sqrt(config.width / 2) * torch.randn(config.width))
        self.layers = nn.ModuleList(BodyLayer(config) for _ in range(layers))
        self.norm = LayerNorm(config.width)

    def forward(self, values: Float[Tensor, "b n c"]) -> Float[Tensor, "b n w"]:
        """All positions in one pass; the last value is not looked at."""
        x = self._vectors(values[:, :-1], first=True)
        return self._read(x, 0, None)

    def begin(self, rows: int, capacity: int) -> list[LayerState]:
        """States, one a layer, before the first position."""
        like = self.start.new_empty(rows, 1, self.start.shape[0])
        return [LayerState(layer, rows, capacity, like) for layer in self.layers]  # type: ignore[arg-type]

    def window(self, before: Float[Tensor, "b m c"], first: bool, states: list[LayerState]) -> Float[Tensor, "b n w"]:
        """Features of the positions behind those committed, from the values of the position before each of them; with
        ``first``, the start vector comes before these. Without gradients."""
        return self._read(self._vectors(before, first), states[0].cache.length, states)

    def _vectors(self, values: Tensor, first: bool) -> Tensor:
        x = self.proj_in(values.to(self.proj_in.weight.dtype))
        return torch.cat([self.start.to(x.dtype).expand(len(x), 1, -1), x], 1) if first else x

    def _read(self, x: Tensor, start: int, states: list[LayerState] | None) -> Tensor:
        places = torch.arange(start, start + x.shape[1], device=x.device).float()
        rotary = turns(line_angles(places, self.head_size), x.dtype)
        for number, layer in enumerate(self.layers):
            x = layer(x, rotary, None if states is None else states[number])
        return self.norm(x)
