"""Boxes under what is done to their picture: flips, quarter turns, shifts, changes of size. All are exact."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.angles import to_convention
from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import corners
from tenfold.detection.geometry.quads import from_quads
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments

Direction = Literal["horizontal", "vertical", "diagonal"]


@takes(boxes="boxes *n 5")
@read_arguments
def flip_boxes(
    boxes: Float[Tensor, "*n 5"], width: float, height: float, direction: str,
    convention: str = "le135", compat: str = "none",
) -> Float[Tensor, "*n 5"]:  # fmt: skip
    """Boxes of a picture of ``width`` × ``height`` pixels that is mirrored.

    Pixels reach from 0 to their number, so that x becomes W − x. ``compat="reference"`` writes W − 1 − x, as if
    coordinates were of the pixels' centres, which moves every box by a pixel.

    Raises UsageError for a direction other than ``horizontal``, ``vertical`` and ``diagonal`` (both).
    """
    directions = ("horizontal", "vertical", "diagonal")
    if direction not in directions:
        raise UsageError(f"direction is {direction!r}{suggest(direction, directions)}")
    if compat not in ("none", "reference"):
        raise UsageError(f"compat is {compat!r}; choose none or reference")
    lost = float(compat == "reference")
    x, y, w, h, t = boxes.unbind(-1)
    if direction != "vertical":
        x = width - lost - x
    if direction != "horizontal":
        y = height - lost - y
    if direction != "diagonal":
        t = math.pi - t
    return to_convention(torch.stack([x, y, w, h, t], -1), convention)


@takes(boxes="boxes *n 5")
@read_arguments
def quarter_turn_boxes(
    boxes: Float[Tensor, "*n 5"], width: float, height: float, turns: int = 1, convention: str = "le135"
) -> Float[Tensor, "*n 5"]:
    """Boxes of a picture turned ``turns`` times by 90° from +x towards +y, clockwise on the screen."""
    for _ in range(turns % 4):
        x, y, w, h, t = boxes.unbind(-1)
        boxes = torch.stack([height - y, x, w, h, t + math.pi / 2], -1)
        width, height = height, width
    return to_convention(boxes, convention)


@takes(boxes="boxes *n 5")
@read_arguments
def shift_boxes(boxes: Float[Tensor, "*n 5"], dx: float, dy: float) -> Float[Tensor, "*n 5"]:
    """Boxes whose centres move by (dx, dy) pixels."""
    return torch.cat([boxes[..., :2] + boxes.new_tensor([dx, dy]), boxes[..., 2:]], -1)


@takes(boxes="boxes *n 5")
@read_arguments
def resize_boxes(
    boxes: Float[Tensor, "*n 5"], x_factor: float, y_factor: float, convention: str = "le135"
) -> Float[Tensor, "*n 5"]:
    """Boxes of a picture whose width and height are multiplied by these factors.

    With unequal factors a tilted rectangle becomes a parallelogram, and its box the smallest rectangle around that.

    Raises UsageError for factors that are not positive.
    """
    if not (x_factor > 0 and y_factor > 0):
        raise UsageError(f"the factors are {x_factor:g} and {y_factor:g}; give positive ones")
    if x_factor == y_factor:
        return to_convention(torch.cat([boxes[..., :4] * x_factor, boxes[..., 4:]], -1), convention)
    quads = (corners(boxes) * boxes.new_tensor([x_factor, y_factor])).flatten(-2)
    return from_quads(quads, convention, "min_area")
