"""TarFlow: the density of images and of sequences of vectors."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.flows.block import Context
from tenfold.flows.flow import Flow
from tenfold.flows.network import GivenCondition, class_weights
from tenfold.nn.border import as_tensor, floats
from tenfold.tarflow.block import TarFlowBlock
from tenfold.tarflow.config import TarFlowConfig


class TarFlow(Flow):
    """A transformer autoregressive normalizing flow (Zhai et al., arXiv 2412.06329) on images or vectors.

    Conditions: integer labels (b,) where −1 means none; class mixtures (b, classes); contexts (b, context); or None,
    the mean of the class table (a learned null vector for contexts).

    >>> import torch
    >>> flow = TarFlow(TarFlowConfig(shape=(1, 8, 8), width=64, classes=10))
    >>> flow.log_prob(torch.zeros(2, 1, 8, 8), torch.tensor([3, -1])).shape
    torch.Size([2])
    """

    model_type: ClassVar[str] = "tarflow"
    config_class: ClassVar[type] = TarFlowConfig

    config: TarFlowConfig

    def __init__(self, config: TarFlowConfig) -> None:
        super().__init__(config, (TarFlowBlock(config, reverse=bool(k % 2)) for k in range(config.blocks)))
        if config.context:
            self.null_context = nn.Parameter(torch.zeros(config.context))
        self.register_buffer("var", torch.ones(config.tokens, config.token_dim))

    def condition_weights(self, condition: GivenCondition | None, batch: int) -> Tensor | None:
        """The condition as class mixtures (b, classes) or contexts (b, context); None if unconditional.

        Raises UsageError for labels outside [−1, classes), wrong shapes, or a condition on an unconditional
        model."""
        config = self.config
        if not config.classes and not config.context:
            if condition is not None:
                raise UsageError("this flow is unconditional; call it without labels or contexts")
            return None
        if isinstance(condition, Context):
            raise UsageError("this flow takes labels or vectors as its condition, not Context")
        if condition is not None:
            condition = as_tensor(condition, "the condition", self.precision)
            if not condition.ndim or condition.shape[0] != batch:
                rows = condition.shape[0] if condition.ndim else 0
                raise UsageError(f"the condition has {rows} rows for a batch of {batch}")
        if config.classes:
            none = self.var.new_full((config.classes,), 1.0 / config.classes)
            return class_weights(condition, batch, config.classes, none)
        if condition is None:
            return self.null_context.expand(batch, -1)
        if condition.shape != (batch, config.context):
            raise UsageError(
                f"the context has shape {tuple(condition.shape)}, but this flow expects ({batch}, {config.context})"
            )
        return floats(condition, "the context", self.var.dtype)
