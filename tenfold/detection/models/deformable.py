"""Modulated deformable convolution (DCNv2, arXiv 1811.11168) without compiled code: samples, then a matrix product."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError


@takes(features="numbers b c h w", offsets="numbers b twice h w", mask="numbers b taps h w", weight="numbers o c k k")
def deformable_conv(
    features: Float[Tensor, "b c h w"],
    offsets: Float[Tensor, "b twice h w"],
    mask: Float[Tensor, "b taps h w"],
    weight: Float[Tensor, "o c k k"],
) -> Float[Tensor, "b o h w"]:
    """Σ_k weight_k mask_k(p) x(p + k + offset_k(p)), of stride 1 and with the output as large as the input.

    Samples are bilinear, and 0 outside of the map.

    Args:
        offsets: in pixels, y before x for each of the k² taps, row by row.
        mask: a factor of each tap.

    Raises:
        UsageError: for a kernel of even size, for offsets or masks of other numbers of channels or places, and NaN.

    >>> x, weight = torch.randn(1, 2, 4, 5), torch.randn(3, 2, 3, 3)
    >>> plain = deformable_conv(x, torch.zeros(1, 18, 4, 5), torch.ones(1, 9, 4, 5), weight)
    >>> torch.allclose(plain, functional.conv2d(x, weight, padding=1), atol=1e-5)
    True
    """
    size, taps = weight.shape[-1], weight.shape[-1] ** 2
    if size % 2 == 0:
        raise UsageError(f"the kernel is {size} × {size}; deformable convolution takes odd sizes")
    if offsets.shape[1] != 2 * taps or mask.shape[1] != taps:
        raise UsageError(
            f"there are {offsets.shape[1]} channels of offsets and {mask.shape[1]} of the mask; "
            f"a kernel of {size} × {size} takes {2 * taps} and {taps}"
        )
    return deformed(features, offsets, mask, weight)


def deformed(
    features: Float[Tensor, "b c h w"],
    offsets: Float[Tensor, "b twice h w"],
    mask: Float[Tensor, "b taps h w"],
    weight: Float[Tensor, "o c k k"],
) -> Float[Tensor, "b o h w"]:
    """``deformable_conv`` of what is not looked at, so that a network does not wait for the device."""
    size, (height, width) = weight.shape[-1], features.shape[2:]
    taps = size * size
    dtype = torch.promote_types(features.dtype, torch.float32)  # half precision does not tell pixels apart
    reach = torch.arange(size, device=features.device, dtype=dtype) - size // 2
    dy, dx = offsets.to(dtype).unflatten(1, (taps, 2)).unbind(2)
    y = dy + reach.repeat_interleave(size)[:, None, None] + torch.arange(height, device=dy.device)[:, None]
    x = dx + reach.repeat(size)[:, None, None] + torch.arange(width, device=dx.device)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1).flatten(1, 2)  # (b, taps h, w, 2)
    samples = functional.grid_sample(features.to(dtype), grid, "bilinear", "zeros", align_corners=False)
    samples = samples.unflatten(2, (taps, height)) * mask.to(dtype)[:, None]
    return torch.einsum("bckhw,ock->bohw", samples.to(features.dtype), weight.flatten(2))
