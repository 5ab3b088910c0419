"""Grids of images, ranked images, images as RGB."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tenfold.errors import UsageError
from tenfold.figures.style import INK, SOFT, Path_, as_array
from tenfold.files import write_output


def image_grid(
    images: Any,
    path: Path_,
    columns: int = 0,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    low: float | None = None,
    high: float | None = None,
    width: int = 1100,
) -> Path:
    """Images (N, C, H, W) or (N, H, W), grey or RGB, as one picture, each pixel enlarged by a whole factor
    so that tiny images stay sharp.

    Args:
        columns: images a row; 0 makes the grid about twice as wide as high.
        titles: one for each image, under it.
        row_titles: one for each row, left of it.
        low, high: values of black and white; 0 and 255 for integers, −1 and 1 for floats by default. Values
            beyond are clipped.
        width: what the picture's width should not exceed, in pixels, where the images allow.

    Raises UsageError for arrays of another shape, non-finite pixels or a wrong number of titles."""
    pixels = to_rgb(images, low, high)
    n, h, w, _ = pixels.shape
    if titles is not None and len(titles) != n:
        raise UsageError(f"{n} images have {len(titles)} titles; give one each")
    columns = columns or max(1, min(n, round(math.sqrt(2 * n))))
    rows = math.ceil(n / columns)
    if row_titles is not None and len(row_titles) != rows:
        raise UsageError(f"{rows} rows of images have {len(row_titles)} titles; give one each")
    font = ImageFont.load_default(15)
    margin = 14 + max((int(font.getlength(text)) for text in row_titles), default=0) if row_titles else 0
    gap, text_height = 6, 22 if titles else 0
    scale = max(1, min(96 // min(h, w) if max(h, w) < 96 else 1, (width - margin) // columns // w))
    # A column is at least as wide as its longest title.
    cell = max(w * scale, *(int(font.getlength(text)) + 2 for text in titles or [""]))
    height = h * scale + text_height
    sheet = Image.new("RGB", (margin + columns * (cell + gap) + gap, rows * (height + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    for i in range(n):
        row, column = divmod(i, columns)
        left, top = margin + gap + column * (cell + gap), gap + row * (height + gap)
        picture = Image.fromarray(pixels[i]).resize((w * scale, h * scale), Image.Resampling.NEAREST)
        sheet.paste(picture, (left + (cell - w * scale) // 2, top))
        if titles:
            draw.text((left + cell / 2, top + h * scale + 3), titles[i], SOFT, font, "ma")
    for row, text in enumerate(row_titles or ()):
        draw.text((gap, gap + row * (height + gap) + h * scale / 2), text, INK, font, "lm")
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return write_output(Path(path), content.getvalue())


def ranked(
    images: Any,
    scores: Any,
    path: Path_,
    count: int = 10,
    names: tuple[str, str] = ("least likely", "most likely"),
    low: float | None = None,
    high: float | None = None,
) -> Path:
    """The ``count`` images (N, C, H, W) with the lowest scores (N,) (log-likelihoods) above those with the
    highest, each with its score.

    Raises UsageError when images and scores differ in number."""
    pixels, values = as_array(images), as_array(scores).astype(np.float64)
    if len(pixels) != len(values):
        raise UsageError(f"{len(pixels)} images have {len(values)} scores; give one each")
    count = min(count, len(values))
    order = np.argsort(values, kind="stable")
    rows = np.concatenate([order[:count], order[::-1][:count]])
    titles = [f"{values[i]:.4g}" for i in rows]
    return image_grid(pixels[rows], path, count, titles, names, low, high)


def to_rgb(images: Any, low: float | None = None, high: float | None = None) -> np.ndarray:
    """uint8 (N, H, W, 3) of images (N, C, H, W) or (N, H, W), ``low`` black and ``high`` white (by default 0
    and 255 for integers, −1 and 1 for floats), clipped.

    Raises UsageError for other shapes and for values that are not finite."""
    array = as_array(images)
    array = array[:, None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not len(array):
        raise UsageError(f"images have shape {array.shape}; give (N, 1 or 3, H, W) or (N, H, W)")
    integers = array.dtype.kind in "iub"
    bottom = low if low is not None else 0.0 if integers else -1.0
    top = high if high is not None else 255.0 if integers else 1.0
    scaled = (array.astype(np.float64) - bottom) / (top - bottom)
    if not np.isfinite(scaled).all():
        raise UsageError("an image to draw holds a value that is not finite; look for NaN where it was made")
    rgb = (scaled.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return np.repeat(rgb, 3, axis=3) if rgb.shape[3] == 1 else rgb
