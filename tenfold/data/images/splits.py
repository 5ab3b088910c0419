"""What a set of images is to everybody else: splits, sources, and the helpers that make them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenfold import progress
from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.training.task import MapSource, StreamSource


@dataclass(frozen=True)
class ImageSplits:
    """Training, validation and test images of one shape: sources of the training loop, whose ``batch`` returns "image"
    uint8 (B, C, H, W) in [0, ``levels``) and "label" int64 (B,), −1 where there is none; training ones may be a stream.

    ``classes`` is 0 for unlabelled data; ``class_names[y]`` names label y; ``shape`` is (C, H, W); pixels are
    integers in [0, ``levels``); ``fingerprint`` identifies the data and the split."""

    train: MapSource | StreamSource
    validation: MapSource
    test: MapSource
    classes: int
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    levels: int
    fingerprint: str


class ArrayImages:
    """Images held in memory: ``images`` uint8 (N, C, H, W), ``labels`` int64 (N,)."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise UsageError(
                f"images have dtype {images.dtype} and shape {tuple(images.shape)}; give uint8 (N, C, H, W)"
            )
        if labels.shape != images.shape[:1]:
            raise UsageError(f"{len(images)} images have {len(labels)} labels; give one each (-1 for none)")
        self.images, self.labels = images.contiguous(), labels.to(torch.int64)
        pixels, marks = self.images.numpy().tobytes(), self.labels.numpy().tobytes()
        self.fingerprint = sha256(pixels, marks, str(tuple(images.shape)))

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The images ``indices`` (B,) int64."""
        rows = torch.as_tensor(np.asarray(indices), dtype=torch.int64)
        return {"image": self.images[rows], "label": self.labels[rows]}


def read_all(
    source: MapSource, limit: int | None = None, chunk: int = 512
) -> tuple[UInt8[Tensor, "n c h w"], Int64[Tensor, "n"]]:
    """All images and labels of a split, or its first ``limit``."""
    count = len(source) if limit is None else min(limit, len(source))
    starts = progress.track(range(0, count, chunk), "reading images", "chunks")
    parts = [source.batch(np.arange(i, min(i + chunk, count))) for i in starts]
    if not parts:
        parts = [source.batch(np.arange(0))]
    return torch.cat([p["image"] for p in parts]), torch.cat([p["label"] for p in parts])


def held_out_sizes(config: ImageDataConfig, total: int) -> tuple[int, int]:
    """(test, validation) sizes; named splits count as 0.

    Raises UsageError when nothing would be left for training."""
    test = config.test if isinstance(config.test, int) else 0
    validation = config.validation if isinstance(config.validation, int) else 0
    if test + validation >= total:
        raise UsageError(
            f"{test} test and {validation} validation images leave none of {total} for training; "
            "lower --data.test or --data.validation"
        )
    return test, validation


def stratified_order(labels: Int64[np.ndarray, "n"], seed: int) -> Int64[np.ndarray, "n"]:
    """A seeded permutation (N,) whose every prefix holds the classes in proportion (to within one image a class).

    Image r of a class with n images (in seeded random order) sorts at (r + ½) / n."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).numpy()
    shuffled = labels[order]
    position = np.empty(len(labels))
    for value in np.unique(labels):
        rows = np.flatnonzero(shuffled == value)
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return order[np.argsort(position, kind="stable")]
