"""What a model costs, from a network on the meta device: nothing is allocated."""

from collections.abc import Callable
from typing import Any

from torch import nn

from tenfold.nn.cost import traced


def cost(model: nn.Module, forward: Callable[[], Any], length: int, train: Any) -> dict[str, Any]:
    """Parameters, bytes and floating-point operations of a model in training, and per token of a forward pass of one
    row. A training step is three forward passes; bytes are weights, gradients, two AdamW moments and averaged weights
    in float32, and what autograd keeps of the rows that one process has at once."""
    flops, kept = traced(forward)
    parameters = sum(p.numel() for p in model.parameters())
    averaged = 4 * parameters * (train.ema is not None)
    return {
        "parameters": parameters,
        "forward_flops_per_token": flops // length,
        "training_flops_per_token": 3 * flops // length,
        "flops_per_step": 3 * flops * train.batch_size,
        "weights_bytes": 4 * parameters,
        "optimizer_bytes": 8 * parameters,
        "ema_bytes": averaged,
        "row_activation_bytes": kept,
        "total_bytes": 16 * parameters + averaged + kept * (train.batch_size // train.accumulate),
        "row_tokens": length,
        "batch_size": train.batch_size,
    }
