"""One object or detection as a file has it, and numbers out of text. Imports no PyTorch."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tenfold.errors import UsageError

Size = tuple[int, int]  # width and height


class QuadRow(NamedTuple):
    """Four corners in a picture.

    Attributes:
        image: the picture's name, without folder and ending.
        corners: x1, y1, ..., x4, y4 in pixels.
        name: of the class.
        difficult: whether a detector may miss it.
        place: file and line, for messages.
        score: of a detection; 1 for an object.
    """

    image: str
    corners: tuple[float, ...]
    name: str
    difficult: bool
    place: str
    score: float = 1.0


class RawLabels(NamedTuple):
    """What files say: objects, names of the pictures, sizes of those that are known, and names of the classes, in
    their order where the files have one."""

    rows: list[QuadRow]
    images: list[str]
    sizes: dict[str, Size]
    classes: tuple[str, ...] = ()


def numbers(tokens: Sequence[object], place: str, what: str) -> tuple[float, ...]:
    """Finite numbers from words or JSON; UsageError names the place."""
    try:
        values = tuple(float(token) for token in tokens)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        strange = next(token for token in tokens if not _is_number(token))
        raise UsageError(f"{place}: {strange!r} is no number; {what}") from None
    if not all(math.isfinite(value) for value in values):
        raise UsageError(f"{place}: there is NaN or infinity; {what}")
    return values


def _is_number(token: object) -> bool:
    try:
        float(token)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def score_of(value: object, place: str) -> float:
    """A score in [0, 1]."""
    (score,) = numbers([value], place, "a score is expected there")
    if not 0 <= score <= 1:
        raise UsageError(f"{place}: the score is {score:g}; scores are within [0, 1]")
    return score


def lines_of(file: Path) -> list[str]:
    """Lines of a text file, whatever ends them and whether or not a byte-order mark begins it."""
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UsageError(f"{file} does not exist") from None
    except IsADirectoryError:
        raise UsageError(f"{file} is a folder; a file of labels is expected there") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text in UTF-8; save it as that") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}") from None
