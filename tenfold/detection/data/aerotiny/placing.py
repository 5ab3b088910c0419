"""Where objects stand: sizes and shapes of their classes, vehicles in rows, nothing on top of anything."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from numpy.random import Generator

from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.detection.data.aerotiny.shapes import KINDS
from tenfold.detection.geometry.boxes import horizontal
from tenfold.detection.geometry.overlap import box_iou

_NAMES = [kind.name for kind in KINDS]
_VEHICLE = _NAMES.index("vehicle")
_AFLOAT = (_NAMES.index("ship"), _NAMES.index("bridge"))
_SIZES = (2.0, 62.0)
_SPREAD = 0.6  # of the logarithm of the number of objects
_MOST_OVERLAP = 0.05
_LONGEST_ROW = 8


def placed(
    draw: Generator, config: AeroTinyConfig, street: float, water: Bool[ndarray, "s s"] | None
) -> tuple[Float[ndarray, "n 5"], Int[ndarray, " n"]]:
    """Boxes inside the picture and their classes; no two share more than an IoU of 0.05. Ships and bridges are on the
    ``water`` and everything else is not, unless nobody knows where it is."""
    mean = config.objects * (config.size / 800) ** 2
    wanted = int(draw.poisson(mean * np.exp(draw.normal(-(_SPREAD**2) / 2, _SPREAD))))
    shares = np.array([kind.share if config.mix == "vehicles" else 1.0 for kind in KINDS])
    boxes, labels = np.zeros((0, 5)), np.zeros(0, np.int64)
    for _ in range(4 * wanted):  # a crowded picture ends with fewer
        if len(boxes) >= wanted:
            break
        label = int(draw.choice(len(KINDS), p=shares / shares.sum()))
        group = _row(draw, config.size, street) if label == _VEHICLE and draw.random() < 0.5 else None
        group = _one(draw, config.size, label, street) if group is None else group
        group = group[: wanted - len(boxes)]
        group = group[_inside(group, config.size)]
        if water is not None:
            if label in _AFLOAT and water.any():
                group[:, 1::-1] = np.argwhere(water)[int(draw.integers(water.sum()))] + draw.random(2)
                group = group[_inside(group, config.size)]
            x, y = group[:, :2].astype(int).T
            group = group[water[y, x] == (label in _AFLOAT)]
        group = group[_free(group, boxes)]
        boxes = np.concatenate([boxes, group])
        labels = np.concatenate([labels, np.full(len(group), label)])
    return boxes, labels


def sides_of_kind(draw: Generator, label: int) -> tuple[float, float]:
    """Width and height: √area log-normal by the class's quartiles, aspect log-uniform."""
    low, middle, high = KINDS[label].quartiles
    size = np.clip(middle * np.exp(draw.normal(0, np.log(high / low) / 1.349)), *_SIZES)
    aspect = np.exp(draw.uniform(*np.log(KINDS[label].aspect)))
    return float(size * np.sqrt(aspect)), float(size / np.sqrt(aspect))


def _one(draw: Generator, size: int, label: int, street: float) -> Float[ndarray, "1 5"]:
    aligned = street + draw.choice([0, np.pi / 2, np.pi, -np.pi / 2]) + draw.normal(0, 0.03)
    angle = aligned if draw.random() < 0.5 else draw.uniform(-np.pi, np.pi)
    return np.array([[*draw.uniform(0, size, 2), *sides_of_kind(draw, label), angle]])


def _row(draw: Generator, size: int, street: float) -> Float[ndarray, "n 5"]:
    """Parked vehicles side by side or one behind the other, 1 to 3 pixels apart, each a little other."""
    number = int(draw.integers(3, _LONGEST_ROW + 1))
    w, h = sides_of_kind(draw, _VEHICLE)
    angle = street + draw.choice([0, np.pi / 2])
    beside = draw.random() < 0.7
    direction = angle + (np.pi / 2 if beside else 0)
    sides = np.array([w, h]) * draw.uniform(0.92, 1.08, (number, 2))
    gaps = draw.uniform(1, 3, number)
    lengths = sides[:, 1] if beside else sides[:, 0]
    along = np.cumsum(lengths + gaps) - lengths / 2
    start = draw.uniform(0, size, 2)
    places = start + along[:, None] * np.array([np.cos(direction), np.sin(direction)])
    turned = angle + np.pi * draw.integers(0, 2, number) + draw.normal(0, 0.02, number)
    return np.concatenate([places, sides, turned[:, None]], 1)


def _inside(boxes: Float[ndarray, "n 5"], size: int) -> ndarray:
    hull = horizontal(torch.from_numpy(boxes)).numpy()
    outside = np.concatenate([hull[:, :2] < 0, hull[:, 2:] > size], 1)
    return np.logical_not(outside.any(1))


def _free(group: Float[ndarray, "n 5"], boxes: Float[ndarray, "m 5"]) -> ndarray:
    """Whether each shares little with those before it."""
    every = np.concatenate([boxes, group])
    iou = box_iou(torch.from_numpy(group), torch.from_numpy(every)).numpy()
    before = np.arange(len(every)) < len(boxes) + np.arange(len(group))[:, None]
    free: ndarray = (iou * before).max(1, initial=0) < _MOST_OVERLAP
    return free
