"""Intersection over union of rotated boxes: of aligned pairs, of the pairs that touch, and of all with all."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import at_least_float32
from tenfold.detection.geometry.intersection import scaled_intersection
from tenfold.detection.geometry.neighbours import near_pairs
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments

OVER = ("union", "first", "smaller")
_CHUNK = 1 << 13  # pairs at once, so that what is between lies in the cache


@takes(first="boxes *n 5", second="boxes *n 5")
@read_arguments
def paired_iou(first: Float[Tensor, "*n 5"], second: Float[Tensor, "*n 5"], over: str = "union") -> Float[Tensor, "*n"]:
    """IoU of aligned pairs, in [0, 1], differentiable in both; float32 for half precision.

    Args:
        first, second: (cx, cy, w, h, angle).
        over: what the shared area is divided by: the ``union``, the ``first`` box (IoF), or the ``smaller`` one. Where
            that has no area, the result is 0.

    Raises:
        UsageError: for what are no boxes, shapes that differ, another ``over``.

    >>> paired_iou(torch.tensor([[0.0, 0, 2, 2, 0]]), torch.tensor([[1.0, 0, 2, 2, 0]])).tolist()
    [0.3333333432674408]
    """
    if over not in OVER:
        raise UsageError(f"over is {over!r}{suggest(over, OVER)}")
    return aligned_iou(first, second, over)


def aligned_iou(
    first: Float[Tensor, "*n 5"], second: Float[Tensor, "*n 5"], over: str = "union"
) -> Float[Tensor, "*n"]:
    """``paired_iou`` of boxes that are not looked at, so that a loss does not wait for the device; NaN stays NaN."""
    shared, area1, area2, _ = scaled_intersection(at_least_float32(first), at_least_float32(second))
    whole = area1 + area2 - shared if over == "union" else area1 if over == "first" else torch.minimum(area1, area2)
    return torch.where(whole > 0, shared / torch.where(whole > 0, whole, 1.0), 0.0)


@takes(first="boxes n 5", second="boxes m 5", first_group="whole n", second_group="whole m")
@read_arguments
def sparse_iou(
    first: Float[Tensor, "n 5"],
    second: Float[Tensor, "m 5"],
    over: str = "union",
    first_group: Int[Tensor, " n"] | None = None,
    second_group: Int[Tensor, " m"] | None = None,
) -> tuple[Int[Tensor, "2 p"], Float[Tensor, " p"]]:
    """Indices (i, j) of the pairs that lie near each other, sorted, and their IoU; that of all others is 0.

    With groups (numbers of classes or pictures, from 0 on), only pairs within one. Memory goes with p, not with n m.
    Raises UsageError for boxes or groups that are none, and another ``over``.
    """
    if over not in OVER:
        raise UsageError(f"over is {over!r}{suggest(over, OVER)}")
    pairs = near_pairs(first, second, first_group, second_group)
    return pairs, iou_of_pairs(first, second, pairs, over)


@takes(first="boxes n 5", second="boxes m 5")
@read_arguments
def box_iou(first: Float[Tensor, "n 5"], second: Float[Tensor, "m 5"], over: str = "union") -> Float[Tensor, "n m"]:
    """IoU of every box with every other one, in [0, 1], differentiable.

    Raises UsageError for boxes that are none.

    >>> box_iou(torch.tensor([[0.0, 0, 4, 2, 0.3]]), torch.tensor([[0.0, 0, 2, 4, 0.3 + torch.pi / 2]])).round().item()
    1.0
    """
    pairs, values = sparse_iou(first, second, over)
    return values.new_zeros(len(first), len(second)).index_put((pairs[0], pairs[1]), values)


def iou_of_pairs(
    first: Float[Tensor, "n 5"], second: Float[Tensor, "m 5"], pairs: Int[Tensor, "2 p"], over: str
) -> Float[Tensor, " p"]:
    """IoU of first[i] and second[j] for pairs (i, j), in pieces; boxes are not checked."""
    parts = [aligned_iou(first[i], second[j], over) for i, j in (part.unbind(0) for part in pairs.split(_CHUNK, 1))]
    return torch.cat(parts) if parts else at_least_float32(first).new_zeros(0)
