"""What a configuration costs, computed on the meta device: nothing is allocated."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tenfold.flows.config import TarFlowConfig
from tenfold.flows.flow import TarFlow


def traced(forward: Callable[[], Any]) -> tuple[int, int]:
    """Floating-point operations of a forward pass on meta tensors, and the bytes that autograd keeps for the
    backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[id(tensor)] = tensor.numel() * tensor.element_size()
        return tensor

    counter = FlopCounterMode(display=False)
    # The meta device has no fused attention: it counts and keeps what the plain one would.
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        forward()
    return int(counter.get_total_flops()), sum(kept.values())


def cost(
    config: TarFlowConfig,
    batch: int,
    precision: str = "fp32",
    checkpointing: bool = False,
    averaged: bool = True,
) -> dict[str, Any]:
    """Parameters, bytes and floating-point operations of a training step of a global batch.

    FLOPs: the forward pass counted by PyTorch on meta tensors, three times (backward costs twice as much), and
    once more with activation checkpointing. Bytes: weights, gradients, two AdamW moments and (when
    ``averaged``) averaged weights in float32, and the tensors that autograd keeps for the backward pass."""
    with torch.device("meta"):
        flow = TarFlow(config)
        x = torch.empty(1, *config.shape)
        condition = torch.zeros(1, config.classes) if config.classes else None
        if config.context:
            condition = torch.zeros(1, config.context)
    forward, kept = traced(lambda: flow(x, condition))
    parameters = sum(p.numel() for p in flow.parameters())
    half = 2 if precision == "bf16" else 1
    activations = kept // half
    if checkpointing:
        # Only the input of every transformer layer stays; one layer at a time is recomputed.
        layers = config.blocks * config.layers
        activations = 4 // half * config.tokens * config.width * layers + activations // layers
    return {
        "parameters": parameters,
        "flops_per_step": forward * batch * (4 if checkpointing else 3),
        "weights_bytes": 4 * parameters,
        "optimizer_bytes": 8 * parameters,
        "gradients_bytes": 4 * parameters,
        "ema_bytes": 4 * parameters * averaged,
        "activation_bytes": activations * batch,
        "total_bytes": (20 if averaged else 16) * parameters + activations * batch,
        "tokens": config.tokens,
        "token_dim": config.token_dim,
        "batch_size": batch,
    }
