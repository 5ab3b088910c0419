"""The network of an autoregressive-transformer flow: images, latents or vectors to noise."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.flows.block import Condition, Context, FlowBlock
from tenfold.flows.options import FlowConfig
from tenfold.flows.solvers.calibration import Calibration
from tenfold.nn.attention import differentiable_attention
from tenfold.nn.border import Values, as_tensor, finite, visible, whole
from tenfold.nn.precision import at_least_single

AnyFlow = TypeVar("AnyFlow", bound="FlowNetwork")
GivenCondition = Values | Context
"""A condition as users give it."""


class FlowOutput(NamedTuple):
    """What a forward pass returns.

    z: noise, (b, T, D).  logdet: log|dz/dx| per sample as a **mean** over tokens and dims, (b,), in nats per
    dimension.  blocks: the per-block parts of ``logdet``, (K, b).  sizes: the mean square of what enters each
    block, (K, b).
    """

    z: Float[Tensor, "b t d"]
    logdet: Float[Tensor, "b"]
    blocks: Float[Tensor, "blocks b"]
    sizes: Float[Tensor, "blocks b"]


class BlockList(nn.ModuleList):
    """A module list whose items are known to be flow blocks."""

    def __iter__(self) -> Iterator[FlowBlock]:
        """The blocks, from data to noise."""
        return iter(cast(list[FlowBlock], list(self._modules.values())))

    def __getitem__(self, index: int) -> FlowBlock:  # type: ignore[override]
        """One block."""
        return cast(FlowBlock, super().__getitem__(index))


class FlowNetwork(nn.Module):
    """The map x -> z: a stack of autoregressive blocks over image patches or vectors, alternating in direction.

    ``forward`` is the training computation. ``tenfold.flows.flow`` adds the density and the sampler as methods; the
    kinds of flow add their blocks and their conditions.

    Attributes:
        config: geometry.
        var: variance of the Gaussian prior, (T, D), or (1, 1) where it is one number for every shape.
        default_rule: the guidance rule of the flow's family.
        calibration: what the solver "auto" knows, if it was measured.
    """

    config: FlowConfig
    var: Tensor
    default_rule: str = "tarflow"
    calibration: Calibration | None = None

    def __init__(self, config: FlowConfig, blocks: Iterable[FlowBlock]) -> None:
        super().__init__()
        self.config = config
        self.blocks: BlockList = BlockList(blocks)

    def condition_weights(self, condition: GivenCondition | None, batch: int) -> Condition | None:
        """The condition of ``batch`` rows as the blocks take it; None for unconditional flows. Raises UsageError for
        a condition that does not fit."""
        raise NotImplementedError

    def taken(self: AnyFlow, x: Values) -> tuple[AnyFlow, Tensor]:
        """The border of everything that reads inputs: the flow for the shape of x (``like``), and x as a tensor of the
        flow's precision at least.

        Raises UsageError for what is no array of floating-point numbers of the flow's shape, for NaN and infinite
        values, and, where the flow has a scale, for values far beyond it."""
        x = as_tensor(x, "the input", self.precision)
        flow = self.like(x)
        x = finite(x.to(torch.promote_types(x.dtype, self.precision) if x.itemsize > 1 else self.precision))
        if (hint := self.scale_hint(x)) and float(x.detach().abs().max()) < 1e18:  # beyond, log p itself overflows
            raise UsageError(f"{hint}; rescale it first")
        return flow, x

    def scale_hint(self, x: Tensor) -> str:
        """What is wrong with values far beyond the flow's scale; empty for others."""
        if not (self.reach and visible(x) and x.numel()) or (largest := float(x.detach().abs().max())) <= self.reach:
            return ""
        return f"the input reaches {largest:.4g}, but {self.scale_words}"

    @property
    def reach(self) -> float:
        """The largest magnitude that an input of the flow's scale can have, with a wide margin; 0 for any."""
        return 16.0 if self.config.is_image else 0.0

    scale_words = (
        "images lie in [-1, 1] in this flow's scale (tenfold.flows.dequantise and to_unit_range bring pixels there)"
    )

    def like(self: AnyFlow, x: Tensor) -> AnyFlow:
        """The flow for inputs of the shape of x (b, *shape), on the same weights: itself, for flows of one shape.

        Raises UsageError unless x is a floating tensor (b, *shape)."""
        if x.ndim != 1 + len(self.config.shape) or tuple(x.shape[1:]) != self.config.shape:
            raise UsageError(
                f"the input has shape {tuple(x.shape)}, but this flow expects (batch, "
                f"{', '.join(map(str, self.config.shape))})"
            )
        check_floating(x)
        return self

    @property
    def precision(self) -> torch.dtype:
        """That of inputs and noise: the weights', single at least."""
        return at_least_single(self.var).dtype

    @property
    def shard_units(self) -> list[nn.Module]:
        """The modules that fully sharded training wraps one by one."""
        return [layer for block in self.blocks for layer in block.layers]

    def patchify(self, x: Tensor) -> Float[Tensor, "b t d"]:
        """Inputs (b, *shape) to tokens (b, T, D), patches in raster order; vectors pass unchanged."""
        config = self.like(x).config
        if not config.is_image:
            return x
        sizes, order = self._patches
        return x.reshape(len(x), *sizes).permute(order).reshape(len(x), config.tokens, config.token_dim)

    def unpatchify(self, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b *shape"]:
        """Tokens to inputs; the inverse of ``patchify``."""
        if not self.config.is_image:
            return tokens
        sizes, order = self._patches
        grid = tokens.reshape(len(tokens), *(sizes[place - 1] for place in order[1:]))
        return grid.permute([order.index(place) for place in range(6)]).reshape(len(tokens), *self.config.shape)

    @property
    def _patches(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """An image's sides cut into patches, and the order of the parts in tokens."""
        config, (rows, columns) = self.config, self.config.grid
        sizes = (config.shape[0], rows, config.patch, columns, config.patch)
        return sizes, (0, 2, 4, 1, 3, 5) if config.layout == "channel_first" else (0, 2, 4, 3, 5, 1)

    def forward(self, x: Values, condition: GivenCondition | None = None) -> FlowOutput:
        """x (b, *shape) -> FlowOutput: the noise z and the log-determinant in nats per dimension.

        In training mode nothing is looked at that would wait for a device; the loop watches for NaN."""
        if not (self.training and isinstance(x, Tensor)):
            flow, x = self.taken(x)
        else:
            flow = self.like(x)
        with differentiable_attention(x, condition):
            return flow._mapped(x, condition)

    def _mapped(self, x: Tensor, condition: GivenCondition | None) -> FlowOutput:
        flow, tokens = self, self.patchify(x)
        weights = flow.condition_weights(condition, tokens.shape[0])
        parts, sizes = [], []
        for block in flow.blocks:
            sizes.append(tokens.float().square().mean(dim=(1, 2)))
            tokens, log_scale = block(tokens, weights)
            if log_scale is None:
                parts.append(tokens.new_zeros(tokens.shape[0]))
            else:
                parts.append(-at_least_single(log_scale).mean(dim=(1, 2)))
        blocks = torch.stack(parts)
        return FlowOutput(tokens, blocks.sum(dim=0), blocks, torch.stack(sizes))

    @torch.no_grad()
    def update_prior(self, z: Float[Tensor, "b t d"], rate: float = 0.1) -> None:
        """Move the diagonal prior of a volume-preserving flow towards the batch's mean of z² (rate 0.1)."""
        self.var.lerp_(z.detach().square().mean(dim=0).to(self.var.dtype), rate)


def check_floating(x: Tensor) -> None:
    """Raise UsageError unless x holds floating-point values."""
    if not x.is_floating_point():
        raise UsageError(
            f"the input has dtype {x.dtype}; a flow reads floating-point values in [-1, 1] "
            "(dequantise integer images first: tenfold.flows.loss.dequantise)"
        )


def class_weights(condition: Values | None, batch: int, classes: int, none: Float[Tensor, "m"]) -> Float[Tensor, "b m"]:
    """Labels (b,) of any integer type, −1 for none, or class mixtures (b, classes), as mixtures of ``batch`` rows of
    the width of ``none``, the mixture that stands for no label (m ≥ classes; further entries are 0 for labelled rows).

    Raises UsageError for labels outside [−1, classes), NaN or infinite weights, other types and wrong shapes."""
    if condition is None:
        return none.expand(batch, -1)
    condition = as_tensor(condition, "the condition", none.dtype)
    if condition.is_floating_point() and condition.shape != (0,):
        if condition.shape != (batch, classes):
            raise UsageError(
                f"class mixtures have shape {tuple(condition.shape)}, but this flow expects ({batch}, {classes})"
            )
        return torch.nn.functional.pad(finite(condition, "the condition"), (0, len(none) - classes))
    if condition.shape != (batch,):
        raise UsageError(f"labels have shape {tuple(condition.shape)}; give one label per row, ({batch},)")
    condition = whole(condition, "the condition")
    # On accelerators the check would wait for the device; there an out-of-range label fails in the one-hot kernel.
    if condition.device.type == "cpu" and condition.numel():
        low, high = int(condition.min()), int(condition.max())
        if low < -1 or high >= classes:
            raise UsageError(
                f"label {low if low < -1 else high} is outside [-1, {classes}); this flow has {classes} classes, -1 "
                "means none"
            )
    weights = torch.nn.functional.one_hot(condition.clamp(min=0), len(none)).to(none.dtype)
    return torch.where((condition < 0).unsqueeze(1), none, weights)


@contextmanager
def evaluating(flow: FlowNetwork) -> Iterator[None]:
    """Evaluation mode for a while: dropout would make the inverse another function at every sweep."""
    training = flow.training
    flow.eval()
    try:
        yield
    finally:
        flow.train(training)
