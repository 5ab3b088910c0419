"""What a masked language model costs, from a network on the meta device: nothing is allocated."""

from typing import Any

import torch

from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.network import add_lora
from tenfold.nn.cost import traced
from tenfold.training.config import TrainingConfig


def cost(config: MaskedLMConfig, length: int, lora_rank: int, train: TrainingConfig) -> dict[str, Any]:
    """Parameters, bytes and floating-point operations of a model in training, and per token of a forward pass.

    FLOPs: the forward pass of one row counted by PyTorch on meta tensors, the head on every token; three times in
    training (twice for the backward pass; low-rank updates save a part of it that is not taken off), and once more with
    activation checkpointing. Bytes: weights, gradients and two AdamW moments in float32 (of the trained parameters),
    averaged weights where there are any, and what autograd keeps for a row, over all processes."""
    with torch.device("meta"):
        model = MaskedLM.from_config(config)
        if lora_rank:
            add_lora(model.network, lora_rank, 1, 0.0)
        tokens = torch.zeros(1, length, dtype=torch.long)
        forward, kept = traced(lambda: model.logits(model.hidden(tokens)))
    parameters = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    half = 2 if train.precision == "bf16" else 1
    activations = kept // half
    if train.activation_checkpointing:
        # The input of every layer stays, one layer at a time is computed again, and the logits are never kept.
        head = length * config.vocab_size * 4
        inputs = config.layers * length * config.width * 4
        activations = inputs // half + max(0, kept - head) // config.layers // half
    averaged = 4 * parameters * (train.ema is not None)
    return {
        "parameters": parameters,
        "trained_parameters": trained,
        "forward_flops_per_token": forward // length,
        "training_flops_per_token": forward * (4 if train.activation_checkpointing else 3) // length,
        "flops_per_step": forward * (4 if train.activation_checkpointing else 3) * train.batch_size,
        "weights_bytes": 4 * parameters,
        "bf16_weights_bytes": 2 * parameters,
        "gradients_bytes": 4 * trained,
        "optimizer_bytes": 8 * trained,
        "ema_bytes": averaged,
        "row_activation_bytes": activations,
        "total_bytes": 4 * parameters + 12 * trained + averaged + activations * train.batch_size,
        "row_tokens": length,
        "batch_size": train.batch_size,
    }
