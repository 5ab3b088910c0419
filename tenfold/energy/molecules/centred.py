"""Coordinates of n particles without their centre.

Noise on particles whose centre is fixed lives in a space of (n − 1)·s dimensions. Orthonormal coordinates of it are
plain vectors with isotropic noise, so that densities, proposals and weights need no special case; rotations of the
particles, and their exchange, are orthogonal maps of these coordinates.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError


@lru_cache(maxsize=32)
def _rows(particles: int) -> Float[Tensor, "k n"]:
    with torch.device("cpu"):  # whatever device is the default where it is first asked for
        count = torch.arange(1, particles, dtype=torch.float64)
        rows = torch.ones(particles - 1, particles, dtype=torch.float64).tril()
        rows[torch.arange(particles - 1), torch.arange(1, particles)] = -count
        return rows / (count * (count + 1)).sqrt()[:, None]


def centred_basis(particles: int, like: Tensor) -> Float[Tensor, "k n"]:
    """Orthonormal rows (n − 1, n) that are orthogonal to (1, …, 1), Helmert's; of the type and device of ``like``.

    Raises UsageError for fewer than two particles."""
    if particles < 2:
        raise UsageError(f"there are {particles} particles; a system without its centre needs at least 2")
    return _rows(particles).to(like)


def to_positions(coordinates: Float[Tensor, "*batch k"], space: int) -> Float[Tensor, "*batch n space"]:
    """Positions, whose mean is zero, from coordinates (…, (n − 1)·space)."""
    parts = coordinates.unflatten(-1, (-1, space))
    return centred_basis(parts.shape[-2] + 1, parts).mT @ parts


def to_coordinates(positions: Float[Tensor, "*batch n space"]) -> Float[Tensor, "*batch k"]:
    """Coordinates of positions, whose centre is lost."""
    return (centred_basis(positions.shape[-2], positions) @ positions).flatten(-2)
