"""Random-access images that are decoded when they are asked for, and kept where memory allows."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tenfold.data.images.decode import Encoded, open_image, to_pixels
from tenfold.errors import UsageError

Read = Callable[[np.ndarray], tuple[Sequence[Encoded], list[str]]]
"""Undecoded images and their names (for messages) for positions (B,) int64."""


class ImageDecoder:
    """Undecoded image to uint8 (C, H, W) of one fixed shape. ``height`` 0 keeps the images' own size, which
    must then be that of the first one."""

    def __init__(self, height: int, width: int, channels: int, levels: int) -> None:
        self.height, self.width, self.channels, self.levels = height, width, channels, levels
        self.shape: tuple[int, int, int] | None = (channels, height, width) if height else None

    def __call__(self, value: Encoded, name: str) -> UInt8[np.ndarray, "c h w"]:
        image = open_image(value, name)
        pixels = to_pixels(image, self.height, self.width, self.channels, self.levels, name)
        if self.shape is None:
            self.shape = (pixels.shape[0], pixels.shape[1], pixels.shape[2])
        if pixels.shape != self.shape:
            raise UsageError(
                f"image {name} is {pixels.shape[1]}x{pixels.shape[2]}, the first one "
                f"{self.shape[1]}x{self.shape[2]}; set --data.height and --data.width to make all one size"
            )
        return pixels

    def many(self, values: Sequence[Encoded], names: Sequence[str]) -> UInt8[np.ndarray, "n c h w"]:
        """uint8 (n, C, H, W), in order. PIL releases the interpreter lock, so threads decode side by side."""
        if len(values) < 4:
            pixels = [self(value, name) for value, name in zip(values, names, strict=True)]
        else:
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                pixels = list(pool.map(self, values, names))
        return np.stack(pixels) if pixels else np.zeros((0, *(self.shape or (self.channels, 0, 0))), np.uint8)


class LazyImages:
    """A split whose images are decoded on first use.

    Args:
        read: see ``Read``.
        labels: int64 (N,), −1 where there is none.
        decoder: its ``shape`` is known.
        fingerprint: identifies the undecoded images, their order and the decoder's settings.
        memory: bytes that decoded images may take; a split that needs more is decoded every time.
    """

    def __init__(
        self,
        read: Read,
        labels: np.ndarray,
        decoder: ImageDecoder,
        fingerprint: str,
        memory: int,
    ) -> None:
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        self.fingerprint = fingerprint
        self._read, self._decoder = read, decoder
        shape = (len(self.labels), *(decoder.shape or (decoder.channels, 0, 0)))
        # Untouched pages of a zeroed array cost nothing, so the cache grows with use only.
        self._cache = np.zeros(shape, np.uint8) if int(np.prod(shape)) <= memory else None
        self._cached = np.zeros(len(self.labels), bool)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The images ``indices`` (B,) int64.

        Raises TenfoldError, naming the file, for an image that cannot be decoded."""
        indices = np.asarray(indices, dtype=np.int64)
        if self._cache is None:
            pixels = self._decode(indices)
        else:
            missing = np.unique(indices[~self._cached[indices]])
            if len(missing):
                self._cache[missing] = self._decode(missing)
                self._cached[missing] = True
            pixels = self._cache[indices]
        return {"image": torch.from_numpy(pixels), "label": self.labels[torch.from_numpy(indices)]}

    def _decode(self, indices: np.ndarray) -> np.ndarray:
        return self._decoder.many(*self._read(indices))
