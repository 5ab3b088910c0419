"""Out-of-distribution sets for the digits."""

import torch

from tenfold.data.images.bundled import ood_sets
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import read_all
from tenfold.data.load import load_images


def test_sets_have_the_shape_range_and_size_of_the_test_split() -> None:
    splits = load_images(ImageDataConfig(levels=17))
    sets = ood_sets(splits, count=50)
    assert {"photographs", "inverted", "pixel-shuffled"} <= set(sets)
    for name, images in sets.items():
        assert images.shape == (50, 1, 8, 8), name
        assert images.dtype == torch.uint8
        assert int(images.max()) == 16
        assert int(images.min()) == 0
    again = ood_sets(splits, count=50)
    assert all(torch.equal(sets[name], again[name]) for name in sets)


def test_transformed_digits_are_what_their_names_say() -> None:
    splits = load_images(ImageDataConfig(levels=17))
    images, sets = read_all(splits.test)[0], ood_sets(splits)
    assert torch.equal(16 - sets["inverted"], images)
    assert torch.equal(sets["upside-down"].flip(2, 3), images)
    shuffled = sets["pixel-shuffled"]
    assert torch.equal(shuffled.flatten(1).sort(dim=1).values, images.flatten(1).sort(dim=1).values)
    assert not torch.equal(shuffled, images)
    independent = sets["independent-pixels"]
    assert torch.equal(independent.flatten(1).sort(dim=0).values, images.flatten(1).sort(dim=0).values)
    # The marginals agree, the dependence does not: correlations between pixels shrink.
    strength = [torch.corrcoef(x.flatten(1).float().T).nan_to_num().abs().mean() for x in (images, independent)]
    assert strength[1] < 0.5 * strength[0]


def test_photographs_differ_from_each_other_and_fill_the_range() -> None:
    photographs = ood_sets(load_images(ImageDataConfig(levels=17)), count=40)["photographs"].flatten(1)
    assert len(torch.unique(photographs, dim=0)) == 40
    assert int((photographs.max(dim=1).values == 16).sum()) == 40
