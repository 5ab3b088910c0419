"""Labels and detections of many pictures as columns, which is what readers make and evaluation takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.detection.geometry.boxes import check_boxes, check_radians
from tenfold.errors import UsageError


def _check_columns(images: Sequence[str], classes: Sequence[str], image: Tensor, label: Tensor, boxes: Tensor) -> None:
    check_boxes(boxes)
    check_radians(boxes)
    for what, names, column in (("pictures", images, image), ("classes", classes, label)):
        if len(set(names)) < len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise UsageError(f"two {what} are named {twice!r}; give each its own name")
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < len(names):
            strange = int(column.min()) if int(column.min()) < 0 else int(column.max())
            raise UsageError(f"a box is of number {strange} of {len(names)} {what}; numbers begin with 0")


@dataclass(frozen=True)
class Labels:
    """The objects of all pictures, in the pictures' order.

    Attributes:
        images: names of the pictures, those without objects too.
        classes: names of the classes.
        image: number of each object's picture.
        label: number of its class.
        boxes: (cx, cy, w, h, angle).
        difficult: whether it may be missed (DOTA); counts in the VOC metric alone.

    Raises:
        UsageError: for boxes that are none, angles in degrees, names that stand twice, and numbers without a name.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    image: Int[Tensor, " n"]
    label: Int[Tensor, " n"]
    boxes: Float[Tensor, "n 5"]
    difficult: Bool[Tensor, " n"]

    def __post_init__(self) -> None:
        _check_columns(self.images, self.classes, self.image, self.label, self.boxes)

    def __len__(self) -> int:
        return len(self.boxes)

    def chosen(self, rows: Tensor) -> "Labels":
        """Some of the objects, by number or mask."""
        columns = (column[rows] for column in (self.image, self.label, self.boxes, self.difficult))
        return Labels(self.images, self.classes, *columns)


@dataclass(frozen=True)
class Detections:
    """What a detector found in the pictures of some labels; columns as in ``Labels``.

    Attributes:
        scores: in [0, 1].

    Raises:
        UsageError: as ``Labels``, and for scores that are none.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    image: Int[Tensor, " n"]
    label: Int[Tensor, " n"]
    boxes: Float[Tensor, "n 5"]
    scores: Float[Tensor, " n"]

    def __post_init__(self) -> None:
        _check_columns(self.images, self.classes, self.image, self.label, self.boxes)
        strange = ~((self.scores >= 0) & (self.scores <= 1))
        if bool(strange.any()):
            row = int(strange.nonzero()[0, 0])
            raise UsageError(f"the score of detection {row} is {float(self.scores[row]):g}; scores are within [0, 1]")

    def __len__(self) -> int:
        return len(self.boxes)

    def chosen(self, rows: Tensor) -> "Detections":
        """Some of the detections, by number or mask."""
        columns = (column[rows] for column in (self.image, self.label, self.boxes, self.scores))
        return Detections(self.images, self.classes, *columns)


def check_same(labels: Labels, detections: Detections) -> None:
    """Raise UsageError where detections are of other pictures or classes than the labels."""
    for what, mine, theirs in (
        ("pictures", labels.images, detections.images),
        ("classes", labels.classes, detections.classes),
    ):
        if mine != theirs:
            other = next((pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]), None)
            told = f"{other[1]!r} stands in the place of {other[0]!r}" if other else f"{len(theirs)} of {len(mine)}"
            raise UsageError(f"the detections are of other {what} than the labels: {told}; read both with one list")


def boxes_of(rows: Sequence[Sequence[float]]) -> Float[Tensor, "n 5"]:
    """Rows of five numbers as boxes, float64."""
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
