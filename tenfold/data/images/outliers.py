"""Images that do not belong: sets against which a density trained on the test images' kind is compared."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from tenfold.data.images.bundled import package_folder
from tenfold.data.images.decode import open_image, resize_array
from tenfold.data.images.splits import ImageSplits, read_all


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
