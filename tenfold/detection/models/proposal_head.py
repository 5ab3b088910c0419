"""The heads of Oriented R-CNN (arXiv 2108.05699): one proposes oriented regions, of whatever class, on the levels of a
pyramid; one looks at the features of each region, and says what it holds. In the first, DCFL's priors may move."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.geometry.coder import BoxCoder
from tenfold.detection.geometry.midpoints import MidpointCoder
from tenfold.detection.geometry.suppression import rotated_nms
from tenfold.detection.models.output import DenseOutput, dense_output
from tenfold.detection.models.region_features import region_features
from tenfold.detection.models.retina_head import start_outputs
from tenfold.detection.models.towers import TAPS, CapturingConvolution, shift_of
from tenfold.nn.border import visible
from tenfold.settings.arguments import read_arguments

PROPOSALS = MidpointCoder()
REGIONS = BoxCoder(angle_unit=0.0, swap_edges=True, stds=(0.1, 0.1, 0.2, 0.2, 0.1))
BINS = 7
_OVERLAP = 0.8  # of proposals, above which the less probable one comes last


class ProposalOutput(NamedTuple):
    """What is proposed at one level.

    Attributes:
        logits: that a prior holds an object.
        deltas: six numbers for ``MidpointCoder``.
        offsets: of DCFL's convolution, pixels of the map; None of a plain one.
    """

    logits: Float[Tensor, "b 1 h w"]
    deltas: Float[Tensor, "b 6 h w"]
    offsets: Float[Tensor, "b 18 h w"] | None

    def shift(self, stride: int) -> Float[Tensor, "b h w 2"]:
        """By how many pixels of the picture the centres of priors move: the mean offset, times the stride, twice as
        much as in DCFL's one-stage head (so published)."""
        b, _, h, w = self.deltas.shape
        return self.deltas.new_zeros(b, h, w, 2) if self.offsets is None else shift_of(self.offsets, 2 * stride)


class ProposalHead(nn.Module):
    """A 3 × 3 convolution with ReLU, and at every location a logit and six numbers.

    Args:
        moving: DCFL's modulated deformable convolution, with offsets of its own, in the place of the plain one.

    >>> head = ProposalHead(inputs=8, width=8)
    >>> [level.deltas.shape[1:] for level in head([torch.zeros(1, 8, 2, 3)])]
    [torch.Size([6, 2, 3])]
    """

    rpn_conv: nn.Conv2d | CapturingConvolution

    @read_arguments
    def __init__(self, inputs: int = 256, width: int = 256, moving: bool = False) -> None:
        super().__init__()
        self.rpn_conv = CapturingConvolution(width, True, inputs) if moving else nn.Conv2d(inputs, width, 3, padding=1)
        self.rpn_cls, self.rpn_reg = nn.Conv2d(width, 1, 1), nn.Conv2d(width, 6, 1)
        start_outputs(self.rpn_cls, self.rpn_reg)

    def forward(self, features: Sequence[Float[Tensor, "b c _ _"]]) -> list[ProposalOutput]:
        return [self._level(level) for level in features]

    def _level(self, features: Float[Tensor, "b c h w"]) -> ProposalOutput:
        if isinstance(self.rpn_conv, CapturingConvolution):
            said = self.rpn_conv.conv_offset(features)
            offsets = said[:, : 2 * TAPS]
            seen = self.rpn_conv(features, offsets, said[:, 2 * TAPS :].sigmoid()).relu()
            return ProposalOutput(self.rpn_cls(seen), self.rpn_reg(seen), offsets)
        seen = self.rpn_conv(features).relu()
        return ProposalOutput(self.rpn_cls(seen), self.rpn_reg(seen), None)


class RegionHead(nn.Module):
    """Two linear layers with ReLU on the features of a region, then logits of the classes and five numbers.

    >>> RegionHead(classes=2, inputs=8, width=16)(torch.zeros(1, 5, 8, 7, 7))[0].shape
    torch.Size([1, 5, 2])
    """

    @read_arguments
    def __init__(self, classes: int, inputs: int = 256, width: int = 1024) -> None:
        super().__init__()
        self.shared_fcs = nn.ModuleList([nn.Linear(inputs * BINS * BINS, width), nn.Linear(width, width)])
        self.fc_cls, self.fc_reg = nn.Linear(width, classes), nn.Linear(width, 5)
        start_outputs(self.fc_cls, self.fc_reg)

    def forward(self, regions: Float[Tensor, "b p c 7 7"]) -> tuple[Float[Tensor, "b p k"], Float[Tensor, "b p 5"]]:
        seen = regions.flatten(2)
        for layer in self.shared_fcs:
            seen = layer(seen).relu()
        return self.fc_cls(seen), self.fc_reg(seen)


class OrientedRcnnHead(nn.Module):
    """Both stages.

    Args:
        moving: DCFL in the first stage.
        proposals: of a picture, which the second stage looks at.
    """

    @read_arguments
    def __init__(
        self, classes: int, inputs: int = 256, width: int = 256, moving: bool = False, proposals: int = 2000
    ) -> None:
        super().__init__()
        self.proposals = proposals
        self.rpn_head = ProposalHead(inputs, width, moving)
        self.roi_head = RegionHead(classes, inputs, 4 * width)

    def forward(
        self,
        features: Sequence[Float[Tensor, "b c _ _"]],
        strides: Sequence[int],
        scale: float,
        given: Float[Tensor, "b m 5"] | None = None,
    ) -> DenseOutput:
        """What the second stage says of the proposals, and behind them of the boxes that are ``given``, such as the
        objects in training; ``first`` is what the first one says of the priors."""
        first = dense_output(self.rpn_head(features), strides, scale)._replace(coder=PROPOSALS)
        regions = proposed(first, self.proposals)
        if given is not None:
            regions = torch.cat([regions, given.to(regions)], 1)
        logits, deltas = self.roi_head(region_features(features, regions, strides))
        count = 0 if given is None else given.shape[1]
        still = torch.zeros_like(regions[..., :2])
        return DenseOutput(
            logits, deltas.float(), still, regions[0] if len(regions) else regions.new_zeros(regions.shape[1:]),
            (regions.shape[1],), coder=REGIONS, anchors=regions, first=first, given=count,
        )  # fmt: skip


@torch.no_grad()
def proposed(output: DenseOutput, most: int) -> Float[Tensor, "b p 5"]:
    """Of each picture the ``most`` probable boxes, fewer if there are fewer priors. Those which a better one overlaps
    come behind all others, so that every picture has as many."""
    count = min(most, output.logits.shape[1])
    # Of weights that diverged: NaN is proposed last, and the loss, which is NaN too, ends the training.
    scores, boxes = output.logits[..., 0].float().nan_to_num(-torch.inf), output.boxes().nan_to_num()
    scores, order = scores.topk(min(4 * count, scores.shape[1]), 1)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 5))
    if not visible(boxes):  # a network without numbers, whose cost is asked for
        return boxes[:, :count]
    chosen = []
    for of_picture, rank in zip(boxes, scores, strict=True):
        late = torch.ones(len(rank), dtype=torch.bool, device=rank.device)
        late[rotated_nms(of_picture, rank.clamp(min=-1e4), _OVERLAP)] = False
        chosen.append(of_picture[late.long().argsort(stable=True)[:count]])
    return torch.stack(chosen) if chosen else boxes[:, :count]
