"""A picture from the ground up: land, things that are no objects, objects with their shadows, and the camera."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from numpy.random import Generator
from PIL import Image
from scipy import fft, ndimage
from torch import Tensor

from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.detection.data.aerotiny.land import land
from tenfold.detection.data.aerotiny.painting import Painting, painted
from tenfold.detection.data.aerotiny.placing import placed, sides_of_kind
from tenfold.detection.data.aerotiny.shapes import KINDS
from tenfold.detection.data.layout import PICTURES
from tenfold.detection.geometry.angles import to_convention
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import numpy_generator


class Scene(NamedTuple):
    """A picture (3, size, size), its objects' boxes in le135, and their classes in AI-TOD-R's order."""

    image: UInt8[Tensor, "3 s s"]
    boxes: Float[Tensor, "n 5"]
    labels: Int[Tensor, " n"]


class AeroTiny:
    """Rendered pictures by number, each made when it is asked for; (seed, split, number) decides all of it.

    Raises UsageError for a folder of backgrounds without pictures, or with one smaller than ``config.size``.

    >>> scene = AeroTiny(AeroTinyConfig(size=64, pictures=3, objects=300))[2]
    >>> scene.image.shape, scene.boxes.shape[1], scene.boxes.dtype
    (torch.Size([3, 64, 64]), 5, torch.float64)
    """

    classes = tuple(kind.name for kind in KINDS)

    def __init__(self, config: AeroTinyConfig | None = None) -> None:
        self.config = config or AeroTinyConfig()
        self._backgrounds = _pictures(self.config.backgrounds, self.config.size)

    def __len__(self) -> int:
        return self.config.pictures

    @read_arguments
    def __getitem__(self, number: int) -> Scene:
        if not 0 <= number < len(self):
            raise IndexError(f"picture {number} of {len(self)}")
        config = self.config
        draw = numpy_generator(config.seed, "aerotiny", config.split, number)
        street, sun = draw.uniform(-np.pi, np.pi), draw.uniform(-np.pi, np.pi)
        ground, water = self._ground(draw, street)
        canvas = Painting(ground)
        boxes, labels = placed(draw, config, street, water)
        _distract(canvas, draw, int(draw.poisson(config.distractors * max(1, len(boxes)))))
        for box, label in zip(boxes, labels, strict=True):
            _stand(canvas, draw, box, int(label), sun)
        made = to_convention(torch.from_numpy(boxes), "le135")
        return Scene(_camera(draw, canvas.colours), made, torch.from_numpy(labels))

    def _ground(self, draw: Generator, street: float) -> tuple[Float[ndarray, "s s 3"], Bool[ndarray, "s s"] | None]:
        """Colours, and where there is water, if that is known."""
        if not self._backgrounds:
            return land(draw, self.config.size, street)
        file = self._backgrounds[int(draw.integers(len(self._backgrounds)))]
        with Image.open(file) as picture:
            left, top = (int(draw.integers(side - self.config.size + 1)) for side in picture.size)
            crop = picture.convert("RGB").crop((left, top, left + self.config.size, top + self.config.size))
        return np.asarray(crop, dtype=float) / 255, None


def _pictures(folder: str, size: int) -> Sequence[Path]:
    if not folder:
        return ()
    found = sorted(f for f in Path(folder).glob("*") if f.suffix.lower() in PICTURES)
    if not found:
        raise UsageError(f"backgrounds {folder} holds no pictures ({', '.join(PICTURES)})")
    for file in found:
        try:
            with Image.open(file) as picture:
                small = min(picture.size) < size
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error}") from None
        if small:
            raise UsageError(f"{file} is smaller than {size} pixels; take it away, or lower the size")
    return found


def _stand(canvas: Painting, draw: Generator, box: ndarray, label: int, sun: float) -> None:
    kind = KINDS[label]
    layers = kind.layers(draw)
    if kind.height:
        away = kind.height * np.sqrt(box[2] * box[3]) * np.array([np.cos(sun), np.sin(sun)])
        shadow = box + np.array([*away, 0, 0, 0])
        canvas.paint(shadow, painted(layers[0].shape, (0.05, 0.05, 0.07), 0.5))
    if kind.name == "ship":
        x, y, w, h, t = box
        wake = np.array([x - 0.9 * w * np.cos(t), y - 0.9 * w * np.sin(t), 0.8 * w, 1.2 * h, t])
        canvas.paint(wake, painted(lambda u, v: np.abs(v) < 0.5 - 0.4 * u, (0.75, 0.8, 0.82), draw.uniform(0, 0.5)))
    for layer in layers:
        canvas.paint(box, layer)


def _distract(canvas: Painting, draw: Generator, number: int) -> None:
    """Trees, rocks, containers, units on roofs, marks on the ground: of objects' sizes, and never labelled."""
    size = len(canvas.colours)
    tones = np.array([(0.13, 0.22, 0.1), (0.5, 0.48, 0.45), (0.55, 0.25, 0.2), (0.85, 0.85, 0.83), (0.2, 0.2, 0.22)])
    for _ in range(number):
        w, h = sides_of_kind(draw, int(draw.integers(len(KINDS))))
        box = np.array([*draw.uniform(0, size, 2), w, h, draw.uniform(-np.pi, np.pi)])
        tone = tones[int(draw.integers(len(tones)))] * draw.uniform(0.8, 1.2)
        if draw.random() < 0.5:
            canvas.paint(box, painted(lambda u, v: u**2 + v**2 < 1 - 0.3 * np.sin(5 * u + 7 * v), tone, 0.9))
        else:
            canvas.paint(box, painted(lambda u, v: np.abs(u) < 2, tone, 0.8))


def _camera(draw: Generator, colours: Float[ndarray, "s s 3"]) -> UInt8[Tensor, "3 s s"]:
    """Light and contrast, a Gaussian blur of σ 0.5 to 0.9 pixels, photon and read noise, 8 × 8 blocks like JPEG's."""
    lit = (colours - 0.4) * draw.uniform(0.85, 1.15) + 0.4 * draw.uniform(0.85, 1.15)
    blurred = ndimage.gaussian_filter(np.clip(lit, 0, 1), (draw.uniform(0.5, 0.9),) * 2 + (0,))
    photons = draw.uniform(800, 4000)
    noisy = blurred + np.sqrt(blurred / photons) * draw.normal(size=blurred.shape)
    noisy += 0.006 * draw.normal(size=blurred.shape)
    quantised = _blocks(noisy, draw.uniform(0.01, 0.05))
    pixels = np.clip(np.round(quantised * 255), 0, 255).astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _blocks(colours: Float[ndarray, "s s 3"], step: float) -> Float[ndarray, "s s 3"]:
    """Cosine coefficients of 8 × 8 blocks rounded to multiples of a step, which grows with the frequency."""
    size = len(colours)
    padded = np.pad(colours, ((0, -size % 8), (0, -size % 8), (0, 0)), mode="edge")
    side = len(padded) // 8
    blocks = padded.reshape(side, 8, side, 8, 3)
    steps = step * (1 + np.add.outer(np.arange(8), np.arange(8)) / 4)[None, :, None, :, None]
    rounded = np.round(fft.dctn(blocks, axes=(1, 3), norm="ortho") / steps) * steps
    return fft.idctn(rounded, axes=(1, 3), norm="ortho").reshape(8 * side, 8 * side, 3)[:size, :size]
