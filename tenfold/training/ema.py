"""Exponential moving averages of the trainable weights: what evaluation and export use."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tenfold.training.parallel import reshard
from tenfold.training.schedule import ema_decay


def _local(tensor: Tensor) -> Tensor:
    # The shard shares its storage with the DTensor: writing to it writes to the parameter.
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


class Ema:
    """``average ← d·average + (1 − d)·weights`` over every trainable parameter of ``modules``.

    ``shadow[module][parameter]`` has the parameter's type: a sharded parameter has a sharded average.
    Buffers are not averaged: the module's current ones are used.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.live = {
            name: {key: p for key, p in module.named_parameters() if p.requires_grad}
            for name, module in modules.items()
        }
        self.shadow = {
            name: {key: p.detach().clone() for key, p in parameters.items()} for name, parameters in self.live.items()
        }
        self._modules = modules

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        shadow = [_local(t) for named in self.shadow.values() for t in named.values()]
        live = [_local(p.detach()) for named in self.live.values() for p in named.values()]
        return shadow, live

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after update ``step`` (0-based)."""
        shadow, live = self._pairs()
        if shadow:
            torch._foreach_lerp_(shadow, live, 1.0 - ema_decay(step, self.decay))

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and average, exactly; a second call restores both."""
        for module in self._modules.values():
            reshard(module)  # FSDP2 may hold a gathered copy of the weights that are about to change
        for average, weight in zip(*self._pairs(), strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run a block with the averaged weights in the modules."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
