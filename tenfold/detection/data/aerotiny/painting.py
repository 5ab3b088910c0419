"""Shapes painted into oriented boxes, by the shares of pixels that they cover."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_SAMPLES, _FEW_SAMPLES = 8, 2  # a pixel's side; of what is large, and no object
_LARGE = 80
Shape = Callable[[ndarray, ndarray], ndarray]


class Paint(NamedTuple):
    """Where a box is painted, as a function of (u, v) in [−1, 1]² along and across it; the colour, and how opaque."""

    shape: Shape
    colour: Float[ndarray, "3"]
    opacity: float


def painted(shape: Shape, colour: object, opacity: float = 1.0) -> Paint:
    """A layer of a shape inside its box; the colour is cut to [0, 1]."""
    return Paint(shape, np.clip(np.asarray(colour, float), 0, 1), opacity)


class Painting:
    """A picture (height, width, 3) in [0, 1] that is painted on."""

    def __init__(self, colours: Float[ndarray, "h w 3"]) -> None:
        self.colours = colours

    def paint(self, box: Float[ndarray, "5"], layer: Paint) -> None:
        """Blend a layer into the pixels that its box covers, each by the share of it that the shape covers."""
        x, y, w, h, t = box.tolist()
        cosine, sine = np.cos(t), np.sin(t)
        reach = np.array([abs(w * cosine) + abs(h * sine), abs(w * sine) + abs(h * cosine)]) / 2
        height, width = self.colours.shape[:2]
        x0, y0 = max(0, int(np.floor(x - reach[0]))), max(0, int(np.floor(y - reach[1])))
        x1, y1 = min(width, int(np.ceil(x + reach[0]))), min(height, int(np.ceil(y + reach[1])))
        if x0 >= x1 or y0 >= y1:
            return
        samples = _FEW_SAMPLES if max(w, h) > _LARGE else _SAMPLES
        dx = (np.arange((x1 - x0) * samples) + 0.5) / samples + x0 - x
        dy = ((np.arange((y1 - y0) * samples) + 0.5) / samples + y0 - y)[:, None]
        u, v = (dx * cosine + dy * sine) * 2 / w, (dy * cosine - dx * sine) * 2 / h
        inside = (np.abs(u) <= 1) & (np.abs(v) <= 1) & layer.shape(u, v)
        share = inside.reshape(y1 - y0, samples, x1 - x0, samples).mean((1, 3))[..., None] * layer.opacity
        part = self.colours[y0:y1, x0:x1]
        part += share * (layer.colour - part)
