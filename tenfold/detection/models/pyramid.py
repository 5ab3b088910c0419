"""The feature pyramid (arXiv 1612.03144), with levels beyond the backbone's made from its coarsest features."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class _Named(nn.Module):
    """A convolution; ``conv`` is its name in checkpoints."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o _ _"]:
        return self.conv(x)


class FeaturePyramid(nn.Module):
    """Levels of equal width: each sees the coarser ones, enlarged to its size, and is smoothed by 3 × 3.

    Args:
        widths: channels of the backbone's features that are used, finest first.
        channels: of every level.
        levels: how many; those beyond the features are strided convolutions, the first of the coarsest features
            themselves, the others of the level before.

    >>> import torch
    >>> pyramid = FeaturePyramid([4, 8], 16, 3)
    >>> [x.shape[1:] for x in pyramid([torch.zeros(1, 4, 8, 6), torch.zeros(1, 8, 4, 3)])]
    [torch.Size([16, 8, 6]), torch.Size([16, 4, 3]), torch.Size([16, 2, 2])]
    """

    def __init__(self, widths: Sequence[int], channels: int, levels: int) -> None:
        super().__init__()
        self.lateral_convs = nn.ModuleList(_Named(width, channels, 1) for width in widths)
        smooth = [_Named(channels, channels, 3) for _ in widths]
        further = [_Named(channels if k else widths[-1], channels, 3, 2) for k in range(levels - len(widths))]
        self.fpn_convs = nn.ModuleList([*smooth, *further])

    def forward(self, features: Sequence[Float[Tensor, "b _ _ _"]]) -> list[Float[Tensor, "b c _ _"]]:
        lateral = [layer(x) for layer, x in zip(self.lateral_convs, features, strict=True)]
        for k in range(len(lateral) - 1, 0, -1):
            lateral[k - 1] = lateral[k - 1] + functional.interpolate(lateral[k], size=lateral[k - 1].shape[2:])
        count = len(lateral)
        found = [layer(x) for layer, x in zip(self.fpn_convs[:count], lateral, strict=True)]
        for k, layer in enumerate(self.fpn_convs[count:]):
            found.append(layer(found[-1] if k else features[-1]))
        return found
