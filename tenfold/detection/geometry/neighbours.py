"""Which pairs of boxes can overlap at all, found without looking at all pairs."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError

_ALL_PAIRS = 1 << 17  # below, looking at all is quicker
_MOST_GROUPS = 1 << 31
_SLACK = 1 + 1e-5


@takes(first="boxes n 5", second="boxes m 5", first_group="whole n", second_group="whole m")
def near_pairs(
    first: Float[Tensor, "n 5"],
    second: Float[Tensor, "m 5"],
    first_group: Int[Tensor, " n"] | None = None,
    second_group: Int[Tensor, " m"] | None = None,
) -> Int[Tensor, "2 p"]:
    """Indices (i, j) of all pairs whose circumscribed circles and horizontal hulls meet, sorted by i and then j: all
    that share any area, and few others. With groups (classes, images), numbers from 0 on, those of one group only.

    Raises UsageError for what are no boxes, and for groups that are negative or of one side alone.

    Boxes of like size are put into strips of about their size and sorted by x within a strip; each box of the other
    side then asks the strips that it reaches for a stretch of x. Memory goes with the number of pairs found.
    """
    n, m = len(first), len(second)
    if first_group is None or second_group is None:
        if (first_group is None) != (second_group is None):
            raise UsageError("one side has groups and the other has none; give both, or neither")
        first_group, second_group = first.new_zeros(n, dtype=torch.int64), first.new_zeros(m, dtype=torch.int64)
    for name, group in (("first_group", first_group), ("second_group", second_group)):
        if len(group) and not 0 <= int(group.min()) <= int(group.max()) < _MOST_GROUPS:
            raise UsageError(
                f"{name} holds {int(group.min())} to {int(group.max())}; groups are numbers from 0 on, below 2^31"
            )
    a, b = _Extents(first), _Extents(second)
    if n * m <= _ALL_PAIRS:
        i, j = torch.meshgrid(*(torch.arange(k, device=first.device) for k in (n, m)), indexing="ij")
        i, j = _meeting(a, b, i.flatten(), j.flatten(), first_group, second_group)
        return torch.stack([i, j])
    # Octaves of size, so that one large box does not make all stretches long.
    octave = torch.log2(b.radius.clamp(min=1e-3 * float(b.radius.mean().clamp(min=1e-30)))).floor()
    parts = []
    for size in octave.unique():
        members = (octave == size).nonzero()[:, 0]
        i, j = _candidates(a, b, members, first_group, second_group)
        parts.append(torch.stack(_meeting(a, b, i, j, first_group, second_group)))
    pairs = torch.cat(parts, 1)
    return pairs[:, (pairs[0] * m + pairs[1]).argsort()]


class _Extents:
    """Centres, circumscribed radii and half extents of boxes, float64."""

    def __init__(self, boxes: Float[Tensor, "n 5"]) -> None:
        x, y, w, h, t = boxes.detach().double().unbind(-1)
        self.x, self.y = x, y
        self.radius = torch.hypot(w, h) / 2 * _SLACK
        cosine, sine = t.cos().abs(), t.sin().abs()
        self.dx, self.dy = (w * cosine + h * sine) / 2 * _SLACK, (w * sine + h * cosine) / 2 * _SLACK


def _meeting(
    a: _Extents, b: _Extents, i: Tensor, j: Tensor, first_group: Tensor, second_group: Tensor
) -> tuple[Tensor, Tensor]:
    dx, dy = a.x[i] - b.x[j], a.y[i] - b.y[j]
    meet = (dx.square() + dy.square() <= (a.radius[i] + b.radius[j]).square()) & (first_group[i] == second_group[j])
    meet &= (dx.abs() <= a.dx[i] + b.dx[j]) & (dy.abs() <= a.dy[i] + b.dy[j])
    return i[meet], j[meet]


def _candidates(
    a: _Extents, b: _Extents, members: Tensor, first_group: Tensor, second_group: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs (i, j) with j among ``members`` that may meet."""
    x, y, dy, dx = b.x[members], b.y[members], b.dy[members].max(), b.dx[members].max()
    low, high = y.min(), y.max()
    height = torch.maximum(2 * dy, (high - low) / max(1, len(members)) ** 0.5).clamp(min=1e-12)
    strips = int((high - low) / height) + 1
    groups = int(torch.maximum(first_group.max(), second_group.max())) + 1
    # One number a member, by which group, strip and x are sorted at once; x takes the fraction.
    left = x.min()
    span = (x.max() - left).clamp(min=1e-12) * 2
    strip = ((y - low) / height).floor().clamp(0, strips - 1)
    keys, order = ((second_group[members] * strips + strip) + (x - left) / span).sort()
    # The strips that each box reaches, then the stretch of x in each.
    top = ((a.y - a.dy - dy - low) / height).floor().clamp(0, strips)
    bottom = ((a.y + a.dy + dy - low) / height).floor().clamp(-1, strips - 1)
    reached = (bottom - top + 1).clamp(min=0).long()
    reached = torch.where(first_group < groups, reached, 0)
    i, step = _spread(reached)
    row = first_group[i] * strips + top[i] + step
    reach = a.dx[i] + dx
    # A little more than the rounding of keys, on either side.
    blur = 1e-9 + 4e-16 * groups * strips
    start = torch.searchsorted(keys, row + ((a.x[i] - reach - left) / span).clamp(0, 0.75) - blur)
    end = torch.searchsorted(keys, row + ((a.x[i] + reach - left) / span).clamp(-0.25, 0.75) + blur, right=True)
    k, step = _spread((end - start).clamp(min=0))
    return i[k], members[order[start[k] + step]]


def _spread(counts: Int[Tensor, " n"]) -> tuple[Int[Tensor, " p"], Int[Tensor, " p"]]:
    """Each index as often as its count says, and 0, 1, ... beside it."""
    index = torch.repeat_interleave(counts)
    return index, torch.arange(len(index), device=counts.device) - (counts.cumsum(0) - counts)[index]
