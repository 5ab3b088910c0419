"""Bits that energies are learned of: training and held-out rows."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.load import load_images
from tenfold.discrete_samplers.classical.chains import run_chains
from tenfold.discrete_samplers.classical.clusters import SwendsenWang
from tenfold.discrete_samplers.learning.config import EnergyDataSettings
from tenfold.discrete_samplers.learning.densities import bits_of, plane_points
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.training.task import MapSource, StreamSource

_CLUSTER_MOVES = 64  # from random spins; a lattice at criticality has forgotten them after a few


class BitRows:
    """Rows of bits in memory, as the training loop reads them."""

    def __init__(self, rows: Int[Tensor, "n d"], name: str) -> None:
        self.rows, self.fingerprint = rows, name

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The rows of these numbers."""
        return {"x": self.rows[torch.from_numpy(indices)]}


class BitSplits(NamedTuple):
    """Training and held-out rows."""

    train: BitRows
    test: BitRows


def load_bits(settings: EnergyDataSettings) -> BitSplits:
    """The rows that settings describe."""
    if settings.source == "digits":
        images = load_images(ImageDataConfig(source="digits", levels=17))
        splits = [_ink(part) for part in (images.train, images.test)]
    elif settings.source == "ising":
        target, count = Ising(settings.side, settings.side, settings.beta), settings.rows + settings.test
        drawn = run_chains(target, SwendsenWang(), count, _CLUSTER_MOVES, _CLUSTER_MOVES, seed=settings.seed).samples
        splits = [drawn[: settings.rows], drawn[settings.rows :]]
    else:
        count = settings.rows + settings.test
        coded = bits_of(plane_points(settings.source, count, settings.seed), settings.bits)
        splits = [coded[: settings.rows], coded[settings.rows :]]
    name = f"{settings}"
    return BitSplits(BitRows(splits[0], name), BitRows(splits[1], name))


def _ink(images: MapSource | StreamSource) -> Int[Tensor, "n 64"]:
    """Pixels above half of the darkest as 1."""
    assert isinstance(images, MapSource)  # the digits are in memory
    pixels = images.batch(np.arange(len(images)))["image"]
    return (pixels > 8).flatten(1).long()
