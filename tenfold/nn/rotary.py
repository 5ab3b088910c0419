"""Rotary positions (Su et al., arXiv 2104.09864) on a line, on a grid, and on a grid with a third axis.

A table of angles (n, head size / 2) holds one angle per position and pair of coordinates; ``turns`` makes its
cosines and sines, and ``rotate`` turns the pairs.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.nn.config import THIRD

BASE = 10_000.0


def line_angles(positions: Float[Tensor, "n"], head_size: int) -> Float[Tensor, "n half"]:
    """Angles of a sequence: position · 10000^(−2j / head size) for pair j."""
    return positions.unsqueeze(1) * _frequencies(head_size, head_size // 2).to(positions)


def grid_angles(
    rows: Float[Tensor, "n"], columns: Float[Tensor, "n"], third: Float[Tensor, "n"] | None, head_size: int
) -> Float[Tensor, "n half"]:
    """Angles of grid positions: the pairs are split between rows and columns, and with a ``third`` axis (text or
    time) the last eight belong to that (arXiv 2506.06276, as its published code has it).

    Row and column pairs turn by 10000^(−2j / m), m = head size / 2 less the third axis' share; the third axis' by
    10000^(−j / 8)."""
    share = head_size // 2 - (THIRD if third is not None else 0)
    turns = _frequencies(share, share // 2).to(rows)
    parts = [rows.unsqueeze(1) * turns, columns.unsqueeze(1) * turns]
    if third is not None:
        parts.append(third.unsqueeze(1) * (BASE ** (-torch.arange(THIRD, dtype=torch.float64) / THIRD)).to(third))
    return torch.cat(parts, dim=1)


def _frequencies(period: int, count: int) -> Float[Tensor, "m"]:
    return BASE ** (-2.0 * torch.arange(count, dtype=torch.float64) / period)


def raster(
    height: int, width: int, side: float, count: int | None = None
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Rows and columns, float64, of the first ``count`` positions (all by default) of a grid in raster order, scaled
    by side / √(height · width): grids of every aspect ratio then have the same mean extent as the square of training.
    Positions beyond the grid go on below its last row."""
    index = torch.arange(height * width if count is None else count)
    scale = side / math.sqrt(height * width)
    return (index // width).double() * scale, (index % width).double() * scale


def turns(angles: Float[Tensor, "n half"], dtype: torch.dtype) -> Float[Tensor, "2 n half"]:
    """Cosines and sines of the angles, in ``dtype``, of single precision at least."""
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.stack([angles.cos(), angles.sin()]).to(kind)


def rotate(
    x: Float[Tensor, "*b n size"], rotary: Float[Tensor, "2 n half"], layout: Literal["interleaved", "half"]
) -> Float[Tensor, "*b n size"]:
    """x with its pairs turned: neighbours (2j, 2j + 1), or (j, j + size / 2); same dtype."""
    cosine, sine = rotary.unbind(0)
    if layout == "interleaved":
        first, second = x.to(cosine.dtype).unflatten(-1, (x.shape[-1] // 2, 2)).unbind(-1)
        turned = torch.stack([first * cosine - second * sine, second * cosine + first * sine], dim=-1).flatten(-2)
    else:
        first, second = x.to(cosine.dtype).chunk(2, dim=-1)
        turned = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return turned.to(x.dtype)
