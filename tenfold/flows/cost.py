"""What a configuration costs, computed on the meta device: nothing is allocated."""

from torch import Tensor

from tenfold.flows.flow import Flow
from tenfold.nn.cost import traced, training_bytes
from tenfold.training.config import TrainingConfig


def cost(flow: Flow, x: Tensor, condition: Tensor | None, train: TrainingConfig) -> dict[str, int]:
    """Parameters, bytes and floating-point operations of a training step of a global batch, of a flow on the meta
    device and one input x (1, *shape); ``train`` has the batch, the precision and so on.

    FLOPs: the forward pass counted by PyTorch on meta tensors, three times (backward costs twice as much), and
    once more with activation checkpointing. Bytes: weights, gradients, two AdamW moments and (when there is an
    average) averaged weights in float32, and the tensors that autograd keeps for the backward pass."""
    config, batch, checkpointing = flow.config, train.batch_size, train.activation_checkpointing
    forward, kept = traced(lambda: flow(x, condition))
    parameters = sum(p.numel() for p in flow.parameters())
    half = 2 if train.precision == "bf16" else 1
    activations = kept // half
    if checkpointing:
        # Only the input of every transformer layer stays; one layer at a time is recomputed.
        inputs = sum(len(block.layers) * (block.tokens + block.prefix) * block.layer.width for block in flow.blocks)
        activations = 4 // half * inputs + activations // sum(len(block.layers) for block in flow.blocks)
    return {
        "parameters": parameters,
        "flops_per_step": forward * batch * (4 if checkpointing else 3),
        **training_bytes(parameters, parameters, activations, batch, train.ema is not None),
        "tokens": config.tokens,
        "token_dim": config.token_dim,
        "batch_size": batch,
    }
