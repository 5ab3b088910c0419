"""Flows as densities: the network with its likelihood and its sampler as methods; and TarFlow."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.flows.block import Condition, TarFlowBlock
from tenfold.flows.calibration import Calibration, load_calibration
from tenfold.flows.config import TarFlowConfig
from tenfold.flows.density import log_prob
from tenfold.flows.model import FlowNetwork, class_weights
from tenfold.flows.sampling import sample


class Flow(FlowNetwork):
    """A flow with the methods of a density: shortcuts to the functions of ``tenfold.flows.density`` and
    ``tenfold.flows.sampling``, which do more."""

    calibration: Calibration | None = None

    def log_prob(self, x: Tensor, condition: Condition | None = None) -> Float[Tensor, "b"]:
        """log p(x | condition) in nats, summed over dimensions (see ``tenfold.flows.density.log_prob``).

        Raises UsageError for NaN or infinite values and for what the network refuses."""
        return log_prob(self, finite(x), condition)

    def encode(self, x: Tensor, condition: Condition | None = None) -> Float[Tensor, "b t d"]:
        """x (b, *shape) to standard normal noise (b, T, D)."""
        return self.forward(finite(x), condition).z / self.var.sqrt()

    @torch.no_grad()
    def decode(self, noise: Float[Tensor, "b t d"], condition: Condition | None = None, **options: Any) -> Tensor:
        """Standard normal noise (b, T, D) to x (b, *shape); options as in ``tenfold.flows.sampling.sample``."""
        x: Tensor = sample(self, noise.shape[0], condition, noise=noise, **options)
        return x

    def sample(self, n: int, condition: Condition | int | None = None, **options: Any) -> Any:
        """n samples (n, *shape); options as in ``tenfold.flows.sampling.sample``."""
        return sample(self, n, condition, **options)

    def read_extras(self, folder: Path) -> None:
        """Take the samplers' calibration of a model folder, if it has one."""
        self.calibration = load_calibration(folder)


class TarFlow(Flow):
    """A transformer autoregressive normalizing flow (Zhai et al., arXiv 2412.06329) on images or vectors.

    Conditions: int64 labels (b,) where −1 means none; class mixtures (b, classes); contexts (b, context); or None,
    the mean of the class table (a learned null vector for contexts).

    >>> import torch
    >>> flow = TarFlow(TarFlowConfig(shape=(1, 8, 8), width=64, classes=10))
    >>> flow.log_prob(torch.zeros(2, 1, 8, 8), torch.tensor([3, -1])).shape
    torch.Size([2])
    """

    model_type: ClassVar[str] = "tarflow"
    config_class: ClassVar[type] = TarFlowConfig

    def __init__(self, config: TarFlowConfig) -> None:
        super().__init__(config, (TarFlowBlock(config, reverse=bool(k % 2)) for k in range(config.blocks)))
        if config.context:
            self.null_context = nn.Parameter(torch.zeros(config.context))
        self.register_buffer("var", torch.ones(config.tokens, config.token_dim))

    def condition_weights(self, condition: Condition | None, batch: int) -> Tensor | None:
        """The condition as class mixtures (b, classes) or contexts (b, context); None if unconditional.

        Raises UsageError for labels outside [−1, classes), wrong shapes, or a condition on an unconditional
        model."""
        config = self.config
        if not config.classes and not config.context:
            if condition is not None:
                raise UsageError("this flow is unconditional; call it without labels or contexts")
            return None
        if condition is not None and not isinstance(condition, Tensor):
            raise UsageError(f"this flow takes labels or vectors as its condition, not {type(condition).__name__}")
        if condition is not None and condition.shape[0] != batch:
            raise UsageError(f"the condition has {condition.shape[0]} rows for a batch of {batch}")
        if config.classes:
            none = self.var.new_full((config.classes,), 1.0 / config.classes)
            return class_weights(condition, batch, config.classes, none)
        if condition is None:
            return self.null_context.expand(batch, -1)
        if condition.shape != (batch, config.context):
            raise UsageError(
                f"the context has shape {tuple(condition.shape)}, but this flow expects ({batch}, {config.context})"
            )
        return condition


def finite(x: Tensor) -> Tensor:
    """x itself; raises UsageError, naming the first bad row, where it holds NaN or infinite values."""
    bad = ~torch.isfinite(x).flatten(1).all(dim=1)
    if bool(bad.any()):
        raise UsageError(
            f"row {int(bad.int().argmax())} of the input holds NaN or infinite values ({int(bad.sum())} of {len(x)} "
            "rows do); clean the data first"
        )
    return x
