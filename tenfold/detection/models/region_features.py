"""Features of oriented regions (rotated RoI align) without compiled code: a bin is a weighted sum of cells of a map,
which is what an embedding bag computes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_FINEST = 14.0  # strides: regions of less than twice this side take their features from the finest level


@takes(features="numbers b c h w", regions="boxes b p 5")
@read_arguments
def rotated_roi_align(
    features: Float[Tensor, "b c h w"], regions: Float[Tensor, "b p 5"], stride: int, bins: int = 7, samples: int = 2
) -> Float[Tensor, "b p c k k"]:
    """Bilinear samples of a map on a grid along each region, averaged in ``bins`` × ``bins`` bins (RoI align, arXiv
    1703.06870, turned with the region: rows of bins follow its height). Differentiable in the features alone.

    Cell i stands at (i + ½) strides, as for mmcv's operator; what lies up to a cell outside of the map is as at its
    edge, and 0 beyond.

    Args:
        regions: (cx, cy, w, h, angle) of each picture, pixels.
        stride: pixels from one cell to the next.
        samples: of a bin, along either side.

    Raises:
        UsageError: for features and regions that are none or of other batches, and numbers below 1.

    >>> columns = torch.arange(8.0).expand(1, 1, 8, 8)
    >>> rotated_roi_align(columns, torch.tensor([[[4.0, 4, 2, 2, 0]]]), 1, bins=2)[0, 0, 0].tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    if min(stride, bins, samples) < 1:
        raise UsageError(f"stride is {stride}, bins {bins} and samples {samples}; give whole numbers from 1 on")
    if 0 in features.shape[1:]:
        raise UsageError(f"features have shape {tuple(features.shape)}; give channels and cells")
    return region_features([features], regions, [stride], bins, samples)


def region_features(
    levels: Sequence[Float[Tensor, "b c _ _"]],
    regions: Float[Tensor, "b p 5"],
    strides: Sequence[int],
    bins: int = 7,
    samples: int = 2,
) -> Float[Tensor, "b p c k k"]:
    """``rotated_roi_align`` of what is not looked at, on a pyramid: a region below 28 of the finest strides takes the
    finest level, below twice that the next, and so on (arXiv 1612.03144, equation 1, from 56 pixels at stride 4)."""
    b, p = regions.shape[:2]
    channels, device = levels[0].shape[1], regions.device
    dtype = torch.promote_types(levels[0].dtype, torch.float32)  # half precision does not tell pixels apart
    regions = regions.detach().to(dtype).nan_to_num()  # indices of cells are made of them; the loss tells of NaN
    cells = torch.cat([level.flatten(2).mT for level in levels], 1).to(dtype)  # (b, s, c)
    sizes = torch.tensor([level.shape[2:] for level in levels], device=device)
    starts = sizes.prod(1).cumsum(0) - sizes.prod(1)
    side = (regions[..., 2] * regions[..., 3]).sqrt() / (_FINEST * strides[0])
    level = (side + 1e-6).log2().floor().clamp(0, len(levels) - 1).long()
    height, width = (sizes[level].unbind(-1)[axis][..., None, None] for axis in (0, 1))
    stride = torch.tensor(list(strides), device=device)[level]

    count = bins * samples
    grid = (torch.arange(count, device=device, dtype=dtype) + 0.5) / count - 0.5
    cx, cy, w, h, t = (part[..., None, None] for part in regions.unbind(-1))
    along, across = grid * w, grid[:, None] * h  # (b, p, 1, count) and (b, p, count, 1)
    x = (cx + along * t.cos() - across * t.sin()) / stride[..., None, None] - 0.5
    y = (cy + along * t.sin() + across * t.cos()) / stride[..., None, None] - 0.5
    inside = (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
    x, y = (torch.minimum(at.clamp(min=0), size - 1) for at, size in ((x, width), (y, height)))
    left, upper = x.floor(), y.floor()
    first = starts[level] + torch.arange(b, device=device)[:, None] * cells.shape[1]
    places, weights = [], []
    for row, of_row in ((upper, 1 - y + upper), (torch.minimum(upper + 1, height - 1), y - upper)):
        for column, of_column in ((left, 1 - x + left), (torch.minimum(left + 1, width - 1), x - left)):
            places.append(first[..., None, None] + row.long() * width + column.long())
            weights.append(of_row * of_column * inside / samples**2)
    if not b * p:
        return levels[0].new_zeros(b, p, channels, bins, bins)
    bag, weight = (
        torch.stack(parts, -1).unflatten(3, (bins, samples)).unflatten(2, (bins, samples)).transpose(3, 4)
        .reshape(b * p * bins * bins, 4 * samples * samples)
        for parts in (places, weights)
    )  # fmt: skip
    found = functional.embedding_bag(bag, cells.flatten(0, 1), per_sample_weights=weight, mode="sum")
    return found.unflatten(0, (b, p, bins, bins)).permute(0, 1, 4, 2, 3).to(levels[0].dtype)
