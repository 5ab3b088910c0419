"""Seven densities of the plane that flows and energies are tried on, and points of the plane as bits."""

import math

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from tenfold.discrete_samplers.targets.protocol import check_values
from tenfold.errors import UsageError, suggest
from tenfold.nn.border import Values, floats, whole
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import numpy_generator

SPAN = 6.0
"""Coordinates are cut at ±SPAN; all seven densities lie within but for their last 10⁻⁴."""

_MOST_BITS = 100  # half of them are a whole number of 64 bits

Points = Float64[np.ndarray, "n 2"]


def _spirals(n: int, draw: np.random.Generator) -> Points:
    turn = np.sqrt(draw.random(n)) * 3 * math.pi
    arm = np.where(draw.random(n) < 0.5, 1.0, -1.0)
    x = np.stack([-np.cos(turn) * turn + draw.random(n) / 2, np.sin(turn) * turn + draw.random(n) / 2], 1)
    return arm[:, None] * x / 3 + 0.1 * draw.standard_normal((n, 2))


def _gaussians(n: int, draw: np.random.Generator) -> Points:
    angle = draw.integers(8, size=n) * math.pi / 4
    centre = 4 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return (centre + 0.5 * draw.standard_normal((n, 2))) / math.sqrt(2)


def _circles(n: int, draw: np.random.Generator) -> Points:
    radius, angle = np.where(draw.random(n) < 0.5, 1.0, 0.5), 2 * math.pi * draw.random(n)
    return 3 * (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.08 * draw.standard_normal((n, 2)))


def _moons(n: int, draw: np.random.Generator) -> Points:
    upper, angle = draw.random(n) < 0.5, math.pi * draw.random(n)
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return 2 * (np.stack([x, y], 1) + 0.1 * draw.standard_normal((n, 2))) + np.array([-1.0, -0.2])


def _pinwheel(n: int, draw: np.random.Generator) -> Points:
    blade = draw.integers(5, size=n)
    along, across = 1 + 0.3 * draw.standard_normal(n), 0.1 * draw.standard_normal(n)
    angle = 2 * math.pi * blade / 5 + 0.25 * np.exp(along)
    c, s = np.cos(angle), np.sin(angle)
    return 2 * np.stack([along * c - across * s, along * s + across * c], 1)


def _swissroll(n: int, draw: np.random.Generator) -> Points:
    turn = 1.5 * math.pi * (1 + 2 * draw.random(n))
    return (np.stack([turn * np.cos(turn), turn * np.sin(turn)], 1) + draw.standard_normal((n, 2))) / 5


def _checkerboard(n: int, draw: np.random.Generator) -> Points:
    x = 4 * draw.random(n) - 2
    y = draw.random(n) - 2 * draw.integers(2, size=n)
    return 2 * np.stack([x, y + np.floor(x) % 2], 1)


_DRAWN = {
    "2spirals": _spirals,
    "8gaussians": _gaussians,
    "circles": _circles,
    "moons": _moons,
    "pinwheel": _pinwheel,
    "swissroll": _swissroll,
    "checkerboard": _checkerboard,
}


@read_arguments
def plane_points(name: str, count: int, seed: int = 0) -> Points:
    """Draws of a density. Raises UsageError for one that there is not, and for less than none."""
    if count < 0:
        raise UsageError(f"count is {count}; give 0 or more")
    if name not in _DRAWN:
        raise UsageError(f"density is {name!r}{suggest(name, _DRAWN)}")
    return _DRAWN[name](count, numpy_generator(seed, "density", name))


@read_arguments
def plane_entropy(name: str, bits: int = 32, count: int = 1_000_000, cells: int = 384) -> float:
    """The entropy of a density's bits in nats, below which no model's negative log-likelihood lies: that of the shares
    of ``count`` draws in cells² squares (with the correction of Miller and Madow), in which the density counts as
    level; so it is high where it bends within a square, by at most 0.03 for all seven. Raises UsageError for a density
    that there is not, no draws, no cells, and numbers of bits that ``bits_of`` refuses."""
    _check_bits(bits)
    for what, given in (("count", count), ("cells", cells)):
        if given < 1:
            raise UsageError(f"{what} is {given}; give 1 or more")
    points = plane_points(name, count)
    columns = np.clip(((points + SPAN) * (cells / (2 * SPAN))).astype(np.int64), 0, cells - 1)
    found = np.bincount(columns[:, 0] * cells + columns[:, 1])
    shares = found[found > 0] / count
    within = 2 * math.log(2 ** (bits // 2) / cells)
    return float(-(shares * np.log(shares)).sum() + (len(shares) - 1) / (2 * count)) + within


@read_arguments
def bits_of(points: Values, bits: int) -> Int[Tensor, "n d"]:
    """Both coordinates as a sign (1 where negative) and the Gray code of |x| in steps of SPAN/2^(bits/2 − 1): points
    next to each other differ in one bit. Raises UsageError for other shapes than (n, 2), NaN, and odd numbers of
    bits."""
    given = floats(points, "points", torch.float64)
    if given.ndim != 2 or given.shape[1] != 2:
        raise UsageError(f"points have shape {tuple(given.shape)}; give (number, 2) coordinates")
    _check_bits(bits)
    points = given.cpu().numpy()
    size = bits // 2 - 1
    steps = np.minimum((np.abs(points) * (2**size / SPAN)).astype(np.int64), 2**size - 1)
    gray = steps ^ (steps >> 1)
    digits = gray[..., None] >> np.arange(size - 1, -1, -1) & 1
    coded = np.concatenate([(points < 0)[..., None].astype(np.int64), digits], -1)
    return torch.from_numpy(coded.reshape(len(points), bits))


def _check_bits(bits: int) -> None:
    if bits % 2 or not 4 <= bits <= _MOST_BITS:
        raise UsageError(f"bits is {bits}; give an even number from 4 to {_MOST_BITS}, half for each coordinate")


def points_of(x: Values) -> Points:
    """The middles of the cells that bits stand for. Raises UsageError for what is no bits of ``bits_of``."""
    tokens = whole(x, "x")
    if tokens.ndim != 2 or tokens.shape[1] % 2 or not 4 <= tokens.shape[1] <= _MOST_BITS:
        raise UsageError(f"x has shape {tuple(tokens.shape)}; give (number, bits), an even number of 4 or more bits")
    check_values(tokens, 2)
    coded = tokens.cpu().numpy().reshape(len(tokens), 2, tokens.shape[1] // 2)
    size = coded.shape[-1] - 1
    binary = np.bitwise_xor.accumulate(coded[..., 1:], axis=-1)
    steps = (binary << np.arange(size - 1, -1, -1)).sum(-1)
    middle = (steps + 0.5) * (SPAN / 2**size)
    return np.where(coded[..., 0] == 1, -middle, middle)
