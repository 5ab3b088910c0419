"""What is assigned: priors of all levels in one row, and what a head predicts at them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.geometry.border import takes_columns
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import read, shown

BACKGROUND, IGNORED = -1, -2  # in the place of an object's number


@takes_columns(boxes="floats n 5", moved="floats n 5")
@dataclass(frozen=True)
class Priors:
    """One prior at each location of each level.

    Attributes:
        boxes: as the network decodes from them.
        levels: how many each level has, finest first.
        moved: the same after the network's offsets moved their centres (DCFL); the same as ``boxes`` elsewhere.

    Raises:
        UsageError: for columns of other shapes, and where the levels do not add up.
    """

    boxes: Float[Tensor, "n 5"]
    levels: tuple[int, ...]
    moved: Float[Tensor, "n 5"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", read(tuple[int, ...], self.levels, "levels"))
        if sum(self.levels) != len(self.boxes):
            raise UsageError(f"levels hold {sum(self.levels)} priors and there are {len(self.boxes)}; one a location")

    @property
    def level(self) -> Int[Tensor, " n"]:
        """The number of each prior's level."""
        counts = torch.tensor(self.levels, device=self.boxes.device)
        return torch.repeat_interleave(counts)


@takes_columns(logits="floats n c", boxes="floats n 5")
@dataclass(frozen=True)
class Predictions:
    """What a head says at each prior: logits of the classes, and boxes decoded (from ``Priors.boxes`` or ``moved``)."""

    logits: Float[Tensor, "n c"]
    boxes: Float[Tensor, "n 5"]


@read_arguments
def grid_priors(
    sizes: Sequence[Sequence[Any]],
    strides: Sequence[Any],
    scale: float = 4.0,
    offset: float = 0.0,
    device: torch.device | str = "cpu",
) -> Priors:
    """Square priors at angle 0, with sides of ``scale`` strides and centres (i + offset) stride, row by row.

    Args:
        sizes: (height, width) of each level's map.
        strides: pixels from one location to the next.
        offset: 0 as published, ½ for the middle of the cells.

    Raises:
        UsageError: for sizes and strides that are no positive whole numbers or not as many, and a scale that is not
            positive.

    >>> grid_priors([(1, 2)], [8]).boxes.tolist()
    [[0.0, 0.0, 32.0, 32.0, 0.0], [8.0, 0.0, 32.0, 32.0, 0.0]]
    """
    sizes = [read(tuple[int, int], size, "sizes") for size in sizes]
    strides = read(tuple[int, ...], strides, "strides")
    if len(sizes) != len(strides) or not sizes:
        raise UsageError(f"there are {len(sizes)} sizes and {len(strides)} strides; give one of each a level")
    if min(strides) < 1 or min(min(size) for size in sizes) < 1:
        raise UsageError(f"sizes are {shown(sizes)} and strides {shown(strides)}; give positive whole numbers")
    if not scale > 0:
        raise UsageError(f"scale is {scale:g}; give a positive number of strides")
    rows = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        centre = (torch.stack([x, y], -1).flatten(0, 1) + offset) * stride
        side = torch.full((height * width, 2), scale * stride, device=device)
        rows.append(torch.cat([centre, side, torch.zeros_like(side[:, :1])], 1))
    boxes = torch.cat(rows)
    return Priors(boxes, tuple(h * w for h, w in sizes), boxes)
