"""DCFL's head on the levels of a feature pyramid (arXiv 2412.11582): two towers that share where they look.

Parameters have the names of the published checkpoints (mmrotate-dcfl, ``bbox_head.*``).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.assign.priors import Predictions, Priors, grid_priors
from tenfold.detection.geometry.coder import BoxCoder
from tenfold.detection.models.deformable import deformed
from tenfold.detection.models.retina_head import ConvolutionReLU, start_outputs
from tenfold.settings.arguments import read_arguments

_TAPS = 9


class LevelOutput(NamedTuple):
    """What the head says at one level.

    Attributes:
        logits: of the classes.
        deltas: five numbers for ``BoxCoder``.
        offsets: pixels of the map, y before x for each of nine taps.
        mask: factors of the taps, in (0, 1).
    """

    logits: Float[Tensor, "b c h w"]
    deltas: Float[Tensor, "b 5 h w"]
    offsets: Float[Tensor, "b 18 h w"]
    mask: Float[Tensor, "b 9 h w"]

    def shift(self, stride: int) -> Float[Tensor, "b h w 2"]:
        """By how many pixels of the picture the centres of priors move, (x, y): the mean offset, times stride / 2. Not
        differentiated."""
        y, x = self.offsets.detach().unflatten(1, (_TAPS, 2)).mean(1).unbind(1)
        return torch.stack([x, y], -1) * (stride / 2)


class _Capturing(nn.Module):
    """The Prior Capturing Block of a tower: its own kernel, and in one tower the offsets that both use."""

    conv_offset: nn.Conv2d

    def __init__(self, width: int, with_offsets: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if with_offsets:
            self.conv_offset = nn.Conv2d(width, 3 * _TAPS, 3, padding=1)
            nn.init.zeros_(self.conv_offset.weight)
            nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Float[Tensor, "b c h w"], offsets: Float[Tensor, "b 18 h w"], mask: Float[Tensor, "b 9 h w"]
    ) -> Float[Tensor, "b c h w"]:
        return deformed(x, offsets, mask, self.weight)


class DcflHead(nn.Module):
    """Class logits, box differences and offsets at every location of every level.

    Each tower: two 3 × 3 convolutions with ReLU; one with taps ``dilation`` apart; the Prior Capturing Block, a
    modulated deformable convolution whose offsets and mask come from the box tower and are used by both; and the
    output. Offsets and masks begin at 0 and ½.

    >>> head = DcflHead(classes=3, inputs=8, width=8)
    >>> [level.logits.shape[-1] for level in head([torch.zeros(1, 8, 4, 4), torch.zeros(1, 8, 2, 2)])]
    [4, 2]
    """

    @read_arguments
    def __init__(self, classes: int, inputs: int = 256, width: int = 256, dilation: int = 3) -> None:
        super().__init__()
        self.dilation = dilation

        def tower(with_offsets: bool) -> nn.ModuleList:
            spread = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
            start = [ConvolutionReLU(inputs, width), ConvolutionReLU(width, width)]
            return nn.ModuleList([*start, spread, _Capturing(width, with_offsets)])

        self.cls_convs, self.reg_convs = tower(False), tower(True)
        self.retina_cls = nn.Conv2d(width, classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(width, 5, 3, padding=1)
        start_outputs(self.retina_cls, self.retina_reg)

    def forward(self, features: Sequence[Float[Tensor, "b c _ _"]]) -> list[LevelOutput]:
        return [self._level(level) for level in features]

    def _level(self, features: Float[Tensor, "b c h w"]) -> LevelOutput:
        scores, boxes = features, features
        for of_scores, of_boxes in zip(self.cls_convs[:3], self.reg_convs[:3], strict=True):
            scores, boxes = of_scores(scores), of_boxes(boxes)
        of_scores, of_boxes = self.cls_convs[3], self.reg_convs[3]
        assert isinstance(of_scores, _Capturing)
        assert isinstance(of_boxes, _Capturing)
        said = of_boxes.conv_offset(boxes)
        offsets, mask = said[:, : 2 * _TAPS], said[:, 2 * _TAPS :].sigmoid()
        scores, boxes = of_scores(scores, offsets, mask), of_boxes(boxes, offsets, mask)
        return LevelOutput(self.retina_cls(scores), self.retina_reg(boxes), offsets, mask)


def _rows(maps: Sequence[Float[Tensor, "c _ _"]]) -> Float[Tensor, "n c"]:
    """All locations of all levels, row by row."""
    return torch.cat([level.flatten(1).mT for level in maps])


@read_arguments
def priors_of(levels: Sequence[LevelOutput], strides: Sequence[int], picture: int, scale: float = 4.0) -> Priors:
    """Priors of one picture of the batch, with those that its offsets moved."""
    grid = grid_priors(
        [(level.logits.shape[2], level.logits.shape[3]) for level in levels],
        strides,
        scale,
        device=levels[0].logits.device,
    )
    shift = torch.cat(
        [level.shift(stride)[picture].flatten(0, 1) for level, stride in zip(levels, strides, strict=True)]
    )
    moved = torch.cat([grid.boxes[:, :2] + shift, grid.boxes[:, 2:]], 1)
    return Priors(grid.boxes, grid.levels, moved)


@read_arguments
def decoded(
    levels: Sequence[LevelOutput], priors: Priors, picture: int, coder: BoxCoder, dynamic: bool = False
) -> Predictions:
    """Logits and boxes of one picture of the batch, decoded from the priors where they stand, or, as the first release
    did, from the moved ones."""
    logits, deltas = (
        _rows([level.logits[picture] for level in levels]),
        _rows([level.deltas[picture] for level in levels]),
    )
    return Predictions(logits, coder.decoded(priors.moved if dynamic else priors.boxes, deltas))
