"""The eight classes as shapes. Each touches all four sides of its box, so that the label is exact."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from tenfold.detection.data.aerotiny.painting import Paint, painted


class Kind(NamedTuple):
    """A class: quartiles of √area and of pixels (AI-TOD-R's), aspect, share, how high it stands, and its layers."""

    name: str
    quartiles: tuple[float, float, float]
    aspect: tuple[float, float]
    share: float
    height: float
    layers: Callable[[Generator], list[Paint]]


def _everywhere(u: ndarray, v: ndarray) -> ndarray:
    return (np.abs(u) <= 1) & (np.abs(v) <= 1)


def _disc(u: ndarray, v: ndarray) -> ndarray:
    return u**2 + v**2 <= 1


def _rounded(corner: float) -> Callable[[ndarray, ndarray], ndarray]:
    def shape(u: ndarray, v: ndarray) -> ndarray:
        a, b = np.maximum(np.abs(u) - 1 + corner, 0), np.maximum(np.abs(v) - 1 + corner, 0)
        return a**2 + b**2 <= corner**2

    return shape


def _aeroplane(draw: Generator) -> list[Paint]:
    def shape(u: ndarray, v: ndarray) -> ndarray:
        body = np.abs(v) <= 0.13 * np.clip(4 * (1 - np.abs(u)), 0.3, 1)
        wings = np.abs(u - 0.1 + 0.4 * np.abs(v)) <= 0.2 - 0.08 * np.abs(v)
        tail = (np.abs(u + 0.75 + 0.3 * np.abs(v)) <= 0.12) & (np.abs(v) <= 0.42)
        return body | wings | tail

    return [painted(shape, draw.uniform(0.75, 1.0) * np.array([1, 1, 1.02]))]


def _bridge(draw: Generator) -> list[Paint]:
    grey = draw.uniform(0.5, 0.75)
    return [
        painted(_everywhere, (grey, grey, grey)),
        painted(lambda u, v: np.abs(v) > 0.75, (grey * 1.25, grey * 1.25, grey * 1.2)),
        painted(lambda u, v: np.abs(v) < 0.06, (0.85, 0.85, 0.8), 0.6),
    ]


def _tank(draw: Generator) -> list[Paint]:
    white = draw.uniform(0.65, 0.95)
    return [
        painted(_disc, (white * 0.75, white * 0.75, white * 0.75)),
        painted(lambda u, v: u**2 + v**2 <= 0.72, (white, white, white)),
        painted(lambda u, v: (u - 0.1) ** 2 + v**2 <= 0.06, (white * 0.6, white * 0.6, white * 0.6)),
    ]


def _ship(draw: Generator) -> list[Paint]:
    def hull(u: ndarray, v: ndarray) -> ndarray:
        return np.abs(v) <= 1 - np.clip((u - 0.2) / 0.8, 0, 1) ** 2 * 0.98

    tone = draw.choice([(0.85, 0.85, 0.85), (0.55, 0.2, 0.18), (0.3, 0.32, 0.36), (0.2, 0.35, 0.5)])
    return [
        painted(hull, tone),
        painted(lambda u, v: (np.abs(u + 0.55) < 0.2) & (np.abs(v) < 0.7), (0.9, 0.9, 0.92)),
        painted(lambda u, v: (np.abs(u - 0.1) < 0.3) & (np.abs(v) < 0.5), tone * draw.uniform(0.5, 0.8)),
    ]


def _pool(draw: Generator) -> list[Paint]:
    return [
        painted(_rounded(0.5), (0.75, 0.74, 0.7)),
        painted(lambda u, v: _rounded(0.5)(u * 1.15, v * 1.15), (0.15, draw.uniform(0.5, 0.7), draw.uniform(0.7, 0.9))),
    ]


# Some are close to asphalt.
_PAINTS = np.array(
    [(0.92, 0.92, 0.92), (0.8, 0.8, 0.82), (0.65, 0.66, 0.68), (0.5, 0.5, 0.52), (0.4, 0.4, 0.42), (0.3, 0.3, 0.32),
     (0.12, 0.12, 0.13), (0.6, 0.1, 0.1), (0.1, 0.18, 0.45), (0.2, 0.35, 0.25), (0.75, 0.65, 0.3), (0.45, 0.33, 0.25)]
)  # fmt: skip


def _vehicle(draw: Generator) -> list[Paint]:
    paint = draw.choice(_PAINTS) * draw.uniform(0.9, 1.1)
    return [
        painted(_rounded(0.35), paint),
        painted(lambda u, v: (np.abs(u - 0.35) < 0.12) & (np.abs(v) < 0.75), (0.1, 0.11, 0.13), 0.9),
        painted(lambda u, v: (np.abs(u + 0.6) < 0.08) & (np.abs(v) < 0.7), (0.12, 0.12, 0.14), 0.8),
    ]


def _person(draw: Generator) -> list[Paint]:
    return [
        painted(_disc, draw.uniform(0.15, 0.9, 3)),
        painted(lambda u, v: u**2 + v**2 <= 0.2, (0.3, 0.22, 0.18)),
    ]


def _windmill(draw: Generator) -> list[Paint]:
    def blades(u: ndarray, v: ndarray) -> ndarray:
        # Tips at 0° and ±120° on the unit circle: x from −½ to 1, y within ±√¾.
        x, y = 0.25 + 0.75 * u, np.sqrt(0.75) * v
        covered = x**2 + y**2 <= 0.015
        for turn in (0, 2 * np.pi / 3, -2 * np.pi / 3):
            along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
            covered |= (along >= 0) & (along <= 1) & (np.abs(across) <= 0.13 * (1 - along) + 0.01)
        return covered

    return [painted(blades, (0.95, 0.95, 0.96))]


# In AI-TOD-R's order of classes.
KINDS = (
    Kind("airplane", (12, 22, 34), (0.9, 1.2), 0.03, 0.15, _aeroplane),
    Kind("bridge", (10, 12, 15), (2, 8), 0.01, 0.1, _bridge),
    Kind("storage-tank", (8, 11, 16), (1, 1), 0.05, 0.35, _tank),
    Kind("ship", (8, 10, 13), (2, 6), 0.06, 0.05, _ship),
    Kind("swimming-pool", (12, 15, 20), (1, 2), 0.01, 0.0, _pool),
    Kind("vehicle", (8, 9.5, 11.5), (1.8, 2.4), 0.8, 0.15, _vehicle),
    Kind("person", (7, 10, 13), (1, 1.2), 0.03, 0.6, _person),
    Kind("wind-mill", (10, 11, 13), (0.8660254, 0.8660254), 0.01, 0.8, _windmill),
)
