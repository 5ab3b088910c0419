"""Boxes from what a network says of its priors; and large pictures in tiles."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.detection.config import BoxFinding
from tenfold.detection.geometry.suppression import rotated_nms
from tenfold.detection.models.detector import CODER, DenseOutput, Detector


class FoundBoxes(NamedTuple):
    """Boxes of a picture by decreasing score, their scores and classes."""

    boxes: Float[Tensor, "n 5"]
    scores: Float[Tensor, " n"]
    labels: Int[Tensor, " n"]


def found_boxes(output: DenseOutput, picture: int, finding: BoxFinding) -> FoundBoxes:
    """Of each level the ``candidates`` most probable pairs of a prior and a class, decoded; of these, by classes, those
    that no better one overlaps."""
    chosen, start = [], 0
    for count in output.levels:
        scores = output.logits[picture, start : start + count].float().sigmoid()
        kept = (scores > finding.score).nonzero()
        values = scores[kept[:, 0], kept[:, 1]]
        best = values.argsort(descending=True, stable=True)[: finding.candidates]
        chosen.append((kept[best, 0] + start, kept[best, 1], values[best]))
        start += count
    rows, labels, scores = (torch.cat(parts) for parts in zip(*chosen, strict=True))
    boxes = CODER.decode(output.priors[rows], output.deltas[picture, rows])
    kept = rotated_nms(boxes, scores, finding.overlap, labels)[: finding.most]
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
def detect_in_tiles(
    model: Detector, picture: Float[Tensor, "3 h w"], finding: BoxFinding, tile: int, halo: int
) -> FoundBoxes:
    """Boxes of a picture of any size.

    A tile answers for the boxes whose centres lie in it, no nearer than half a halo to an edge that has a neighbour, so
    that it sees half a halo around them; what two tiles still found twice goes by suppression over the smaller box.

    Args:
        picture: values from 0 to 255.
        tile: side of the tiles, pixels; a smaller picture is one tile.
        halo: pixels that neighbours share.
    """
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
