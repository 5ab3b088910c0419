"""Aspect ratios: the nine that STARFlow (arXiv 2506.06276) trains on, the size of a canvas of each, and the
words that tell a model which one is asked for. Imports no PyTorch.

A ratio is written "width:height".
"""

import math
from collections.abc import Sequence

from tenfold.errors import UsageError

RATIOS = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")


def ratio_value(ratio: str) -> float:
    """Width over height of one of ``RATIOS``.

    Raises UsageError for any other, with the nearest one.

    >>> ratio_value("3:2")
    1.5
    """
    width, _, height = ratio.partition(":")
    if ratio not in RATIOS:
        numbers = width.isdecimal() and height.isdecimal() and int(width) > 0 and int(height) > 0
        near = nearest_ratio(int(height), int(width)) if numbers else ""
        advice = f"the nearest is {near!r}" if near else f"choose one of {', '.join(RATIOS)}"
        raise UsageError(f"unknown aspect ratio {ratio!r}; {advice}")
    return int(width) / int(height)


def ratios_of(text: str) -> tuple[str, ...]:
    """The ratios in a setting: "all", or some of ``RATIOS`` with commas between them.

    Raises UsageError for an unknown, a repeated or no ratio.

    >>> ratios_of("1:1, 3:2")
    ('1:1', '3:2')
    """
    names = RATIOS if text.strip() == "all" else tuple(part.strip() for part in text.split(","))
    for name in names:
        ratio_value(name)
    if len(set(names)) < len(names):
        raise UsageError(f"aspect ratios {text!r} name one twice; give each once, or 'all'")
    return names


def size_of(ratio: str, side: int, multiple: int = 1) -> tuple[int, int]:
    """(height, width) with the area of a square of ``side`` and the proportions ``ratio``, each rounded to a
    positive multiple of ``multiple``.

    Raises UsageError for an unknown ratio, or a side that is no positive multiple of ``multiple``.

    >>> size_of("3:2", 256, 8), size_of("1:1", 256, 8)
    ((208, 312), (256, 256))
    """
    if multiple < 1 or side < 1 or side % multiple:
        raise UsageError(f"side {side} is not a multiple of {multiple}; canvases are rounded to that, so change one")
    stretch = math.sqrt(ratio_value(ratio))
    height, width = (max(1, round(length / multiple)) * multiple for length in (side / stretch, side * stretch))
    return height, width


def nearest_ratio(height: int, width: int, ratios: Sequence[str] = RATIOS) -> str:
    """The one of ``ratios`` whose logarithm is nearest to that of width / height.

    Raises UsageError for a size that is not positive.

    >>> nearest_ratio(480, 640), nearest_ratio(100, 1000)
    ('5:4', '21:9')
    """
    if height < 1 or width < 1:
        raise UsageError(f"an image of height {height} and width {width} has no aspect ratio; both must be positive")
    return min(ratios, key=lambda ratio: abs(math.log(width / height) - math.log(ratio_value(ratio))))


def with_ratio(caption: str, ratio: str) -> str:
    """The caption with a line after it that says the ratio, as the published text model was trained.

    >>> with_ratio("a small 3", "16:9")
    'a small 3\\nin a 16:9 aspect ratio.'
    """
    ratio_value(ratio)
    return f"{caption}\nin a {ratio} aspect ratio."
