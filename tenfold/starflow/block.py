"""One block of STARFlow (arXiv 2506.06276, sections 3.1 to 3.3): a start token, rotary positions, a prefix of text or
class, and scales that cannot vanish.

The network reads [prefix, start, u_0, …, u_{T−2}] and its output at slot i serves token i. Outputs o are clipped
softly, c·tanh(o / c), and split into (a, m); the scale is softplus(a + softplus⁻¹(1)), or exp(a).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.flows.block import Condition, Context, FlowBlock
from tenfold.nn.norm import RMSNorm
from tenfold.nn.precision import at_least_single
from tenfold.nn.rotary import grid_angles, line_angles, raster, turns
from tenfold.starflow.config import StarFlowConfig

# softplus(x + this) is 1 at x = 0.
SOFTPLUS_ONE = 0.541324854612918


class StarFlowBlock(FlowBlock):
    """Block ``index`` of a STARFlow.

    A block works on the grid of ``config.shape``; ``at`` makes one for another grid on the same weights."""

    def __init__(self, config: StarFlowConfig, index: int) -> None:
        top = index == config.blocks - 1
        layer = config.deep if top else config.shallow
        super().__init__(config.tokens, config.token_dim, layer, config.reverse(index))
        self.config, self.top = config, top
        self._table: tuple[object, Tensor] | None = None
        self.conditional = bool(config.prefix) and (top or config.condition == "all")
        self.prefix = config.prefix if self.conditional else 0
        self.start: nn.Parameter | None = None
        if config.start_token:
            self.first_output = 0
            self.start = nn.Parameter(torch.randn(1, 1, config.token_dim))
        self.text_in = nn.Linear(config.prefix_dim, layer.width) if self.conditional else None
        self.final_norm = RMSNorm(layer.width) if config.final_norm else None
        self.add_layers(config.layers[index], 2 * config.token_dim)

    def start_token(self) -> Float[Tensor, "1 1 d"] | None:
        """The learned token before the first."""
        return self.start

    def condition(self, weights: Condition | None) -> Condition | None:
        """The prefix: text (b, L, text dim), or a class as one token, projected; a ``Context`` as it is."""
        if not self.conditional or weights is None:
            return None
        if isinstance(weights, Context):
            return weights
        assert self.text_in is not None
        return Context(self.embed_text(weights), self.text_rotary(weights.shape[1]))

    def embed_text(self, text: Float[Tensor, "b n c"]) -> Float[Tensor, "b n w"]:
        """Vectors of a text encoder as the layers read them."""
        assert self.text_in is not None
        return self.text_in(text.to(self.text_in.weight.dtype))

    def embed(self, inputs: Float[Tensor, "b n d"], start: int, condition: Condition | None) -> Float[Tensor, "b n w"]:
        """Projected slots; positions enter in the attention."""
        return self.proj_in(inputs)

    def rotary(self, start: int, count: int, images: int = 0) -> Float[Tensor, "2 n half"]:
        """The turns of ``count`` slots from ``start`` on: slot k has the place of the k-th token in raster order,
        whatever the block's direction. On the third axis an image lies at 0, but for the later ones of a sequence of
        several (``tenfold.starflow.editing``), which lie one grid's extent after the image before."""
        weight = self.proj_in.weight
        key = (self.config.grid, self.config.extent, images, weight.device, weight.dtype)
        if self._table is None or self._table[0] != key:
            # A normal tensor, also within inference mode: training may use it later.
            with torch.inference_mode(False):
                self._table = key, self._turns(self._angles(self.tokens + 1, images))
        return self._table[1][:, start : start + count]

    def _angles(self, count: int, images: int) -> Float[Tensor, "n half"]:
        config, size = self.config, self.layer.head_size
        if self.on_line:
            first = config.prefix + images * (config.prefix + self.tokens + 1)
            return line_angles(torch.arange(first, first + count, dtype=torch.float64), size)
        rows, columns = raster(*config.grid, config.extent, count)
        third = torch.full_like(rows, images * config.extent) if config.prefix else None
        return grid_angles(rows, columns, third, size)

    def text_rotary(self, count: int, images: int = 0) -> Float[Tensor, "2 n half"]:
        """The turns of a text of ``count`` tokens after ``images`` images: places j / count on the third axis, in
        units of the grid's extent, from the image before on; on a line, simply j."""
        places = torch.arange(count, dtype=torch.float64)
        if self.on_line:
            places = places + images * (self.config.prefix + self.tokens + 1)
            return self._turns(line_angles(places, self.layer.head_size))
        third = (places / count + images) * self.config.extent
        zeros = torch.zeros_like(third)
        return self._turns(grid_angles(zeros, zeros, third, self.layer.head_size))

    @property
    def on_line(self) -> bool:
        """Whether the block has a language model's positions."""
        return self.top and self.config.deep_positions == "line"

    def _turns(self, angles: Float[Tensor, "n half"]) -> Float[Tensor, "2 n half"]:
        weight = self.proj_in.weight
        return turns(angles.to(weight.device), weight.dtype)

    def head(self, h: Float[Tensor, "*b width"]) -> tuple[Float[Tensor, "*b d"], Float[Tensor, "*b d"]]:
        """(log-scale, shift); in single precision at least."""
        out = at_least_single(self.proj_out(h if self.final_norm is None else self.final_norm(h)))
        if self.config.soft_clip:
            out = self.config.soft_clip * torch.tanh(out / self.config.soft_clip)
        scale, shift = out.chunk(2, dim=-1)
        return (log_softplus(scale + SOFTPLUS_ONE) if self.config.scale == "softplus" else scale), shift


def log_softplus(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(log(1 + eˣ)), without underflow: it approaches x from below as x falls."""
    # Below −30 the two agree to the last digit, and softplus would underflow in single precision at −103.
    return torch.where(x < -30.0, x, F.softplus(x.clamp(min=-30.0)).log())
