"""Labels and detections of many pictures as columns, which is what readers make and evaluation takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.detection.geometry.border import takes_columns
from tenfold.detection.geometry.checks import require_radians
from tenfold.errors import UsageError
from tenfold.settings.values import shown

T = TypeVar("T")


def _names(values: object, what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not all(isinstance(name, str) for name in values):
        raise UsageError(f"{what} are {shown(values)!r}; give a tuple of names")
    return tuple(values)


def _check_columns(table: "Labels | Detections") -> None:
    for what in ("images", "classes"):
        object.__setattr__(table, what, _names(getattr(table, what), what))
    images, classes, image, label, boxes = table.images, table.classes, table.image, table.label, table.boxes
    require_radians(boxes)
    for what, names, column in (("pictures", images, image), ("classes", classes, label)):
        if len(set(names)) < len(names):
            twice = next(name for name in names if list(names).count(name) > 1)
            raise UsageError(f"two {what} are named {twice!r}; give each its own name")
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < len(names):
            strange = int(column.min()) if int(column.min()) < 0 else int(column.max())
            raise UsageError(f"a box is of number {strange} of {len(names)} {what}; numbers begin with 0")


@takes_columns(image="whole n", label="whole n", boxes="boxes n 5", difficult="truths n")
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
        _check_columns(self)

    def __len__(self) -> int:
        return len(self.boxes)

    def chosen(self, rows: Tensor) -> "Labels":
        """Some of the objects, by number or mask."""
        columns = (column[rows] for column in (self.image, self.label, self.boxes, self.difficult))
        return Labels(self.images, self.classes, *columns)


@takes_columns(image="whole n", label="whole n", boxes="boxes n 5", scores="floats n")
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
        _check_columns(self)
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


def require_table(table: object, kind: type[T], what: str = "labels") -> T:
    """The table; UsageError for what is none of that kind."""
    if not isinstance(table, kind):
        raise UsageError(f"{what} are {type(table).__name__}; give {kind.__name__}, which readers make")
    return table


def check_same(labels: object, detections: object) -> None:
    """Raise UsageError where detections are of other pictures or classes than the labels, or no such tables."""
    one, other = require_table(labels, Labels), require_table(detections, Detections, "detections")
    for what, mine, theirs in (("pictures", one.images, other.images), ("classes", one.classes, other.classes)):
        if mine != theirs:
            first = next((pair for pair in zip(mine, theirs, strict=False) if pair[0] != pair[1]), None)
            told = f"{first[1]!r} stands in the place of {first[0]!r}" if first else f"{len(theirs)} of {len(mine)}"
            raise UsageError(f"the detections are of other {what} than the labels: {told}; read both with one list")


def boxes_of(rows: Sequence[Sequence[float]]) -> Float[Tensor, "n 5"]:
    """Rows of five numbers as boxes, float64."""
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
