"""Towers of convolutions before the outputs of a head: plain ones, and DCFL's, which share where they look.

Modules have the names of mmrotate's checkpoints: ``cls_convs`` and ``reg_convs`` of a head.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.models.deformable import deformed

TAPS = 9
_GROUP = 8  # channels that are normalised together


class TowerOutput(NamedTuple):
    """Features for the classes and for the boxes; of DCFL also offsets, pixels of the map, y before x for each of nine
    taps, and their mask, factors in (0, 1)."""

    scores: Float[Tensor, "b c h w"]
    boxes: Float[Tensor, "b c h w"]
    offsets: Float[Tensor, "b 18 h w"] | None = None
    mask: Float[Tensor, "b 9 h w"] | None = None


class TowerConvolution(nn.Module):
    """3 × 3 and ReLU, between them a norm of groups of 8 channels if wanted; ``conv`` and ``gn`` in checkpoints."""

    def __init__(self, inputs: int, outputs: int, normalised: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=not normalised)
        self.gn = nn.GroupNorm(outputs // _GROUP, outputs) if normalised else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        return self.gn(self.conv(x)).relu()


class CapturingConvolution(nn.Module):
    """The Prior Capturing Block of a tower: its own kernel, and in one tower the offsets that both use."""

    conv_offset: nn.Conv2d

    def __init__(self, width: int, with_offsets: bool, inputs: int = 0) -> None:
        super().__init__()
        inputs = inputs or width
        self.weight = nn.Parameter(torch.empty(width, inputs, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if with_offsets:
            self.conv_offset = nn.Conv2d(inputs, 3 * TAPS, 3, padding=1)
            nn.init.zeros_(self.conv_offset.weight)
            nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "b c h w"], offsets: Float[Tensor, "b 18 h w"], mask: Float[Tensor, "b 9 h w"]
    ) -> Float[Tensor, "b o h w"]:
        return deformed(x, offsets, mask, self.weight)


def plain_tower(inputs: int, width: int, layers: int, normalised: bool) -> nn.ModuleList:
    """``layers`` convolutions."""
    return nn.ModuleList([TowerConvolution(width if k else inputs, width, normalised) for k in range(layers)])


def capturing_tower(inputs: int, width: int, dilation: int, normalised: bool, with_offsets: bool) -> nn.ModuleList:
    """DCFL's: two convolutions with ReLU, one with taps ``dilation`` apart, and the Prior Capturing Block."""
    spread = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
    start = plain_tower(inputs, width, 2, normalised)
    return nn.ModuleList([*start, spread, CapturingConvolution(width, with_offsets)])


def through_towers(
    cls_convs: nn.ModuleList, reg_convs: nn.ModuleList, features: Float[Tensor, "b c h w"]
) -> TowerOutput:
    """Features through both towers, plain ones or DCFL's."""
    scores, boxes = features, features
    for of_scores, of_boxes in zip(cls_convs, reg_convs, strict=True):
        if isinstance(of_boxes, CapturingConvolution):
            said = of_boxes.conv_offset(boxes)
            offsets, mask = said[:, : 2 * TAPS], said[:, 2 * TAPS :].sigmoid()
            return TowerOutput(of_scores(scores, offsets, mask), of_boxes(boxes, offsets, mask), offsets, mask)
        scores, boxes = of_scores(scores), of_boxes(boxes)
    return TowerOutput(scores, boxes)


def shift_of(offsets: Float[Tensor, "b 18 h w"], stride: int) -> Float[Tensor, "b h w 2"]:
    """By how many pixels of the picture the centres of priors move, (x, y): the mean offset, times stride / 2. Not
    differentiated."""
    y, x = offsets.detach().unflatten(1, (TAPS, 2)).mean(1).unbind(1)
    return torch.stack([x, y], -1) * (stride / 2)
