"""Pixel modes, sizes and damage."""

import io

import numpy as np
import pytest
from PIL import Image

from tenfold.data.images.decode import check_levels, open_image, quantise, resize_array, to_pixels
from tenfold.errors import TenfoldError, UsageError


def pixels(image: Image.Image, channels: int = 3, levels: int = 256) -> np.ndarray:
    return to_pixels(image, 0, 0, channels, levels, "x.png")


def png(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_grey_and_rgb() -> None:
    array = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(pixels(Image.fromarray(array)), array.transpose(2, 0, 1))
    grey = pixels(Image.fromarray(array[:, :, 0]))
    np.testing.assert_array_equal(grey, np.stack([array[:, :, 0]] * 3))
    assert pixels(Image.fromarray(array), channels=1).shape == (1, 4, 4)


def test_sixteen_bit_images_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    image = open_image(png(Image.fromarray(ramp)), "x.png")
    assert image.mode.startswith("I")
    np.testing.assert_array_equal(pixels(image, 1)[0], ramp // 257)


def test_transparent_parts_become_white_and_palettes_colours() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    np.testing.assert_array_equal(pixels(Image.fromarray(rgba))[:, 0, 0], (10, 20, 30))
    np.testing.assert_array_equal(pixels(Image.fromarray(rgba))[:, 1, 1], (255, 255, 255))
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    np.testing.assert_array_equal(pixels(open_image(png(palette), "p.png"))[:, 0, 0], (200, 100, 50))
    see_through = open_image(png(palette, transparency=1), "p.png")
    np.testing.assert_array_equal(pixels(see_through)[:, 0, 0], (255, 255, 255))
    assert pixels(Image.new("1", (2, 2), 1), 1).max() == 255
    assert pixels(Image.new("CMYK", (2, 2))).shape == (3, 2, 2)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_modes_without_an_eight_bit_meaning_are_refused_by_name(mode: str) -> None:
    image = Image.fromarray(np.full((2, 2), 70000, np.float32 if mode == "F" else np.int32))
    with pytest.raises(TenfoldError, match=r"image x\.png has"):
        pixels(image)


def test_orientation_of_photographs_is_applied() -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    np.testing.assert_array_equal(pixels(open_image(buffer.getvalue(), "x"), 1)[0], [[3, 0], [4, 1], [5, 2]])


def test_resize_covers_then_crops_at_the_centre() -> None:
    wide = np.zeros((4, 12, 1), np.uint8)
    wide[:, 4:8] = 200
    np.testing.assert_array_equal(resize_array(wide, 4, 4), np.full((4, 4, 1), 200))
    assert resize_array(np.zeros((7, 5, 3), np.uint8), 3, 9).shape == (3, 9, 3)
    # Antialiasing: a fine chequerboard shrinks to its mean, not to one of its two values.
    board = (np.indices((64, 64)).sum(0) % 2 * 200).astype(np.uint8)[:, :, None]
    assert np.abs(resize_array(board, 8, 8).astype(int) - 100).max() <= 3


def test_quantising_fills_every_level_evenly() -> None:
    values = quantise(np.arange(256, dtype=np.uint8), 32)
    assert np.bincount(values).tolist() == [8] * 32
    np.testing.assert_array_equal(quantise(np.arange(256, dtype=np.uint8), 256), np.arange(256))


def test_damaged_missing_and_empty_images_name_themselves(tmp_path) -> None:
    for value in (
        b"not an image",
        png(Image.new("L", (40, 40), 7))[:50],
        {"bytes": b"\x89PNG", "path": None},
    ):
        with pytest.raises(TenfoldError, match="image here cannot be read"):
            open_image(value, "here")
    with pytest.raises(TenfoldError, match="does not exist"):
        open_image(tmp_path / "gone.png", "gone.png")
    with pytest.raises(TenfoldError, match="is empty"):
        open_image({"bytes": None, "path": None}, "5")


def test_arrays_are_read_in_both_layouts_and_checked() -> None:
    array = np.arange(75, dtype=np.int64).reshape(5, 5, 3)
    np.testing.assert_array_equal(pixels(open_image(array, "a")), array.transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels(open_image(array.transpose(2, 0, 1), "a")), array.transpose(2, 0, 1))
    with pytest.raises(TenfoldError, match="array of float64"):
        open_image(array / 2, "a")
    with pytest.raises(UsageError, match=r"pixel value 300, outside \[0, 256\)"):
        open_image(array + 226, "a")
    with pytest.raises(UsageError, match=r"pixel value -1, outside \[0, 17\)"):
        check_levels(np.array([-1, 3]), 17, "x")
