"""The network of TarFlow (Zhai et al., arXiv 2412.06329): images or vectors to noise."""

from collections.abc import Iterator
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.flows.block import FlowBlock
from tenfold.flows.config import TarFlowConfig


class FlowOutput(NamedTuple):
    """What a forward pass returns.

    z: noise, (b, T, D).  logdet: log|dz/dx| per sample as a **mean** over tokens and dims, (b,), in nats per
    dimension.  blocks: the per-block parts of ``logdet``, (K, b).
    """

    z: Tensor
    logdet: Tensor
    blocks: Tensor


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

    ``forward`` is the training computation. ``tenfold.flows.flow.TarFlow`` is this network with its density and
    sampler as methods."""

    var: Tensor

    def __init__(self, config: TarFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.blocks: BlockList = BlockList(FlowBlock(config, reverse=bool(k % 2)) for k in range(config.blocks))
        if config.context:
            self.null_context = nn.Parameter(torch.zeros(config.context))
        self.register_buffer("var", torch.ones(config.tokens, config.token_dim))

    @property
    def shard_units(self) -> list[nn.Module]:
        """The modules that fully sharded training wraps one by one."""
        return [layer for block in self.blocks for layer in block.layers]

    def patchify(self, x: Tensor) -> Float[Tensor, "b t d"]:
        """Inputs (b, *shape) to tokens (b, T, D), patches in raster order; vectors pass unchanged."""
        self.check_input(x)
        if not self.config.is_image:
            return x
        channels, height, width = self.config.shape
        p = self.config.patch
        grid = x.reshape(-1, channels, height // p, p, width // p, p)
        order = (0, 2, 4, 1, 3, 5) if self.config.layout == "channel_first" else (0, 2, 4, 3, 5, 1)
        return grid.permute(order).reshape(-1, self.config.tokens, self.config.token_dim)

    def unpatchify(self, tokens: Float[Tensor, "b t d"]) -> Tensor:
        """Tokens (b, T, D) to inputs (b, *shape); the inverse of ``patchify``."""
        if not self.config.is_image:
            return tokens
        channels, height, width = self.config.shape
        p = self.config.patch
        if self.config.layout == "channel_first":
            grid = tokens.reshape(-1, height // p, width // p, channels, p, p).permute(0, 3, 1, 4, 2, 5)
        else:
            grid = tokens.reshape(-1, height // p, width // p, p, p, channels).permute(0, 5, 1, 3, 2, 4)
        return grid.reshape(-1, channels, height, width)

    def check_input(self, x: Tensor) -> None:
        """Raise UsageError unless x is a floating tensor (b, *shape)."""
        if tuple(x.shape[1:]) != self.config.shape:
            raise UsageError(
                f"the input has shape {tuple(x.shape)}, but this flow expects (batch, "
                f"{', '.join(map(str, self.config.shape))})"
            )
        if not x.is_floating_point():
            raise UsageError(
                f"the input has dtype {x.dtype}; a flow reads floating-point values in [-1, 1] "
                "(dequantise integer images first: tenfold.flows.loss.dequantise)"
            )

    def condition_weights(self, condition: Tensor | None, batch: int) -> Tensor | None:
        """The condition as class mixtures (b, classes) or contexts (b, context); None if unconditional.

        Raises UsageError for labels outside [−1, classes), wrong shapes, or a condition on an unconditional
        model."""
        config, like = self.config, self.var
        if not config.classes and not config.context:
            if condition is not None:
                raise UsageError("this flow is unconditional; call it without labels or contexts")
            return None
        if condition is not None and condition.shape[0] != batch:
            raise UsageError(f"the condition has {condition.shape[0]} rows for a batch of {batch}")
        if config.context:
            if condition is None:
                return self.null_context.expand(batch, -1)
            if condition.shape != (batch, config.context):
                raise UsageError(
                    f"the context has shape {tuple(condition.shape)}, but this flow expects ({batch}, {config.context})"
                )
            return condition
        if condition is None:
            return like.new_full((batch, config.classes), 1.0 / config.classes)
        if condition.is_floating_point():
            if condition.shape != (batch, config.classes):
                raise UsageError(
                    f"class mixtures have shape {tuple(condition.shape)}, but this flow expects "
                    f"({batch}, {config.classes})"
                )
            return condition
        if condition.shape != (batch,):
            raise UsageError(f"labels have shape {tuple(condition.shape)}; give one label per row, ({batch},)")
        check_labels(condition, config.classes)
        weights = torch.nn.functional.one_hot(condition.clamp(min=0), config.classes).to(like.dtype)
        return torch.where((condition < 0).unsqueeze(1), 1.0 / config.classes, weights)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> FlowOutput:
        """x (b, *shape) -> FlowOutput: the noise z and the log-determinant in nats per dimension."""
        tokens = self.patchify(x)
        weights = self.condition_weights(condition, tokens.shape[0])
        parts = []
        for block in self.blocks:
            tokens, log_scale = block(tokens, weights)
            if log_scale is None:
                parts.append(tokens.new_zeros(tokens.shape[0]))
            else:
                parts.append(-log_scale.float().mean(dim=(1, 2)) if is_half(log_scale) else -log_scale.mean((1, 2)))
        blocks = torch.stack(parts)
        return FlowOutput(tokens, blocks.sum(dim=0), blocks)

    @torch.no_grad()
    def update_prior(self, z: Float[Tensor, "b t d"], rate: float = 0.1) -> None:
        """Move the diagonal prior of a volume-preserving flow towards the batch's mean of z² (rate 0.1)."""
        self.var.lerp_(z.detach().square().mean(dim=0).to(self.var.dtype), rate)


def is_half(x: Tensor) -> bool:
    """Whether x is held in 16 bits."""
    return x.dtype in (torch.bfloat16, torch.float16)


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise UsageError for a label outside [−1, classes). Skipped on accelerators, where the check would
    wait for the device; an out-of-range label fails there in the one-hot kernel."""
    if labels.device.type == "cpu" and labels.numel():
        low, high = int(labels.min()), int(labels.max())
        if low < -1 or high >= classes:
            wrong = low if low < -1 else high
            raise UsageError(
                f"label {wrong} is outside [-1, {classes}); this flow has {classes} classes, -1 means none"
            )
