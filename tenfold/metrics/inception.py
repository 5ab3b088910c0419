"""Inception v3 (Szegedy et al. 2015, arXiv 1512.00567) with the pooling of the TensorFlow network behind FID.

Three things differ from the usual v3: average pooling does not count the padding, the last block pools by
maximum, and there are 1008 classes. Parameter names are those of the published weights.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import TenfoldError
from tenfold.hub.tensors import differences

Size = int | tuple[int, int]
Branches = dict[str, list[Any]]


class Unit(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """(N, C, H, W) to (N, outputs, H', W')."""
        return F.relu(self.bn(self.conv(x)))


# Averages do not count the padding.
_average = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_maximum = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
_halved = partial(F.max_pool2d, kernel_size=3, stride=2)

# A branch is a chain of units, (outputs, kernel, stride, padding) each; a list of units forks.
_ROW7, _COLUMN7 = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
_ROW3, _COLUMN3 = ((1, 3), 1, (0, 1)), ((3, 1), 1, (1, 0))
_A: Branches = {  # 35x35
    "branch1x1": [(64, 1)],
    "branch5x5": [(48, 1), (64, 5, 1, 2)],
    "branch3x3dbl": [(64, 1), (96, 3, 1, 1), (96, 3, 1, 1)],
}
_B: Branches = {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3, 1, 1), (96, 3, 2)]}  # to 17x17
_D: Branches = {  # 17x17 to 8x8
    "branch3x3": [(192, 1), (320, 3, 2)],
    "branch7x7x3": [(192, 1), (192, *_ROW7), (192, *_COLUMN7), (192, 3, 2)],
}
_E: Branches = {  # 8x8
    "branch1x1": [(320, 1)],
    "branch3x3": [(384, 1), [(384, *_ROW3), (384, *_COLUMN3)]],
    "branch3x3dbl": [(448, 1), (384, 3, 1, 1), [(384, *_ROW3), (384, *_COLUMN3)]],
}


def _c(width: int) -> Branches:
    """17x17: factorised 7x7 branches of a width."""
    return {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, *_ROW7), (192, *_COLUMN7)],
        "branch7x7dbl": [(width, 1), (width, *_COLUMN7), (width, *_ROW7), (width, *_COLUMN7), (192, *_ROW7)],
    }


class Block(nn.Module):
    """Branches side by side, and the pooled input, behind a unit of ``pooled`` channels if there is one."""

    def __init__(self, inputs: int, branches: Branches, pool: Callable[[Tensor], Tensor], pooled: int = 0) -> None:
        super().__init__()
        self.pool, self.chains = pool, list[list[list[Unit]]]()
        for name, chain in branches.items():
            self.chains.append([])
            width = inputs
            for number, link in enumerate(chain, 1):
                fork = link if isinstance(link, list) else [link]
                self.chains[-1].append([Unit(width, *unit) for unit in fork])
                for mark, unit in zip("ab" if len(fork) > 1 else [""], self.chains[-1][-1], strict=True):
                    self.add_module(f"{name}_{number}{mark}" if len(chain) > 1 else name, unit)
                width = fork[0][0]
        self.branch_pool: Unit | None = Unit(inputs, pooled, 1) if pooled else None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """(N, inputs, H, W) to (N, the branches' widths together, H', W')."""
        parts = []
        for chain in self.chains:
            found = [x]
            for fork in chain:
                found = [unit(found[0]) for unit in fork]
            parts += found
        pooled = self.pool(x)
        return torch.cat([*parts, pooled if self.branch_pool is None else self.branch_pool(pooled)], 1)


class BlockE(Block):
    """The 8x8 block; pooled by average or, in the last one, by maximum."""

    def __init__(self, inputs: int, maximum: bool) -> None:
        super().__init__(inputs, _E, _maximum if maximum else _average, 192)


class InceptionV3(nn.Module):
    """Images (N, 3, 299, 299) in [−1, 1] to pooled features (N, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3)
        for name, inputs, pooled in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
            self.add_module(name, Block(inputs, _A, _average, pooled))
        self.Mixed_6a = Block(288, _B, _halved)
        for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            self.add_module(name, Block(768, _c(width), _average, 192))
        self.Mixed_7a = Block(768, _D, _halved)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, maximum=False), BlockE(2048, maximum=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        """Features after global average pooling."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for name, block in self.named_children():
            x = block(x) if name.startswith("Mixed_") else x
        return x.mean(dim=(2, 3))

    def load(self, state: Mapping[str, Tensor], name: str) -> None:
        """Take published weights, strictly (step counters of the batch normalisation may be missing).

        Raises TenfoldError that lists missing, extra or misshapen tensors."""
        own = self.state_dict()
        counters = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
        complete = {**counters, **state}
        if wrong := differences(complete, own):
            raise TenfoldError(f"{name} is not the Inception v3 of FID: {wrong}")
        self.load_state_dict(complete)
