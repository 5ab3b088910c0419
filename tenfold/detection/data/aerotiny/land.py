"""The ground: land uses in a mosaic with soft borders, noise of five octaves, roads and houses."""

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from numpy.random import Generator

from tenfold.detection.data.aerotiny.painting import Painting, painted

# Mean colour, contrast of the noise, and how often: field, forest, town, water, sand.
_USES = (
    ((0.45, 0.50, 0.30), 0.14, 0.25),
    ((0.20, 0.30, 0.16), 0.20, 0.2),
    ((0.48, 0.47, 0.45), 0.10, 0.3),
    ((0.14, 0.24, 0.32), 0.05, 0.15),
    ((0.70, 0.62, 0.48), 0.08, 0.1),
)
_TOWN, _WATER = 2, 3


def noise_of(draw: Generator, size: int, coarsest: float = 64.0, octaves: int = 5) -> Float[ndarray, "s s"]:
    """Value noise: random grids, each half as coarse and half as strong as the last, interpolated; mean 0, about ±1."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        cell = coarsest / 2**octave
        cells = int(np.ceil(size / cell)) + 2
        grid = draw.uniform(-1, 1, (cells, cells))
        rows, columns = (_between(np.arange(size) / cell + offset, cells) for offset in draw.uniform(0, 1, 2))
        total += rows @ grid @ columns.T / 2**octave
    return total


def _between(places: Float[ndarray, " s"], cells: int) -> Float[ndarray, "s cells"]:
    """Weights of linear interpolation at places among 0, 1, ..., cells − 1."""
    return np.clip(1 - np.abs(places[:, None] - np.arange(cells)), 0, 1)


def land(draw: Generator, size: int, street: float) -> tuple[Float[ndarray, "s s 3"], Bool[ndarray, "s s"]]:
    """Colours in [0, 1], and where there is water; roads and houses follow the angle ``street``."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    bend = 12 * np.stack([noise_of(draw, size), noise_of(draw, size)])
    sites = draw.uniform(-0.1 * size, 1.1 * size, (max(5, size // 50), 2))
    uses = draw.choice(len(_USES), len(sites), p=[share for *_, share in _USES])
    far = np.hypot(x[..., None] + bend[0][..., None] - sites[:, 0], y[..., None] + bend[1][..., None] - sites[:, 1])
    share = np.exp(-(far - far.min(-1, keepdims=True)) / 4.0)  # borders a few pixels wide
    share /= share.sum(-1, keepdims=True)
    colours = np.array([colour for colour, *_ in _USES])[uses] * draw.uniform(0.8, 1.2, (len(sites), 1))
    contrast = np.array([strength for _, strength, _ in _USES])[uses]
    ground = share @ colours + (share @ contrast * noise_of(draw, size))[..., None]
    ground += 0.03 * draw.normal(size=(size, size, 1))
    canvas = Painting(np.clip(ground, 0, 1))
    for _ in range(draw.integers(1, 4)):
        _road(canvas, draw, size, street + draw.choice([0, np.pi / 2]))
    town = np.flatnonzero(uses == _TOWN)
    for _ in range(3 * len(town)):
        place = sites[draw.choice(town)] + draw.normal(0, 30, 2)
        _house(canvas, draw, place, street)
    return canvas.colours, share[..., uses == _WATER].sum(-1) > 0.9


def _road(canvas: Painting, draw: Generator, size: int, angle: float) -> None:
    width, grey = draw.uniform(7, 16), draw.uniform(0.25, 0.45)
    box = np.array([*draw.uniform(0, size, 2), 3.0 * size, width, angle])
    canvas.paint(box, painted(lambda u, v: np.abs(v) < 1, (grey, grey, grey * 1.02)))
    dashes = 3.0 * size / 2 / 4  # of 4 pixels, and as long gaps
    canvas.paint(
        box, painted(lambda u, v: (np.abs(v) < 0.6 / width) & (np.mod(u * dashes, 2) < 1), (0.8, 0.8, 0.75), 0.7)
    )


def _house(canvas: Painting, draw: Generator, place: ndarray, street: float) -> None:
    box = np.array([*place, *draw.uniform(12, 34, 2), street])
    roof = draw.choice([(0.55, 0.33, 0.26), (0.5, 0.5, 0.52), (0.7, 0.7, 0.68), (0.35, 0.33, 0.33)])
    shadow = box + np.array([draw.uniform(2, 4), draw.uniform(2, 4), 0, 0, 0])
    canvas.paint(shadow, painted(lambda u, v: np.abs(u) < 2, (0.08, 0.08, 0.1), 0.6))
    canvas.paint(box, painted(lambda u, v: np.abs(u) < 2, roof * draw.uniform(0.85, 1.15)))
    canvas.paint(box, painted(lambda u, v: v > 0, roof * 0.75, 0.6))  # the side away from the sun
