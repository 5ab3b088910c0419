"""What a system hands to the training loop at each optimiser update."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Update:
    """One optimiser update asked for by a system: a scalar ``loss`` and metrics (detached scalars).

    ``optimizer`` names the entry of ``Task.optimizers`` that is stepped with the gradient of ``loss``;
    ``check`` holds named scalars or tensors (one a block, say) that the NaN guard looks into to name the
    culprit when the loss is not finite.
    """

    optimizer: str
    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    check: dict[str, Tensor] = field(default_factory=dict)
