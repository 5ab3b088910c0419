"""DCFL's head on the levels of a feature pyramid (arXiv 2412.11582): two towers that share where they look.

Parameters have the names of the published checkpoints (mmrotate-dcfl, ``bbox_head.*``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.assign.priors import Predictions, Priors, grid_priors
from tenfold.detection.geometry.coder import BoxCoder
from tenfold.detection.models.retina_head import start_outputs
from tenfold.detection.models.towers import capturing_tower, shift_of, through_towers
from tenfold.settings.arguments import read_arguments


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
        return shift_of(self.offsets, stride)


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
    def __init__(
        self, classes: int, inputs: int = 256, width: int = 256, dilation: int = 3, normalised: bool = False
    ) -> None:
        super().__init__()
        self.dilation = dilation
        self.cls_convs, self.reg_convs = (
            capturing_tower(inputs, width, dilation, normalised, with_offsets) for with_offsets in (False, True)
        )
        self.retina_cls = nn.Conv2d(width, classes, 3, padding=1)
        self.retina_reg = nn.Conv2d(width, 5, 3, padding=1)
        start_outputs(self.retina_cls, self.retina_reg)

    def forward(self, features: Sequence[Float[Tensor, "b c _ _"]]) -> list[LevelOutput]:
        return [self._level(level) for level in features]

    def _level(self, features: Float[Tensor, "b c h w"]) -> LevelOutput:
        towers = through_towers(self.cls_convs, self.reg_convs, features)
        assert towers.offsets is not None
        assert towers.mask is not None
        return LevelOutput(self.retina_cls(towers.scores), self.retina_reg(towers.boxes), towers.offsets, towers.mask)


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
