"""RetinaNet's head on the levels of a pyramid (arXiv 1708.02002), for oriented boxes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.models.towers import plain_tower, through_towers
from tenfold.settings.arguments import read_arguments

PRIOR_PROBABILITY = 0.01  # of any class at the start


class PlainOutput(NamedTuple):
    """What a head says at one level, whose priors stand still.

    Attributes:
        logits: of the classes.
        deltas: five numbers for ``BoxCoder``.
    """

    logits: Float[Tensor, "b c h w"]
    deltas: Float[Tensor, "b 5 h w"]

    def shift(self, stride: int) -> Float[Tensor, "b h w 2"]:
        """No pixels."""
        b, _, h, w = self.deltas.shape
        return self.deltas.new_zeros(b, h, w, 2)


def start_outputs(classes: nn.Conv2d | nn.Linear, boxes: nn.Conv2d | nn.Linear) -> None:
    """Small weights, and a probability of 1 % for every class."""
    for layer in (classes, boxes):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    nn.init.constant_(classes.bias, -math.log(1 / PRIOR_PROBABILITY - 1))  # type: ignore[arg-type]


class RetinaHead(nn.Module):
    """Class logits and box differences at every location of every level, by two towers of 3 × 3 convolutions.

    >>> import torch
    >>> head = RetinaHead(classes=3, inputs=8, width=8, layers=1)
    >>> [level.logits.shape[-1] for level in head([torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 2, 2)])]
    [4, 2]
    """

    @read_arguments
    def __init__(
        self, classes: int, inputs: int = 256, width: int = 256, layers: int = 4, normalised: bool = False
    ) -> None:
        super().__init__()
        self.cls_convs, self.reg_convs = (plain_tower(inputs, width, layers, normalised) for _ in range(2))
        self.retina_cls = nn.Conv2d(width, classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(width, 5, 3, padding=1)
        start_outputs(self.retina_cls, self.retina_reg)

    def forward(self, features: Sequence[Float[Tensor, "b c _ _"]]) -> list[PlainOutput]:
        return [self._level(level) for level in features]

    def _level(self, features: Float[Tensor, "b c h w"]) -> PlainOutput:
        towers = through_towers(self.cls_convs, self.reg_convs, features)
        return PlainOutput(self.retina_cls(towers.scores), self.retina_reg(towers.boxes))
