"""Image files to integer pixels: every mode that PIL opens is converted or refused by name; and random-access images
that are decoded when they are asked for, and kept where memory allows."""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError

_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_PLAIN = ("L", "RGB", "1", "P", "CMYK", "YCbCr")
Encoded = str | Path | bytes | Mapping[str, Any] | list[Any] | Image.Image | np.ndarray | None
"""An undecoded image: a path, a file's bytes, {"bytes", "path"} of Hugging Face data sets, a PIL image, or integers
(H, W) or (H, W, C)."""


def open_image(value: Encoded, name: str) -> Image.Image:
    """A decoded PIL image, upright (EXIF).

    Raises TenfoldError, naming ``name``, for files that are damaged or are no images."""
    value = _contents(value, name)
    with _readable(name):
        image = _opened(value)
        image.load()
        return ImageOps.exif_transpose(image)


def image_size(value: Encoded, name: str) -> tuple[int, int]:
    """(height, width) of an image that ``open_image`` would read, upright, from its header alone."""
    value = _contents(value, name)
    with _readable(name):
        image = _opened(value)
        lying = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # turned by a quarter
        return (image.width, image.height) if lying else (image.height, image.width)


def _contents(value: Encoded, name: str) -> str | Path | bytes | Image.Image:
    if isinstance(value, Mapping):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise TenfoldError(f"image {name} is empty; remove the record or set another image column")
    return _from_array(np.asarray(value), name) if isinstance(value, list | np.ndarray) else value


def _opened(value: str | Path | bytes | Image.Image) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    return Image.open(io.BytesIO(value) if isinstance(value, bytes) else value)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise TenfoldError(f"image {name} does not exist; it was there when the data were listed") from error
    except Image.DecompressionBombError as error:
        raise TenfoldError(f"image {name} is too large to decode safely ({error}); shrink it") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TenfoldError(f"image {name} cannot be read ({reason}); repair or remove it") from error


def to_pixels(image: Image.Image, height: int, width: int, channels: int, levels: int, name: str) -> np.ndarray:
    """uint8 (channels, H, W) with values in [0, levels): converted to grey or RGB (transparent parts on
    white, 16-bit scaled to 8), the short side resized with antialiasing, then cropped at the centre to
    height x width; height 0 keeps the image's size.

    Raises TenfoldError for pixel modes that have no such meaning (32-bit and floating-point images)."""
    image = _eight_bit(image, name)
    if image.mode in _WITH_ALPHA or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    elif image.mode not in _PLAIN:
        raise TenfoldError(f"image {name} has pixel mode {image.mode!r}; convert it to 8-bit grey or RGB")
    image = image.convert("RGB") if image.mode != "L" else image
    image = image.convert("L" if channels == 1 else "RGB")
    array = np.asarray(image)
    array = array[:, :, None] if array.ndim == 2 else array
    if height:
        array = resize_array(array, height, width)
    return np.ascontiguousarray(quantise(array, levels).transpose(2, 0, 1))


def resize_array(array: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 (h, w, C) to (height, width, C): scaled (antialiased bicubic) so that it just covers the target,
    then cropped at the centre."""
    rows, columns = array.shape[:2]
    if (rows, columns) == (height, width):
        return array
    scale = max(height / rows, width / columns)
    size = (max(width, round(columns * scale)), max(height, round(rows * scale)))
    image = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    resized = np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    resized = resized[:, :, None] if resized.ndim == 2 else resized
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    return resized[top : top + height, left : left + width]


def quantise(array: np.ndarray, levels: int) -> np.ndarray:
    """8-bit values to ``levels`` equally wide bins: ⌊v · levels / 256⌋, uint8 (the identity for 256)."""
    if levels == 256:
        return array
    return (array.astype(np.uint16) * levels >> 8).astype(np.uint8)


def check_levels(
    images: np.ndarray, levels: int, name: str, fix: str = "set --data.levels above the largest value"
) -> None:
    """Raises UsageError when integer pixels lie outside [0, levels); ``fix`` tells what to do."""
    if images.size and (int(images.min()) < 0 or int(images.max()) >= levels):
        low, high = int(images.min()), int(images.max())
        raise UsageError(f"{name} has pixel value {low if low < 0 else high}, outside [0, {levels}); {fix}")


def _from_array(array: np.ndarray, name: str) -> Image.Image:
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype.kind not in "iu" or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise TenfoldError(
            f"image {name} is an array of {array.dtype} with shape {array.shape}; "
            "give integers 0 to 255 of shape (H, W), (H, W, 3) or (3, H, W)"
        )
    check_levels(array, 256, f"image {name}")
    return Image.fromarray(array.astype(np.uint8))


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    # 16-bit grey PNGs open as "I;16" (older PIL: "I"); PIL's own conversion clips them at 255.
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise TenfoldError(f"image {name} has 32-bit pixels; convert it to 8 or 16 bits")
        return Image.fromarray((values // 257).astype(np.uint8))
    if image.mode == "F":
        raise TenfoldError(f"image {name} has floating-point pixels; convert it to 8 or 16 bits")
    return image


def attempts(
    decode: Callable[[Encoded, str], np.ndarray], values: Sequence[Encoded], names: Sequence[str]
) -> list[np.ndarray | TenfoldError]:
    """What ``decode`` makes of each image, in order, or what is wrong with it. PIL releases the interpreter lock, so
    threads decode side by side. Raises UsageError, which is about settings and not about an image."""

    def attempt(value: Encoded, name: str) -> np.ndarray | TenfoldError:
        try:
            return decode(value, name)
        except UsageError:
            raise
        except TenfoldError as error:
            return error

    if len(values) < 4:
        return [attempt(value, name) for value, name in zip(values, names, strict=True)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(attempt, values, names))


def told_together(bad: Sequence[TenfoldError], count: int, fix: str = "") -> TenfoldError:
    """One error for all of the bad images of ``count``."""
    if len(bad) == 1:
        return TenfoldError(f"{bad[0]}{fix and f', or {fix}'}")
    told = [str(error).partition(";")[0] for error in bad[:20]]
    more = f" and {len(bad) - 20} more" if len(bad) > 20 else ""
    listed = f"{len(bad)} of {count} images are bad: {', '.join(told)}{more}"
    return TenfoldError(f"{listed}; repair or remove them{fix and f', or {fix}'}")


def good_images(read: "Read", count: int, channels: int, skip_bad: bool) -> Bool[np.ndarray, "n"]:
    """Which of ``count`` images can be decoded, found before any work: all of them, or, with ``skip_bad``, those that
    are left when bad ones are left out, with a warning that counts them. Of more than 50,000 images the headers alone
    are looked at, unless bad ones are to be left out.

    Raises TenfoldError that lists the bad ones."""

    def whole(value: Encoded, name: str) -> np.ndarray:
        return to_pixels(open_image(value, name), 0, 0, channels, 256, name)

    def header(value: Encoded, name: str) -> np.ndarray:
        return np.array(image_size(value, name))

    bad: dict[int, TenfoldError] = {}
    with progress.task("checking images", count, "images") as advance:
        for start in range(0, count, 256):
            values, names = read(np.arange(start, min(start + 256, count)))
            found = attempts(whole if skip_bad or count <= 50_000 else header, values, names)
            bad |= {start + i: error for i, error in enumerate(found) if isinstance(error, TenfoldError)}
            advance(len(values))
    if bad and (not skip_bad or len(bad) == count):
        raise told_together(list(bad.values()), count, "" if skip_bad else "leave them out with --data.skip-bad")
    if bad:
        text = str(told_together(list(bad.values()), count)).partition(";")[0]
        warnings.warn(f"{len(bad)} of {count} images are left out as bad: {text}", stacklevel=3)
    good = np.ones(count, dtype=bool)
    good[list(bad)] = False
    return good


Read = Callable[[np.ndarray], tuple[Sequence[Encoded], list[str]]]
"""Undecoded images and their names (for messages) for positions (B,) int64."""


class ImageDecoder:
    """Undecoded image to uint8 (C, H, W) of one fixed shape. ``height`` 0 keeps the images' own size, which
    must then be that of the first one."""

    def __init__(self, height: int, width: int, channels: int, levels: int) -> None:
        self.height, self.width, self.channels, self.levels = height, width, channels, levels
        self.shape: tuple[int, int, int] | None = (channels, height, width) if height else None

    def __call__(self, value: Encoded, name: str) -> UInt8[np.ndarray, "c h w"]:
        image = open_image(value, name)
        pixels = to_pixels(image, self.height, self.width, self.channels, self.levels, name)
        if self.shape is None:
            self.shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
        if pixels.shape != self.shape:
            raise UsageError(
                f"image {name} is {pixels.shape[1]}x{pixels.shape[2]}, the first one "
                f"{self.shape[1]}x{self.shape[2]}; set --data.height and --data.width to make all one size"
            )
        return pixels

    def many(self, values: Sequence[Encoded], names: Sequence[str]) -> UInt8[np.ndarray, "n c h w"]:
        """uint8 (n, C, H, W), in order. PIL releases the interpreter lock, so threads decode side by side."""
        found = attempts(self, values, names)
        if bad := [error for error in found if isinstance(error, TenfoldError)]:
            raise told_together(bad, len(values))
        pixels = [image for image in found if isinstance(image, np.ndarray)]
        return np.stack(pixels) if pixels else np.zeros((0, *(self.shape or (self.channels, 0, 0))), np.uint8)


class LazyImages:
    """A split whose images are decoded on first use.

    Args:
        read: see ``Read``.
        labels: int64 (N,), −1 where there is none.
        decoder: its ``shape`` is known.
        fingerprint: identifies the undecoded images, their order and the decoder's settings.
        memory: bytes that decoded images may take; a split that needs more is decoded every time.
    """

    def __init__(
        self,
        read: Read,
        labels: np.ndarray,
        decoder: ImageDecoder,
        fingerprint: str,
        memory: int,
    ) -> None:
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        self.fingerprint = fingerprint
        self._read, self._decoder = read, decoder
        shape = (len(self.labels), *(decoder.shape or (decoder.channels, 0, 0)))
        # Untouched pages of a zeroed array cost nothing, so the cache grows with use only.
        self._cache = np.zeros(shape, np.uint8) if int(np.prod(shape)) <= memory else None
        self._cached = np.zeros(len(self.labels), bool)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The images ``indices`` (B,) int64.

        Raises TenfoldError, naming the file, for an image that cannot be decoded."""
        indices = np.asarray(indices, dtype=np.int64)
        if self._cache is None:
            pixels = self._decode(indices)
        else:
            missing = np.unique(indices[~self._cached[indices]])
            if len(missing):
                self._cache[missing] = self._decode(missing)
                self._cached[missing] = True
            pixels = self._cache[indices]
        return {"image": torch.from_numpy(pixels), "label": self.labels[torch.from_numpy(indices)]}

    def _decode(self, indices: np.ndarray) -> np.ndarray:
        return self._decoder.many(*self._read(indices))
