"""One autoregressive flow block (arXiv 2412.06329, section 3): an affine map of each token given the earlier.

With u = P(x) the tokens in the block's own order and (a_i, m_i) = net(u_<i),

    forward  v_i = (u_i − m_i) exp(−a_i),     inverse  u_i = v_i exp(a_i) + m_i,     log|dv/du| = −Σ a.

The output of the causal network at position i serves token i + 1, and token 0 passes unchanged, so that the
network reads T − 1 tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.flows.config import TarFlowConfig
from tenfold.nn import KeyValueCache, TransformerLayer


class FlowBlock(nn.Module):
    """v, log|dv/du| = block(u, condition): tokens in, tokens out, both in image order."""

    def __init__(self, config: TarFlowConfig, reverse: bool) -> None:
        super().__init__()
        self.config, self.reverse = config, reverse
        self.tokens, width, dim = config.tokens, config.width, config.token_dim
        self.proj_in = nn.Linear(dim, width)
        self.pos_embed = nn.Parameter(torch.randn(self.tokens, width) * 1e-2)
        self.class_embed: nn.Parameter | None = None
        if config.classes:
            self.class_embed = nn.Parameter(torch.randn(config.classes, 1, width) * 1e-2)
        if config.context:
            self.context_in = nn.Linear(config.context, width)
        self.layers = nn.ModuleList(
            TransformerLayer(width, config.head_size, config.expansion, config.dropout) for _ in range(config.layers)
        )
        self.proj_out = nn.Linear(width, dim if config.volume_preserving else 2 * dim)
        nn.init.zeros_(self.proj_out.weight)

    # The first token that the network's outputs serve: outputs 0.. of the network belong to tokens 1.. .
    first_output = 1

    @property
    def steps(self) -> int:
        """N, the tokens that the network reads, and the parameters (a, m) that it gives."""
        return self.tokens - self.first_output

    def chain(self, u: Float[Tensor, "b t d"]) -> Float[Tensor, "b n1 d"]:
        """Tokens in the block's order as the chain that samplers solve: N + 1 slots, of which slot 0 is known
        and the network's output on slots 0..j sets slot j + 1. Here the chain is the tokens themselves; a
        block with a start token prepends it."""
        return u

    def unchain(self, chain: Float[Tensor, "b n1 d"]) -> Float[Tensor, "b t d"]:
        """The tokens of a solved chain."""
        return chain

    def order(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """P: image order to the block's order; its own inverse."""
        return x.flip(1) if self.reverse else x

    def condition(self, weights: Tensor | None) -> Tensor | None:
        """The vector added to every token, (b, 1, width): the class mixture ``weights`` (b, classes) @ table,
        or the projection of a context (b, context)."""
        if self.class_embed is not None:
            assert weights is not None
            return (weights.to(self.class_embed.dtype) @ self.class_embed[:, 0]).unsqueeze(1)
        if self.config.context:
            assert weights is not None
            return self.context_in(weights).unsqueeze(1)
        return None

    def positions(self, start: int = 0, count: int | None = None) -> Float[Tensor, "n width"]:
        """Position vectors of ``count`` tokens from ``start`` on in the block's order (all by default); the
        table is indexed by image position."""
        end = self.tokens if count is None else start + count
        if self.reverse:
            return self.pos_embed[self.tokens - end : self.tokens - start].flip(0)
        return self.pos_embed[start:end]

    def predict(
        self,
        inputs: Float[Tensor, "b n d"],
        start: int,
        condition: Tensor | None,
        caches: list[KeyValueCache] | None = None,
        temperature: float | Tensor = 1.0,
    ) -> tuple[Float[Tensor, "b n d"] | None, Float[Tensor, "b n d"]]:
        """(a, m) for the successors of the n consecutive tokens from ``start`` on, in the block's order; a,
        the log-scale of the inverse, is None when the block preserves volume. ``condition`` is what the
        method of that name returns. With caches, the tokens follow those committed there."""
        # Tokens may be held in a higher precision than the weights.
        h = self.proj_in(inputs.to(self.proj_in.weight.dtype)) + self.positions(start, inputs.shape[1])
        if condition is not None:
            h = h + condition
        for number, layer in enumerate(self.layers):
            h = layer(h, caches[number] if caches is not None else None, temperature)
        return self.split(self.proj_out(h))

    def split(self, out: Tensor) -> tuple[Tensor | None, Tensor]:
        """The network's output as (a, m)."""
        if self.config.volume_preserving:
            return None, out
        log_scale, shift = out.chunk(2, dim=-1)
        return log_scale, shift

    def forward(
        self, x: Float[Tensor, "b t d"], condition: Tensor | None = None
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
        self, u: Float[Tensor, "b t d"], condition: Tensor | None, temperature: float | Tensor = 1.0
    ) -> tuple[Float[Tensor, "b t d"] | None, Float[Tensor, "b t d"]]:
        """(a, m) of all tokens from the tokens u themselves, in the block's order, in one parallel pass."""
        first = u.new_zeros(u.shape[0], 1, u.shape[2])
        if self.tokens == 1:
            # Nothing precedes the only token: the network has no input, and its parameters no gradient.
            return (None if self.config.volume_preserving else first), first
        log_scale, shift = self.predict(u[:, :-1], 0, self.condition(condition), None, temperature)
        shift = torch.cat([first.to(shift.dtype), shift], dim=1)
        if log_scale is not None:
            log_scale = torch.cat([first.to(log_scale.dtype), log_scale], dim=1)
        return log_scale, shift

    def new_caches(self, batch: int, capacity: int | None = None) -> list[KeyValueCache]:
        """Empty key-value caches, one a layer, for ``capacity`` tokens (all inputs by default)."""
        weight = self.proj_in.weight
        heads = self.config.width // self.config.head_size
        capacity = max(self.steps, 1) if capacity is None else capacity
        return [
            KeyValueCache(batch, heads, capacity, self.config.head_size, weight.dtype, weight.device)
            for _ in self.layers
        ]

    def begin(self, batch: int, condition: Tensor | None, temperature: float | Tensor = 1.0) -> list[KeyValueCache]:
        """Caches ready for the first slot of the chain. A block with a prefix (text) commits it here."""
        return self.new_caches(batch)


def scale_of(log_scale: Tensor) -> Tensor:
    """exp, in float32 at least: a half-precision exponential would cost the likelihood its last digits."""
    if log_scale.dtype in (torch.bfloat16, torch.float16):
        return log_scale.float().exp()
    return log_scale.exp()
