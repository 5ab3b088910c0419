"""The head of FCOS on the levels of a pyramid (arXiv 1904.01355), for oriented boxes: distances from each point to the
edges of its object, its angle, and how near the object's middle the point is. With DCFL's towers its points move."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.models.retina_head import start_outputs
from tenfold.detection.models.towers import capturing_tower, plain_tower, shift_of, through_towers
from tenfold.settings.arguments import read_arguments


class PointOutput(NamedTuple):
    """What the head says at one level.

    Attributes:
        logits: of the classes.
        deltas: five numbers for ``PointCoder``.
        quality: logit of the centredness.
        offsets: of DCFL's towers, pixels of the map; None of plain ones.
    """

    logits: Float[Tensor, "b c h w"]
    deltas: Float[Tensor, "b 5 h w"]
    quality: Float[Tensor, "b 1 h w"]
    offsets: Float[Tensor, "b 18 h w"] | None

    def shift(self, stride: int) -> Float[Tensor, "b h w 2"]:
        """By how many pixels of the picture points move for the assignment."""
        b, _, h, w = self.deltas.shape
        return self.deltas.new_zeros(b, h, w, 2) if self.offsets is None else shift_of(self.offsets, stride)


class _Scale(nn.Module):
    """A factor that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        return x * self.scale


class FcosHead(nn.Module):
    """Class logits, distances, angle and centredness at every point of every level, by two towers.

    Args:
        levels: how many there are; each has its own scale of distances.
        layers: convolutions of each plain tower.
        moving: DCFL's towers in the place of plain ones.

    >>> head = FcosHead(classes=3, inputs=8, width=8, levels=2, layers=1)
    >>> [level.quality.shape[-1] for level in head([torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 2, 2)])]
    [4, 2]
    """

    @read_arguments
    def __init__(
        self, classes: int, inputs: int = 256, width: int = 256, levels: int = 5, layers: int = 4, moving: bool = False,
        normalised: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()

        def tower(with_offsets: bool) -> nn.ModuleList:
            if moving:
                return capturing_tower(inputs, width, 3, normalised, with_offsets)
            return plain_tower(inputs, width, layers, normalised)

        self.cls_convs, self.reg_convs = tower(False), tower(True)
        self.conv_cls, self.conv_reg = nn.Conv2d(width, classes, 3, padding=1), nn.Conv2d(width, 4, 3, padding=1)
        self.conv_angle, self.conv_centerness = (nn.Conv2d(width, 1, 3, padding=1) for _ in range(2))
        self.scales = nn.ModuleList(_Scale() for _ in range(levels))
        for layer in (self.conv_reg, self.conv_angle, self.conv_centerness):
            start_outputs(self.conv_cls, layer)

    def forward(self, features: Sequence[Float[Tensor, "b c _ _"]]) -> list[PointOutput]:
        return [self._level(level, scale) for level, scale in zip(features, self.scales, strict=True)]

    def _level(self, features: Float[Tensor, "b c h w"], scale: nn.Module) -> PointOutput:
        towers = through_towers(self.cls_convs, self.reg_convs, features)
        deltas = torch.cat([scale(self.conv_reg(towers.boxes)), self.conv_angle(towers.boxes)], 1)
        return PointOutput(self.conv_cls(towers.scores), deltas, self.conv_centerness(towers.boxes), towers.offsets)
