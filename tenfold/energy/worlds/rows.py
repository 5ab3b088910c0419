"""Splits of samples as the training loop and the measurements read them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Integer, UInt8
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ImageSplits
from tenfold.data.load import load_images
from tenfold.energy.density import Density
from tenfold.energy.molecules.systems import ParticleSystem
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.training.task import MapSource


class SampleRows:
    """Samples (N, *shape) float32 and their labels (N,) int64, −1 for none: a source of the training loop."""

    def __init__(self, samples: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"] | None = None) -> None:
        self.samples = samples.float().contiguous()
        self.labels = torch.full((len(samples),), -1) if labels is None else labels.to(torch.int64)
        self.fingerprint = sha256(self.samples.numpy().tobytes(), self.labels.numpy().tobytes())

    def __len__(self) -> int:
        return len(self.samples)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records: "x" and "label"."""
        rows = torch.as_tensor(np.asarray(indices), dtype=torch.int64)
        return {"x": self.samples[rows], "label": self.labels[rows]}


class UnitImages:
    """Images as samples on [−1, 1]."""

    def __init__(self, source: MapSource, levels: int) -> None:
        self.source, self.levels, self.fingerprint = source, levels, source.fingerprint

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records: "x" and "label"."""
        found = self.source.batch(indices)
        return {"x": to_unit(found["image"], self.levels), "label": found["label"]}


def to_unit(pixels: Integer[Tensor, "n c h w"], levels: int) -> Float[Tensor, "n c h w"]:
    """Integer levels to [−1, 1], float32."""
    return pixels.float() * (2 / (levels - 1)) - 1


def to_pixels(x: Float[Tensor, "n c h w"], levels: int) -> UInt8[Tensor, "n c h w"]:
    """The nearest level of every value, uint8."""
    return ((x.clamp(-1, 1) + 1) * ((levels - 1) / 2)).round().to(torch.uint8)


@dataclass(frozen=True)
class SampleWorld:
    """Training, validation and test samples of one ``shape``; ``known`` is their density where there is a closed form,
    ``images`` the pixels behind them where they are images, ``particles`` the system where they are configurations."""

    train: MapSource
    validation: MapSource
    test: MapSource
    shape: tuple[int, ...]
    classes: int
    known: Density | None = None
    images: ImageSplits | None = None
    particles: ParticleSystem | None = None

    def some(self, split: str, rows: int) -> tuple[Float[Tensor, "n *shape"], Int[Tensor, " n"]]:
        """The first samples and labels of a split."""
        source: MapSource = getattr(self, split)
        found = source.batch(np.arange(min(rows, len(source))))
        return found["x"], found["label"]


def image_world(config: ImageDataConfig) -> SampleWorld:
    """Images on [−1, 1]. Raises UsageError for streams."""
    images = load_images(config)
    if not isinstance(images.train, MapSource):
        raise UsageError("energies are trained on random access data; set --data.images.streaming false")
    train, validation, test = (
        UnitImages(part, images.levels) for part in (images.train, images.validation, images.test)
    )
    return SampleWorld(train, validation, test, shape=images.shape, classes=images.classes, images=images)
