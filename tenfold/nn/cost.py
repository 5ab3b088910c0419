"""What forward passes and training steps cost, counted on the meta device: nothing is allocated."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

_WORKING = 2
_SAVED_AT_ONCE = 2 * 2**28  # a file of a checkpoint, and its bytes


def traced(forward: Callable[[], object]) -> tuple[int, int]:
    """Floating-point operations of a forward pass on meta tensors, and the bytes of its training: what autograd keeps
    for the backward pass, and what that works with, about two tensors of the largest size."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        # Views share memory: a transposed weight is no activation, and three parts of one product are kept once.
        if not isinstance(tensor if tensor._base is None else tensor._base, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage._cdata] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with (
        patch.object(F, "scaled_dot_product_attention", _fused),
        counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
    ):
        forward()
    return int(counter.get_total_flops()), sum(kept.values()) + _WORKING * max(kept.values(), default=0)


_plain = F.scaled_dot_product_attention


class _Fused(torch.autograd.Function):
    """Attention that keeps what the fused kernels of the CPU and of accelerators keep. (The meta device has none: there
    the plain one keeps all weights of all heads.)"""

    @staticmethod
    def forward(ctx: Any, attend: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> torch.Tensor:
        found = attend(*inputs)
        ctx.save_for_backward(*inputs, found, found.new_empty(found.shape[:-1]))
        return found


def _fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *how: Any, **options: Any) -> torch.Tensor:
    found: torch.Tensor = _Fused.apply(lambda q, k, v: _plain(q, k, v, *how, **options), query, key, value)
    return found


def training_bytes(parameters: int, trained: int, row_bytes: int, rows: int, averaged: bool) -> dict[str, int]:
    """The bytes of a training, over all processes: weights, gradients and two AdamW moments of what is ``trained``,
    and averages of it, in float32; the activations of the ``rows`` that are computed at once (a batch over its rounds
    of accumulation), or what a checkpoint needs while it is written, whichever is more."""
    found = {
        "weights_bytes": 4 * parameters,
        "optimizer_bytes": 8 * trained,
        "gradients_bytes": 4 * trained,
        "ema_bytes": 4 * trained * averaged,
        "activation_bytes": row_bytes * rows,
    }
    saved = min(4 * parameters + 8 * trained + 4 * trained * averaged, _SAVED_AT_ONCE)
    spare = max(0, saved - found["activation_bytes"])
    return {**found, "checkpoint_bytes": saved, "total_bytes": sum(found.values()) + spare}
