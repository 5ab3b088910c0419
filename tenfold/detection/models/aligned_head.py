"""The head of S2A-Net (arXiv 2008.09397): a first stage turns priors into oriented boxes, and a second one looks at
features that were taken along these boxes, and at filters turned by eighths, before it says what they hold."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tenfold.detection.models.dcfl_head import DcflHead
from tenfold.detection.models.deformable import deformed
from tenfold.detection.models.retina_head import PlainOutput, RetinaHead, start_outputs
from tenfold.detection.models.towers import TAPS, plain_tower
from tenfold.settings.arguments import read_arguments

EIGHTHS = 8
_RING = (0, 1, 2, 5, 8, 7, 6, 3)  # cells of a 3 × 3 filter around its middle, clockwise


def alignment_offsets(boxes: Float[Tensor, "b n 5"], height: int, width: int, stride: int) -> Float[Tensor, "b 18 h w"]:
    """Offsets, in cells, y before x, by which the nine taps of each location lie on a 3 × 3 grid over its box, a third
    of its sides apart.

    Args:
        boxes: of the locations, row by row, in pixels; location (i, j) stands at (i, j) strides.
    """
    step = torch.arange(3, device=boxes.device, dtype=boxes.dtype) - 1
    down, right = step.repeat_interleave(3), step.repeat(3)  # taps row by row
    x, y, w, h, t = boxes[..., None].unbind(2)
    along, across = right * w / 3, down * h / 3
    cosine, sine = t.cos(), t.sin()
    tap_x = (x + along * cosine - across * sine) / stride
    tap_y = (y + along * sine + across * cosine) / stride
    row, column = torch.meshgrid(
        torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device), indexing="ij"
    )
    dx = tap_x - column.flatten()[:, None] - right
    dy = tap_y - row.flatten()[:, None] - down
    return torch.stack([dy, dx], -1).flatten(2).mT.unflatten(2, (height, width))


class TurningConvolution(nn.Module):
    """A 3 × 3 convolution by filters in eight orientations, eighths of a turn apart (active rotating filters, arXiv
    1701.01833): ``outputs`` filters, whose outer cells go around, make 8 · ``outputs`` channels, orientations of a
    filter side by side.

    >>> TurningConvolution(4, 2)(torch.zeros(1, 4, 5, 6)).shape
    torch.Size([1, 16, 5, 6])
    """

    order: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        order = [[4] * 9 for _ in range(EIGHTHS)]
        for turn in range(EIGHTHS):
            for place, cell in enumerate(_RING):
                order[turn][cell] = _RING[(place - turn) % EIGHTHS]
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o h w"]:
        turned = self.weight.flatten(2)[:, :, self.order]  # (o, c, 8, 9)
        return functional.conv2d(x, turned.transpose(1, 2).flatten(0, 1).unflatten(2, (3, 3)), padding=1)


class AlignedHead(nn.Module):
    """Two stages.

    Args:
        moving: DCFL's head in the first stage, in the place of RetinaNet's.
        layers: convolutions of each plain tower, in both stages.

    >>> head = AlignedHead(classes=2, inputs=8, width=8, layers=1)
    >>> features = [torch.zeros(1, 8, 2, 3)]
    >>> head.second(features, torch.tensor([[8.0, 8, 20, 9, 0.3]]).expand(1, 6, 5), [8])[0].logits.shape
    torch.Size([1, 2, 2, 3])
    """

    first: RetinaHead | DcflHead

    @read_arguments
    def __init__(
        self, classes: int, inputs: int = 256, width: int = 256, layers: int = 2, moving: bool = False,
        normalised: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = (
            DcflHead(classes, inputs, width, normalised=normalised)
            if moving
            else RetinaHead(classes, inputs, width, layers, normalised)
        )
        self.align_conv = nn.Parameter(torch.empty(width, inputs, 3, 3))
        nn.init.kaiming_uniform_(self.align_conv, a=math.sqrt(5))
        self.or_conv = TurningConvolution(width, width // EIGHTHS)
        self.odm_cls_convs = plain_tower(width // EIGHTHS, width, layers, normalised)
        self.odm_reg_convs = plain_tower(width, width, layers, normalised)
        self.odm_cls, self.odm_reg = (nn.Conv2d(width, outputs, 3, padding=1) for outputs in (classes, 5))
        start_outputs(self.odm_cls, self.odm_reg)

    def second(
        self, features: Sequence[Float[Tensor, "b c _ _"]], anchors: Float[Tensor, "b n 5"], strides: Sequence[int]
    ) -> list[PlainOutput]:
        """What the second stage says of the boxes of the first."""
        sizes = [(level.shape[2], level.shape[3]) for level in features]
        parts = anchors.split([h * w for h, w in sizes], 1)
        return [self._aligned(*level) for level in zip(features, parts, strides, strict=True)]

    def _aligned(self, features: Float[Tensor, "b c h w"], anchors: Float[Tensor, "b m 5"], stride: int) -> PlainOutput:
        b, _, h, w = features.shape
        offsets = alignment_offsets(anchors, h, w, stride)
        taken = deformed(features, offsets, offsets.new_ones(b, TAPS, h, w), self.align_conv).relu()
        boxes = self.or_conv(taken)
        scores = boxes.unflatten(1, (-1, EIGHTHS)).amax(2)  # the same however the object is turned
        for of_scores, of_boxes in zip(self.odm_cls_convs, self.odm_reg_convs, strict=True):
            scores, boxes = of_scores(scores), of_boxes(boxes)
        return PlainOutput(self.odm_cls(scores), self.odm_reg(boxes))
