"""Flips and shifts against their definition, image by image."""

import torch

from tenfold.data.images.augment import flip, shift


def test_flip_mirrors_the_chosen_images_only() -> None:
    x = torch.arange(2 * 3 * 2 * 4, dtype=torch.uint8).view(2, 3, 2, 4)
    y = flip(x, torch.tensor([False, True]))
    assert y.dtype == torch.uint8
    assert torch.equal(y[0], x[0])
    assert torch.equal(y[1], x[1][:, :, [3, 2, 1, 0]])


def test_shift_moves_each_image_by_its_own_offset_and_fills() -> None:
    x = torch.randint(1, 17, (25, 2, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    offsets = torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3))
    y = shift(x, offsets, fill=3)
    assert y.dtype == x.dtype
    for image, moved, (dy, dx) in zip(x, y, offsets.tolist(), strict=True):
        expected = torch.full_like(image, 3)
        for r in range(4):
            for c in range(5):
                if 0 <= r - dy < 4 and 0 <= c - dx < 5:
                    expected[:, r, c] = image[:, r - dy, c - dx]
        assert torch.equal(moved, expected)


def test_zero_shift_is_the_identity_and_a_long_one_empties() -> None:
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(shift(x, torch.zeros(3, 2, dtype=torch.int64)), x)
    assert torch.equal(shift(x, torch.full((3, 2), 9)), torch.zeros_like(x))
