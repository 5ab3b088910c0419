"""Causal self-attention, with a preallocated key-value cache for sequential and windowed decoding."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tenfold.nn.border import transformed
from tenfold.nn.config import LayerConfig
from tenfold.nn.norm import RMSNorm, norm_of
from tenfold.nn.rotary import rotate


class KeyValueCache:
    """Keys and values of one attention layer, preallocated: (batch, heads, capacity, head size).

    Tokens are *written* behind the ``length`` committed ones by a call of the layer and *committed* by
    ``advance``. A window of tokens can so be evaluated again and again (Jacobi sweeps) at no extra cost, and
    committed when it is final.
    """

    def __init__(
        self,
        batch: int,
        heads: int,
        capacity: int,
        head_size: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        # Keys and values share one tensor, so that a decoder can write a token's pair with one copy.
        self.pair = torch.empty(2, batch, heads, capacity, head_size, dtype=dtype, device=device)
        self.keys, self.values = self.pair.unbind(0)
        self.length = 0

    def write(
        self, keys: Float[Tensor, "b h n d"], values: Float[Tensor, "b h n d"]
    ) -> tuple[Float[Tensor, "b h s d"], Float[Tensor, "b h s d"]]:
        """Place n tokens behind the committed ones; return all keys and values up to them."""
        end = self.length + keys.shape[2]
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]

    def advance(self, count: int) -> None:
        """Commit the first ``count`` written tokens."""
        self.length += count

    def rows(self, rows: Int64[Tensor, "r"]) -> "KeyValueCache":
        """A cache of the batch rows ``rows``, with a copy of their committed tokens."""
        part = object.__new__(KeyValueCache)
        batch, length = len(rows), self.length
        part.pair = self.pair.new_empty(2, batch, *self.keys.shape[1:])
        part.pair[:, :, :, :length] = self.pair[:, :, :, :length].index_select(1, rows)
        part.keys, part.values = part.pair.unbind(0)
        part.length = length
        return part


class CausalAttention(nn.Module):
    """Pre-norm multi-head causal self-attention with a fused projection packed [queries | keys | values].

    Logits are q·k / sqrt(head size), divided further by ``temperature`` (a number, or one per batch row).
    """

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = config.query_heads, config.key_heads, config.head_size
        self.layout = config.rotary
        queries, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        self.norm = norm_of(config.norm, config.width)
        self.qkv = nn.Linear(config.width, queries + 2 * keys, bias=config.bias)
        self.proj = nn.Linear(queries, config.width, bias=config.bias)
        self.query_norm = RMSNorm(self.head_size) if config.qk_norm else None
        self.key_norm = RMSNorm(self.head_size) if config.qk_norm else None
        self.post_norm = RMSNorm(config.width) if config.post_norm else None

    def forward(
        self,
        x: Float[Tensor, "b n width"],
        cache: KeyValueCache | None = None,
        temperature: float | Float[Tensor, "b"] = 1.0,
        rotary: Float[Tensor, "2 n half"] | None = None,
    ) -> Float[Tensor, "b n width"]:
        """Attend causally; with a cache, also to its committed tokens (and write, not commit, the new).

        ``rotary`` holds the turns of the n tokens (see ``tenfold.nn.rotary``); keys are cached turned."""
        batch, new, _ = x.shape
        parts = [self.heads, self.kv_heads, self.kv_heads]
        packed = self.qkv(self.norm(x)).view(batch, new, sum(parts), self.head_size).transpose(1, 2)
        queries, keys, values = packed.split(parts, dim=1)
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotary is not None and self.layout != "none":
            queries, keys = rotate(queries, rotary, self.layout), rotate(keys, rotary, self.layout)
        if isinstance(temperature, Tensor):
            queries = queries / temperature.to(queries.dtype).view(-1, 1, 1, 1)
        elif temperature != 1.0:
            queries = queries / temperature
        past = 0
        if cache is not None:
            past = cache.length
            keys, values = cache.write(keys, values)
        grouped = self.kv_heads != self.heads
        if new == 1:
            out = F.scaled_dot_product_attention(queries, keys, values, enable_gqa=grouped)
        elif past == 0:
            out = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=grouped)
        else:
            mask = torch.ones(new, past + new, dtype=torch.bool, device=x.device).tril(past)
            out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=grouped)
        result = self.proj(out.transpose(1, 2).reshape(batch, new, self.heads * self.head_size))
        return result if self.post_norm is None else self.post_norm(result)


@contextmanager
def differentiable_attention(*inputs: object) -> Iterator[None]:
    """Attention that can be differentiated as often as one likes, where any of ``inputs`` asks for derivatives: the
    fused kernels have first ones alone, and those in reverse. Training, whose inputs ask for none, keeps them."""
    asked = any(isinstance(x, Tensor) and x.requires_grad for x in inputs) or transformed()
    if _FIRST_ALONE or not asked:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Calls inside can be differentiated as often as one likes in the weights too, for the Hessian or the Fisher
    information of a loss: attention without the fused kernels, whose backward passes have no derivative. It takes time
    and memory that grow with the square of the number of tokens.

    Derivatives in the inputs need no such context."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


_FIRST_ALONE: list[None] = []


@contextmanager
def first_derivatives() -> Iterator[None]:
    """First derivatives are all that the calls inside are asked for, so that the fused kernels serve."""
    _FIRST_ALONE.append(None)
    try:
        yield
    finally:
        _FIRST_ALONE.pop()
