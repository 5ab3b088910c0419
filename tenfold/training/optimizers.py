"""AdamW with a recipe's settings."""

from collections.abc import Iterable

import torch
from torch import nn

from tenfold.training.config import TrainingConfig


def adamw(parameters: Iterable[nn.Parameter], train: TrainingConfig) -> torch.optim.AdamW:
    """Decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101) over what has gradients, all of it decaying."""
    return _adamw([{"params": [p for p in parameters if p.requires_grad], "weight_decay": train.weight_decay}], train)


def adamw_of_matrices(parameters: Iterable[nn.Parameter], train: TrainingConfig) -> torch.optim.AdamW:
    """The same, of which norms and biases (fewer than two dimensions) do not decay."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": train.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return _adamw([group for group in groups if group["params"]], train)


def _adamw(groups: list[dict[str, object]], train: TrainingConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=train.betas, eps=train.eps, fused=True)
