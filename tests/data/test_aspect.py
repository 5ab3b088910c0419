"""Aspect ratios and the canvases made of them."""

import math
import subprocess
import sys

import pytest

from tenfold.data.captions.aspect import RATIOS, nearest_ratio, ratio_value, ratios_of, size_of, with_ratio
from tenfold.errors import UsageError


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("side", "multiple"), [(32, 4), (64, 8), (256, 16), (1024, 16)])
def test_canvases_have_the_area_and_the_proportions(ratio: str, side: int, multiple: int) -> None:
    height, width = size_of(ratio, side, multiple)
    assert height % multiple == width % multiple == 0
    # Rounding moves either side by half a multiple at most.
    exact = side / math.sqrt(ratio_value(ratio)), side * math.sqrt(ratio_value(ratio))
    assert abs(height - exact[0]) <= multiple / 2
    assert abs(width - exact[1]) <= multiple / 2
    assert abs(height * width / side**2 - 1) < 0.15
    assert nearest_ratio(height, width) == ratio
    mirrored = ":".join(reversed(ratio.split(":")))
    assert size_of(mirrored, side, multiple) == (width, height)


def test_the_square_is_exact_and_a_side_is_never_nothing() -> None:
    assert size_of("1:1", 256, 8) == (256, 256)
    assert size_of("9:21", 4, 4) == (8, 4)


def test_nearest_is_by_proportion_not_by_difference() -> None:
    assert nearest_ratio(1080, 1920) == "16:9"
    assert nearest_ratio(1920, 1080) == "9:16"
    assert nearest_ratio(10, 1) == "9:21"
    # The geometric mean of 1 and 1.25 separates 1:1 from 5:4.
    assert nearest_ratio(10000, 11170) == "1:1"
    assert nearest_ratio(10000, 11190) == "5:4"
    assert nearest_ratio(100, 300, ("1:1", "2:3")) == "1:1"


def test_captions_say_their_ratio() -> None:
    assert with_ratio("two dogs", "4:5") == "two dogs\nin a 4:5 aspect ratio."


def test_settings_name_ratios() -> None:
    assert ratios_of("all") == RATIOS
    assert ratios_of(" 3:2,1:1 ") == ("3:2", "1:1")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ratio_value("16:10"), "unknown aspect ratio '16:10'; the nearest is '3:2'"),
        (lambda: with_ratio("a", "square"), "unknown aspect ratio 'square'; choose one of 21:9"),
        (lambda: size_of("3:1", 32, 4), "unknown aspect ratio '3:1'; the nearest is '21:9'"),
        (lambda: size_of("1:1", 30, 4), "side 30 is not a multiple of 4"),
        (lambda: size_of("1:1", 0, 4), "side 0 is not a multiple of 4"),
        (lambda: size_of("1:1", 8, 0), "side 8 is not a multiple of 0"),
        (lambda: nearest_ratio(0, 5), "height 0 and width 5 has no aspect ratio"),
        (lambda: ratios_of("1:1,1:1"), "name one twice"),
        (lambda: ratios_of(""), "unknown aspect ratio ''"),
    ],
)
def test_wrong_ratios_and_sizes(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_settings_import_no_torch() -> None:
    code = "import sys, tenfold.data.captions.aspect, tenfold.data.captions.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
