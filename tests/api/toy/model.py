"""The line."""

from typing import ClassVar

from tenfold.toy.config import LineConfig
from torch import Tensor, nn


class Line(nn.Module):
    """w · x + b."""

    model_type: ClassVar[str] = "toy"
    config_class: ClassVar[type] = LineConfig

    def __init__(self, config: LineConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.inputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs) to (b,)."""
        return self.layer(x)[:, 0]
