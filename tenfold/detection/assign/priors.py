"""What is assigned: priors of all levels in one row, and what a head predicts at them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError

BACKGROUND, IGNORED = -1, -2  # in the place of an object's number


@dataclass(frozen=True)
class Priors:
    """One prior at each location of each level.

    Attributes:
        boxes: as the network decodes from them.
        levels: how many each level has, finest first.
        moved: the same after the network's offsets moved their centres (DCFL); the same as ``boxes`` elsewhere.
    """

    boxes: Float[Tensor, "n 5"]
    levels: tuple[int, ...]
    moved: Float[Tensor, "n 5"]

    def __post_init__(self) -> None:
        if sum(self.levels) != len(self.boxes):
            raise UsageError(f"levels hold {sum(self.levels)} priors and there are {len(self.boxes)}; one a location")

    @property
    def level(self) -> Int[Tensor, " n"]:
        """The number of each prior's level."""
        counts = torch.tensor(self.levels, device=self.boxes.device)
        return torch.repeat_interleave(counts)


@dataclass(frozen=True)
class Predictions:
    """What a head says at each prior: logits of the classes, and boxes decoded (from ``Priors.boxes`` or ``moved``)."""

    logits: Float[Tensor, "n c"]
    boxes: Float[Tensor, "n 5"]


def grid_priors(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    scale: float = 4.0,
    offset: float = 0.0,
    device: torch.device | str = "cpu",
) -> Priors:
    """Square priors at angle 0, with sides of ``scale`` strides and centres (i + offset) stride, row by row.

    Args:
        sizes: (height, width) of each level's map.
        strides: pixels from one location to the next.
        offset: 0 as published, ½ for the middle of the cells.

    >>> grid_priors([(1, 2)], [8]).boxes.tolist()
    [[0.0, 0.0, 32.0, 32.0, 0.0], [8.0, 0.0, 32.0, 32.0, 0.0]]
    """
    rows = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        centre = (torch.stack([x, y], -1).flatten(0, 1) + offset) * stride
        side = torch.full((height * width, 2), scale * stride, device=device)
        rows.append(torch.cat([centre, side, torch.zeros_like(side[:, :1])], 1))
    boxes = torch.cat(rows)
    return Priors(boxes, tuple(h * w for h, w in sizes), boxes)
