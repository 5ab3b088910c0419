"""One autoregressive flow block: an affine map of each token given the earlier.

With u = P(x) the tokens in the block's own order and (a_i, m_i) = net(u_<i),

    forward  v_i = (u_i − m_i) exp(−a_i),     inverse  u_i = v_i exp(a_i) + m_i,     log|dv/du| = −Σ a.

``FlowBlock`` is what all flows share; the blocks of their systems differ in what the network reads and in how its
output is split.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from tenfold.nn.attention import KeyValueCache
from tenfold.nn.config import LayerConfig
from tenfold.nn.precision import at_least_single
from tenfold.nn.transformer import TransformerLayer


@dataclass(frozen=True)
class Context:
    """Vectors that a block's network reads before the first slot of its chain: (b, L, width), and their rotary
    turns (2, L, head size / 2). ``images`` counts the images among them, each of which moves what follows one step
    along the third axis of the positions."""

    vectors: Float[Tensor, "b n width"]
    rotary: Float[Tensor, "2 n half"]
    images: int = 0

    def __getitem__(self, rows: Int64[Tensor, "r"]) -> "Context":
        """Those of the samples ``rows``."""
        return Context(self.vectors[rows], self.rotary, self.images)


Condition = Tensor | Context
"""A condition, as a flow takes it or as a block has prepared it."""


class FlowBlock(nn.Module):
    """v, log|dv/du| = block(u, condition): tokens in, tokens out, both in image order.

    A block solves a *chain* of N + 1 slots, of which slot 0 is known and the network's output on slots 0..j gives
    the parameters of slot j + 1. Without a start token the chain is the tokens themselves (N = T − 1, token 0
    passes unchanged); a start token comes before them (N = T).

    Attributes:
        tokens: T.
        reverse: whether the block's order is the image order reversed.
        first_output: the token that the network's first output serves, 1 without a start token and 0 with one.
        conditional: whether the condition reaches the block's network.
        prefix: tokens of a condition that the network reads before the chain.
    """

    conditional: bool
    prefix: int = 0

    def __init__(self, tokens: int, token_dim: int, layer: LayerConfig, reverse: bool) -> None:
        super().__init__()
        self.tokens, self.layer, self.reverse = tokens, layer, reverse
        self.first_output = 1
        self.proj_in = nn.Linear(token_dim, layer.width)

    def add_layers(self, count: int, outputs: int) -> None:
        """Make the transformer layers and the output layer, which starts at zero."""
        self.layers = nn.ModuleList(TransformerLayer(self.layer) for _ in range(count))
        self.proj_out = nn.Linear(self.layer.width, outputs)
        nn.init.zeros_(self.proj_out.weight)

    # What a kind of flow decides

    def condition(self, weights: Condition | None) -> Condition | None:
        """The flow's condition (``condition_weights``) as ``predict`` and ``begin`` take it."""
        raise NotImplementedError

    def embed(self, inputs: Float[Tensor, "b n d"], start: int, condition: Condition | None) -> Float[Tensor, "b n w"]:
        """n consecutive slots from ``start`` on as the layers read them."""
        raise NotImplementedError

    def head(self, h: Float[Tensor, "*b width"]) -> tuple[Float[Tensor, "*b d"] | None, Float[Tensor, "*b d"]]:
        """The layers' output as (a, m); a is None when the block preserves volume."""
        raise NotImplementedError

    def rotary(self, start: int, count: int, images: int = 0) -> Float[Tensor, "2 n half"] | None:
        """The rotary turns of ``count`` slots from ``start`` on, after ``images`` whole images; None for blocks with
        learned positions."""
        return None

    def start_token(self) -> Float[Tensor, "1 1 d"] | None:
        """The known slot before the first token, if the block has one."""
        return None

    # The chain

    @property
    def steps(self) -> int:
        """N, the slots that the network reads, and the parameters (a, m) that it gives."""
        return self.tokens - self.first_output

    def chain(self, u: Float[Tensor, "b t d"]) -> Float[Tensor, "b n1 d"]:
        """Tokens in the block's order as a chain."""
        start = self.start_token()
        return u if start is None else torch.cat([start.to(u.dtype).expand(u.shape[0], -1, -1), u], dim=1)

    def unchain(self, chain: Float[Tensor, "b n1 d"]) -> Float[Tensor, "b t d"]:
        """The tokens of a chain."""
        return chain if self.first_output else chain[:, 1:]

    def order(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """P: image order to the block's order; its own inverse."""
        return x.flip(1) if self.reverse else x

    # The network

    def predict(
        self,
        inputs: Float[Tensor, "b n d"],
        start: int,
        condition: Condition | None,
        caches: list[KeyValueCache] | None = None,
        temperature: float | Tensor = 1.0,
    ) -> tuple[Float[Tensor, "b n d"] | None, Float[Tensor, "b n d"]]:
        """(a, m) for the successors of the n consecutive slots from ``start`` on; a, the log-scale of the inverse,
        is None when the block preserves volume. ``condition`` is what the method of that name returns. With caches
        (from ``begin``) the slots follow those committed there; without, they are the first ones."""
        # Tokens may be held in a higher precision than the weights.
        h = self.embed(inputs.to(self.proj_in.weight.dtype), start, condition)
        rotary, skipped = self.rotary(start, inputs.shape[1], images_before(condition)), 0
        if caches is None and isinstance(condition, Context):
            skipped = condition.vectors.shape[1]
            h = torch.cat([condition.vectors.to(h.dtype), h], dim=1)
            rotary = None if rotary is None else torch.cat([condition.rotary, rotary], dim=1)
        for number, layer in enumerate(self.layers):
            h = layer(h, caches[number] if caches is not None else None, temperature, rotary)
        return self.head(h[:, skipped:])

    def forward(
        self, x: Float[Tensor, "b t d"], condition: Condition | None = None
    ) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"] | None]:
        """Data towards noise: (v, a), both in image order; a is None when the block preserves volume."""
        u = self.order(x)
        log_scale, shift = self.parameters_of(u, condition)
        v = u - shift
        if log_scale is not None:
            v = v * scale_of(-log_scale)
            log_scale = self.order(log_scale)
        return self.order(v), log_scale

    def parameters_of(
        self, u: Float[Tensor, "b t d"], condition: Condition | None, temperature: float | Tensor = 1.0
    ) -> tuple[Float[Tensor, "b t d"] | None, Float[Tensor, "b t d"]]:
        """(a, m) of all tokens from the tokens u themselves, in the block's order, in one parallel pass."""
        first = u.new_zeros(u.shape[0], self.first_output, u.shape[2])
        if self.steps == 0:
            # Nothing precedes the only token: the network has no input, and its parameters no gradient.
            return (None if self.preserves_volume else first), first
        log_scale, shift = self.predict(self.chain(u)[:, :-1], 0, self.condition(condition), None, temperature)
        if not self.first_output:
            return log_scale, shift
        shift = torch.cat([first.to(shift.dtype), shift], dim=1)
        if log_scale is not None:
            log_scale = torch.cat([first.to(log_scale.dtype), log_scale], dim=1)
        return log_scale, shift

    @property
    def preserves_volume(self) -> bool:
        """Whether a = 0 always."""
        return self.proj_out.out_features == self.proj_in.in_features

    def begin(self, rows: int, condition: Condition | None, temperature: float | Tensor = 1.0) -> list[KeyValueCache]:
        """Caches, one a layer, with the context committed, ready for the first slot of the chain."""
        weight, layer = self.proj_in.weight, self.layer
        context = condition if isinstance(condition, Context) else None
        capacity = max(self.steps, 1) + (context.vectors.shape[1] if context is not None else 0)
        caches = [
            KeyValueCache(rows, layer.key_heads, capacity, layer.head_size, weight.dtype, weight.device)
            for _ in self.layers
        ]
        if context is not None:
            h = context.vectors.to(weight.dtype)
            for part, cache in zip(self.layers, caches, strict=True):
                h = part(h, cache, temperature, context.rotary)
                cache.advance(h.shape[1])
        return caches


def images_before(condition: Condition | None) -> int:
    """The images in a prepared condition."""
    return condition.images if isinstance(condition, Context) else 0


def scale_of(log_scale: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """exp, in float32 at least: a half-precision exponential would cost the likelihood its last digits."""
    return at_least_single(log_scale).exp()
