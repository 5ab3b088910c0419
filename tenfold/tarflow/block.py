"""TarFlow's block (arXiv 2412.06329, section 3)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.flows.block import Condition, FlowBlock
from tenfold.tarflow.config import TarFlowConfig


class TarFlowBlock(FlowBlock):
    """The block of TarFlow: learned positions, the condition added to every token, no start token."""

    def __init__(self, config: TarFlowConfig, reverse: bool) -> None:
        super().__init__(config.tokens, config.token_dim, config.layer, reverse)
        self.conditional = bool(config.classes or config.context)
        self.pos_embed = nn.Parameter(torch.randn(config.tokens, config.width) * 1e-2)
        self.class_embed: nn.Parameter | None = None
        self.context_in: nn.Linear | None = None
        if config.classes:
            self.class_embed = nn.Parameter(torch.randn(config.classes, 1, config.width) * 1e-2)
        if config.context:
            self.context_in = nn.Linear(config.context, config.width)
        self.add_layers(config.layers, config.token_dim * (1 if config.volume_preserving else 2))

    def condition(self, weights: Condition | None) -> Condition | None:
        """The vector added to every token, (b, 1, width): the class mixture ``weights`` (b, classes) @ table,
        or the projection of a context (b, context)."""
        if weights is None:
            return None
        assert isinstance(weights, Tensor)
        if self.class_embed is not None:
            return (weights.to(self.class_embed.dtype) @ self.class_embed[:, 0]).unsqueeze(1)
        assert self.context_in is not None
        return self.context_in(weights).unsqueeze(1)

    def positions(self, start: int = 0, count: int | None = None) -> Float[Tensor, "n width"]:
        """Position vectors of ``count`` tokens from ``start`` on in the block's order (all by default); the
        table is indexed by image position."""
        end = self.tokens if count is None else start + count
        if self.reverse:
            return self.pos_embed[self.tokens - end : self.tokens - start].flip(0)
        return self.pos_embed[start:end]

    def embed(self, inputs: Float[Tensor, "b n d"], start: int, condition: Condition | None) -> Float[Tensor, "b n w"]:
        """Projected tokens, plus positions and condition."""
        h = self.proj_in(inputs) + self.positions(start, inputs.shape[1])
        return h + condition if isinstance(condition, Tensor) else h

    def head(self, h: Float[Tensor, "*b width"]) -> tuple[Float[Tensor, "*b d"] | None, Float[Tensor, "*b d"]]:
        """(a | m), a first."""
        out = self.proj_out(h)
        if self.preserves_volume:
            return None, out
        log_scale, shift = out.chunk(2, dim=-1)
        return log_scale, shift
