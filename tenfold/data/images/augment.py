"""Augmentations as pure functions of images and the random numbers that decide them."""

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from tenfold.training.streams import Draws


def flip(x: Shaped[Tensor, "b c h w"], coin: Bool[Tensor, "b"]) -> Shaped[Tensor, "b c h w"]:
    """Images x (B, C, H, W) mirrored left to right where ``coin`` (B,) is true; dtype and device of x.

    >>> flip(torch.tensor([[[[1, 2]]]]), torch.tensor([True])).tolist()
    [[[[2, 1]]]]
    """
    return torch.where(coin.view(-1, 1, 1, 1), x.flip(3), x)


def shift(x: Shaped[Tensor, "b c h w"], offsets: Int[Tensor, "b 2"], fill: float = 0) -> Shaped[Tensor, "b c h w"]:
    """Images x (B, C, H, W) moved by ``offsets`` (B, 2) rows down and columns to the right, each of any
    sign; what comes in from outside is ``fill`` (the darkest level of integer pixels).

    >>> shift(torch.tensor([[[[1, 2, 3]]]]), torch.tensor([[0, 1]])).tolist()
    [[[[0, 1, 2]]]]
    """
    batch, _, height, width = x.shape
    rows = torch.arange(height, device=x.device) - offsets[:, :1]
    columns = torch.arange(width, device=x.device) - offsets[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    b = torch.arange(batch, device=x.device)[:, None, None]
    moved = x[b, :, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return torch.where(inside[:, None], moved.permute(0, 3, 1, 2), torch.full_like(x[:1, :1, :1, :1], fill))


def augmented(
    images: Shaped[Tensor, "b c h w"], index: Int[Tensor, "b"], draws: Draws, mirrored: bool = False, reach: int = 0
) -> Shaped[Tensor, "b c h w"]:
    """Images (B, C, H, W), half of them mirrored (if ``mirrored``), and moved by up to ``reach`` pixels either
    way, as ``draws`` decides for the samples ``index``."""
    if mirrored:
        images = flip(images, draws.uniform("flip", index) < 0.5)
    if reach:
        images = shift(images, draws.integers("shift", index, 2 * reach + 1, (2,)) - reach)
    return images
