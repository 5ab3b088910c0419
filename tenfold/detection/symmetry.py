"""Angles from upright boxes alone (in the manner of H2RBox-v2, arXiv 2304.04403): what is predicted turns
with the picture, and is mirrored with it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.assign.options import AssignerOptions
from tenfold.detection.data.augment import moved_boxes, moved_pictures
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.learning import assigned_objects, stage_assigner
from tenfold.detection.models.output import DenseOutput
from tenfold.training.streams import Draws

_MIRRORED = 0.05  # of the pictures; the others are turned, without which angles of 0 would do everywhere
_LEAST = 1e-12  # under a root, so that it has a gradient


class SecondView(NamedTuple):
    """Pictures that were moved about their middles by an orthogonal map ``linear`` on (x, y), their boxes, and labels,
    NOBODY where a box's centre left the picture."""

    pictures: Float[Tensor, "b 3 h w"]
    boxes: Float[Tensor, "b m 5"]
    labels: Int[Tensor, "b m"]
    linear: Float[Tensor, "b 2 2"]


def second_view(
    pictures: Float[Tensor, "b 3 h w"],
    boxes: Float[Tensor, "b m 5"],
    labels: Int[Tensor, "b m"],
    index: Int[Tensor, " b"],
    draws: Draws,
) -> SecondView:
    """Each picture turned by π/4 to 3π/4, or, one in twenty, upside down in a mirror; keyed by ``index``."""
    angle = math.pi * (0.25 + 0.5 * draws.uniform("turned view", index))
    sine, cosine = angle.sin(), angle.cos()
    turned = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    mirror = turned.new_tensor([[1.0, 0], [0, -1]])
    linear = torch.where((draws.uniform("mirrored view", index) < _MIRRORED)[:, None, None], mirror, turned)
    size = pictures.new_tensor([pictures.shape[3], pictures.shape[2]])
    centre = torch.einsum("bij,bmj->bmi", linear, boxes[..., :2] - size / 2) + size / 2
    inside = ((centre >= 0) & (centre <= size)).all(-1)
    seen = moved_pictures(pictures, linear, torch.zeros_like(linear[:, 0]), beyond="reflection")
    return SecondView(seen, moved_boxes(boxes, linear, centre), torch.where(inside, labels, NOBODY), linear)


def agreement(
    both: DenseOutput,
    boxes: Float[Tensor, "b m 5"],
    labels: Int[Tensor, "b m"],
    view: SecondView,
    assigner: AssignerOptions,
) -> Float[Tensor, ""]:
    """``symmetry_loss`` of what a network says of pictures and, behind them, of their second view; of two stages the
    second. Boxes are only looked at for who learns them."""
    halves = both.half(0), both.half(1)
    told = (boxes, labels), (view.boxes, view.labels)
    sums = [
        directions(half, assigned_objects(half, *objects, stage_assigner(half, assigner)), boxes.shape[1])
        for half, objects in zip(halves, told, strict=True)
    ]
    return symmetry_loss(sums[0], sums[1], view.linear)


def symmetry_loss(
    first: Float[Tensor, "b m 2"], second: Float[Tensor, "b m 2"], linear: Float[Tensor, "b 2 2"]
) -> Float[Tensor, ""]:
    """Σ over objects of 1 − cos 2Δ, where Δ is between an object's direction in the second view and that of the first,
    moved; it has the period π that directions of boxes have. Objects of no direction in either view cost nothing.

    Args:
        first, second: ``directions``.
        linear: what moved the first view, orthogonal.
    """
    a, b, c, d = linear.flatten(1).unbind(1)
    # What an orthogonal map makes of (cos 2t, sin 2t), which is (x² − y², 2xy) of (x, y) = (cos t, sin t).
    doubled = torch.stack([(a * a - b * b - c * c + d * d) / 2, a * b - c * d, a * c - b * d, a * d + b * c], -1)
    moved = torch.einsum("bij,bmj->bmi", doubled.unflatten(1, (2, 2)), first)
    length = (moved.square().sum(-1) * second.square().sum(-1) + _LEAST).sqrt()
    seen = (first != 0).any(-1) & (second != 0).any(-1)
    return ((1 - (moved * second).sum(-1) / length) * seen).sum()


def directions(output: DenseOutput, owners: Sequence[Int[Tensor, " n"]], objects: int) -> Float[Tensor, "b m 2"]:
    """The mean over each object's positives of (cos 2t, sin 2t), t the angles of their boxes; 0 where there are none.

    Args:
        owners: row of the object at each prior of a picture.
        objects: how many rows a picture has.
    """
    owner = torch.stack(list(owners))
    picture, prior = (owner >= 0).nonzero(as_tuple=True)
    angle = 2 * output.coder.decoded(output.stands()[picture, prior], output.deltas[picture, prior])[:, 4]
    row = picture * objects + owner[picture, prior]
    said = torch.stack([angle.cos(), angle.sin(), torch.ones_like(angle)], -1)
    total = said.new_zeros(len(owner) * objects, 3).index_add(0, row, said)
    return (total[:, :2] / total[:, 2:].clamp(min=1)).unflatten(0, (len(owner), objects))
