"""Captioned images on canvases of several shapes: what they are to everybody else.

Images of one canvas shape are a group; a batch comes from one group. A source is a ``GroupedSource``
of the training loop, by structure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from tenfold.data.captions.config import CaptionDataConfig
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.training.task import GroupedSource


@runtime_checkable
class CaptionedSource(GroupedSource, Protocol):
    """Random-access captioned images: a batch, of one group, is "image" uint8 (B, C, H, W), "caption" int64 (B,), an
    index into ``texts``, and "label" int64 (B,), −1.

    ``texts`` are the distinct captions; ``groups`` (N,) int64 is each record's canvas, an index into
    ``shapes``, (C, H, W) each; ``fingerprint`` identifies images and captions."""

    texts: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]

    def captions(self, indices: np.ndarray) -> list[str]:
        """The captions of the records ``indices`` (B,), of any groups."""


@dataclass(frozen=True)
class CaptionedSplits:
    """Training, validation and test images with captions; ``ratios`` names the groups, ``shapes`` holds
    their (C, H, W), ``fingerprint`` identifies data and split."""

    train: CaptionedSource
    validation: CaptionedSource
    test: CaptionedSource
    ratios: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]
    fingerprint: str
    levels: int = 256


def captioned_splits(
    config: CaptionDataConfig, train: CaptionedSource, validation: CaptionedSource, test: CaptionedSource, *base: str
) -> CaptionedSplits:
    """The splits on the canvases of ``config``; ``base`` are further parts of their fingerprint."""
    mark = sha256(*base, *(part.fingerprint for part in (train, validation, test)))
    return CaptionedSplits(train, validation, test, config.ratio_names, config.shapes, mark)


def by_group(groups: Int64[np.ndarray, "n"], rows: Int64[np.ndarray, "m"] | None = None) -> list[np.ndarray]:
    """The records ``rows`` (all by default), one array a group."""
    rows = np.arange(len(groups)) if rows is None else rows
    return [rows[groups[rows] == group] for group in np.unique(groups[rows])]


def one_group(groups: Int64[np.ndarray, "n"], indices: Int64[np.ndarray, "b"], empty: int = 0) -> int:
    """The group of all records ``indices``; ``empty`` for none.

    Raises UsageError where they belong to several: images of different shapes make no batch."""
    found = np.unique(groups[indices])
    if len(found) > 1:
        raise UsageError(
            f"a batch mixes {len(found)} canvas shapes (groups {', '.join(map(str, found.tolist()))}); "
            "take the records of a batch from one group"
        )
    return int(found[0]) if len(found) else empty


def numbered(texts: Sequence[str]) -> tuple[tuple[str, ...], Int64[np.ndarray, "n"]]:
    """The distinct texts in order of first appearance, and each text's number among them.

    >>> numbered(["b", "a", "b"])
    (('b', 'a'), array([0, 1, 0]))
    """
    number: dict[str, int] = {}
    index = np.array([number.setdefault(text, len(number)) for text in texts], dtype=np.int64)
    return tuple(number), index
