"""What forward passes and training steps cost, counted on the meta device: nothing is allocated."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode


def traced(forward: Callable[[], object]) -> tuple[int, int]:
    """Floating-point operations of a forward pass on meta tensors, and the bytes that autograd keeps for the
    backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        # Views of weights (transposed ones, say) take nothing of their own.
        if not isinstance(tensor, torch.nn.Parameter) and not isinstance(tensor._base, torch.nn.Parameter):
            kept[id(tensor)] = tensor.numel() * tensor.element_size()
        return tensor

    counter = FlopCounterMode(display=False)
    # The meta device has no fused attention: it counts and keeps what the plain one would.
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        forward()
    return int(counter.get_total_flops()), sum(kept.values())


def training_bytes(parameters: int, trained: int, activations: int, rows: int, averaged: bool) -> dict[str, int]:
    """The bytes of a training step: weights, gradients, two AdamW moments and averaged weights in float32 (of the
    ``trained`` parameters), and ``activations``, what autograd keeps of a sample, for ``rows`` of them at once."""
    found = {
        "weights_bytes": 4 * parameters,
        "optimizer_bytes": 8 * trained,
        "gradients_bytes": 4 * trained,
        "ema_bytes": 4 * trained * averaged,
        "activation_bytes": activations * rows,
    }
    return {**found, "total_bytes": sum(found.values())}
