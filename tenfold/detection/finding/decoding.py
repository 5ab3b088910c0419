"""Boxes from what a network says of its priors; and large pictures in tiles."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.detection.config import BoxFinding
from tenfold.detection.geometry.suppression import rotated_nms
from tenfold.detection.models.detector import Detector, read_pictures
from tenfold.detection.models.output import DenseOutput
from tenfold.errors import UsageError
from tenfold.nn.border import Values, as_tensor
from tenfold.settings.arguments import read_arguments


class FoundBoxes(NamedTuple):
    """Boxes of a picture by decreasing score, their scores and classes."""

    boxes: Float[Tensor, "n 5"]
    scores: Float[Tensor, " n"]
    labels: Int[Tensor, " n"]


@read_arguments
def found_boxes(output: DenseOutput, picture: int, finding: BoxFinding) -> FoundBoxes:
    """Of each level the ``candidates`` most probable pairs of a prior and a class, decoded; of these, by classes, those
    that no better one overlaps. Where the head says centredness, scores are the geometric mean of both.

    Raises UsageError for a picture that the output does not have, and where the network says NaN.
    """
    if not 0 <= picture < len(output.logits):
        raise UsageError(f"picture is {picture} of {len(output.logits)}; pictures are numbered from 0")
    if not bool(output.logits[picture].isfinite().all() & output.deltas[picture].isfinite().all()):
        raise UsageError("the network says NaN or infinity; its weights are no good, or half precision is too narrow")
    chosen, start = [], 0
    for count in output.levels:
        scores = output.logits[picture, start : start + count].float().sigmoid()
        if output.quality is not None:
            scores = (scores * output.quality[picture, start : start + count, None].sigmoid()).sqrt()
        kept = (scores > finding.score).nonzero()
        values = scores[kept[:, 0], kept[:, 1]]
        best = values.argsort(descending=True, stable=True)[: finding.candidates]
        chosen.append((kept[best, 0] + start, kept[best, 1], values[best]))
        start += count
    rows, labels, scores = (torch.cat(parts) for parts in zip(*chosen, strict=True))
    boxes = output.coder.decoded(output.stands()[picture, rows], output.deltas[picture, rows])
    if finding.overlap < 1:
        kept = rotated_nms(boxes, scores, finding.overlap, labels)[: finding.most]
    else:  # no IoU is above 1
        kept = scores.argsort(descending=True, stable=True)[: finding.most]
    return FoundBoxes(boxes[kept], scores[kept], labels[kept])


def tile_corners(size: int, tile: int, halo: int) -> list[int]:
    """Where tiles begin along a side of ``size`` pixels, so that neighbours share at least ``halo`` pixels and the last
    ends with the picture.

    >>> tile_corners(100, 64, 16), tile_corners(50, 64, 16)
    ([0, 36], [0])
    """
    step = tile - halo
    starts = list(range(0, max(1, size - halo), step))
    return [max(0, min(start, size - tile)) for start in starts]


@torch.no_grad()
@read_arguments
def detect_in_tiles(model: Detector, picture: Values, finding: BoxFinding, tile: int, halo: int) -> FoundBoxes:
    """Boxes of a picture of any size.

    A tile answers for the boxes whose centres lie in it, no nearer than half a halo to an edge that has a neighbour, so
    that it sees half a halo around them; what two tiles still found twice goes by suppression over the smaller box.

    Args:
        picture: (3, h, w), of any real type; values from 0 to 255.
        tile: side of the tiles, pixels; a smaller picture is one tile.
        halo: pixels that neighbours share.

    Raises:
        UsageError: for what is no picture, and for a halo that is not smaller than the tiles.
    """
    if not 0 <= halo < tile:
        raise UsageError(f"tile is {tile} and halo {halo}; give a halo from 0 on, and larger tiles")
    picture = as_tensor(picture, "picture")
    if picture.ndim != 3:
        raise UsageError(f"picture has shape {tuple(picture.shape)}; give (3, height, width)")
    picture = read_pictures(picture[None], next(model.parameters()))[0]
    height, width = picture.shape[1:]
    found: list[FoundBoxes] = []
    tiles = [(y, x) for y in tile_corners(height, tile, halo) for x in tile_corners(width, tile, halo)]
    for y, x in progress.track(tiles, "tiles"):
        part = picture[:, y : y + tile, x : x + tile]
        here = found_boxes(model(_padded(part, model.config.strides)[None]), 0, finding)
        low, high = _answers(x, width, tile, halo), _answers(y, height, tile, halo)
        boxes = torch.cat([here.boxes[:, :2] + here.boxes.new_tensor([x, y]), here.boxes[:, 2:]], 1)
        cx, cy = boxes[:, 0], boxes[:, 1]
        kept = (cx >= low[0]) & (cx <= low[1]) & (cy >= high[0]) & (cy <= high[1])
        found.append(FoundBoxes(boxes[kept], here.scores[kept], here.labels[kept]))
    return _merged(found, finding, len(tiles) > 1)


def _padded(part: Float[Tensor, "3 h w"], strides: Sequence[int]) -> Float[Tensor, "3 _ _"]:
    """Black pixels up to a multiple of the coarsest stride, so that every level has whole cells."""
    down, right = (-side % max(strides) for side in part.shape[1:])
    return torch.nn.functional.pad(part, (0, right, 0, down))


def _answers(start: int, size: int, tile: int, halo: int) -> tuple[float, float]:
    low = start + halo / 2 if start else 0.0
    high = start + tile - halo / 2 if start + tile < size else float(size)
    return low, high


def _merged(found: Sequence[FoundBoxes], finding: BoxFinding, several: bool) -> FoundBoxes:
    boxes, scores, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    if several:
        kept = rotated_nms(boxes, scores, max(finding.overlap, 0.5), labels, over="smaller")
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
    return FoundBoxes(boxes, scores, labels)
