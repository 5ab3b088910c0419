"""Ranges of angles, and the three conventions in which the field writes one and the same rectangle.

(w, h, t), (w, h, t + π) and (h, w, t + π/2) are the same. ``le90`` has t in [−π/2, π/2) and w ≥ h, ``le135`` t in
[−π/4, 3π/4) and w ≥ h, ``oc`` (OpenCV from 4.5.1 on) t in (0, π/2] and sides in either order.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments

Convention = Literal["le90", "le135", "oc"]
START = {"le90": -math.pi / 2, "le135": -math.pi / 4}
SQUARE = 1.05  # sides of a smaller ratio do not tell the width from the height


@takes(angles="numbers *n")
@read_arguments
def fold(angles: Float[Tensor, "*n"], start: float, period: float = math.pi) -> Float[Tensor, "*n"]:
    """Angles modulo ``period`` in [start, start + period).

    >>> fold(torch.tensor([3.0, -2.0]), -torch.pi / 2)
    tensor([-0.1416,  1.1416])
    """
    if not period > 0:
        raise UsageError(f"period is {period:g}; give a positive angle")
    return folded(angles, start, period)


def folded(angles: Float[Tensor, "*n"], start: float, period: float = math.pi) -> Float[Tensor, "*n"]:
    """``fold`` of angles that are not looked at."""
    rest = torch.remainder(angles - start, period)
    turned = torch.where(rest >= period, 0.0, rest) + start  # −1e−20 has the remainder π, and a sum may round up to it
    return torch.where(turned >= start + period, start, turned)


def long_side_first(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
    """The same rectangles with w ≥ h; angles turn by π/2 where sides change places."""
    x, y, w, h, t = boxes.unbind(-1)
    turned = w < h
    t = torch.where(turned, t + math.pi / 2, t)
    return torch.stack([x, y, torch.where(turned, h, w), torch.where(turned, w, h), t], -1)


@takes(boxes="boxes *n 5")
@read_arguments
def to_convention(boxes: Float[Tensor, "*n 5"], convention: str) -> Float[Tensor, "*n 5"]:
    """The same rectangles as ``le90``, ``le135`` or ``oc`` writes them, whatever they were in.

    Raises UsageError for another name.

    >>> to_convention(torch.tensor([0.0, 0.0, 2.0, 4.0, 0.0]), "le135")
    tensor([0.0000, 0.0000, 4.0000, 2.0000, 1.5708])
    """
    if convention in START:
        ordered = long_side_first(boxes)
        return torch.cat([ordered[..., :4], folded(ordered[..., 4], START[convention])[..., None]], -1)
    if convention != "oc":
        raise UsageError(f"convention is {convention!r}{suggest(convention, ['le90', 'le135', 'oc'])}")
    x, y, w, h, t = boxes.unbind(-1)
    quarter = math.pi / 2
    turns = torch.ceil(t / quarter) - 1
    rest = t - turns * quarter
    turns = turns + (rest > quarter).to(turns) - (rest <= 0).to(turns)  # the quotient was rounded
    rest = (t - turns * quarter).clamp(torch.finfo(t.dtype).tiny, quarter)
    odd = torch.remainder(turns, 2) == 1
    return torch.stack([x, y, torch.where(odd, h, w), torch.where(odd, w, h), rest], -1)


@takes(first="boxes *n 5", second="boxes *n 5")
def angle_difference(first: Float[Tensor, "*n 5"], second: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n"]:
    """The least turn between the axes of aligned pairs, in [0, π/2]: of the long sides, or of any sides (then at most
    π/4) where either box is nearly square, with sides in a ratio below 1.05."""
    a, b = long_side_first(first), long_side_first(second)
    square = (a[..., 2] < SQUARE * a[..., 3]) | (b[..., 2] < SQUARE * b[..., 3])
    turn = a[..., 4] - b[..., 4]
    half = math.pi / 2
    return torch.where(square, folded(turn, -half / 2, half).abs(), folded(turn, -half).abs())
