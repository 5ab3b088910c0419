"""Oriented boxes as six differences from an upright prior, which is what oriented region proposals predict."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.angles import START, to_convention
from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import half_axes
from tenfold.detection.geometry.coder import MAX_LOG_RATIO
from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import settings

_TINY = 1e-12  # so that a side of no length has a gradient


@settings
class MidpointCoder:
    """Six numbers (dx, dy, dw, dh, da, db) of Oriented R-CNN (arXiv 2108.05699, section 3.1): the upright box around an
    object as of any coder, and how far the object's upper corner lies from the middle of its upper side, and the right
    corner from the middle of the right one, in shares of these sides, from −½ to ½.

    Attributes:
        convention: ``le135`` or ``le90``, that of decoded boxes.
        stds: what the six numbers are divided by.

    >>> coder, prior = MidpointCoder(), torch.tensor([[10.0, 10, 16, 16, 0]])
    >>> [round(number, 3) for number in coder.decode(prior, torch.zeros(1, 6))[0].tolist()]  # a square on its corner
    [10.0, 10.0, 11.314, 11.314, 0.785]
    """

    convention: str = "le135"
    stds: tuple[float, float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 0.5, 0.5)

    def __post_init__(self) -> None:
        if self.convention not in START:
            raise UsageError(f"convention is {self.convention!r}{suggest(self.convention, START)}")
        if not all(std > 0 for std in self.stds):
            raise UsageError(f"stds are {self.stds}; give positive numbers")

    @takes(priors="boxes *n 5", boxes="boxes *n 5")
    def encode(self, priors: Float[Tensor, "*n 5"], boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 6"]:
        """What turns priors, whose angle is not looked at, into boxes; sides below 1e−6 pixels count as that."""
        u, v = half_axes(boxes)
        extent = (u.abs() + v.abs()).clamp(min=5e-7)
        ring = torch.stack([-u - v, u - v, u + v, v - u], -2)
        # Of two upper corners the right one, of two right corners the lower one, as an upright box has them.
        level = ring[..., 1] <= -extent[..., None, 1] * (1 - 1e-5)
        upper = ring[..., 0].masked_fill(~level, -torch.inf).amax(-1)
        level = ring[..., 0] >= extent[..., None, 0] * (1 - 1e-5)
        right = ring[..., 1].masked_fill(~level, -torch.inf).amax(-1)
        sides = priors[..., 2:4].clamp(min=1e-6)
        moved = (boxes[..., :2] - priors[..., :2]) / sides
        shares = torch.stack([upper, right], -1) / (2 * extent)
        deltas = torch.cat([moved, (2 * extent / sides).log(), shares.clamp(-0.5, 0.5)], -1)
        return deltas / deltas.new_tensor(self.stds)

    @takes(priors="boxes *n 5", deltas="numbers *n 6")
    def decode(self, priors: Float[Tensor, "*n 5"], deltas: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 5"]:
        """The boxes; ratios of sides are kept within 1/62.5 and 62.5. The parallelogram of the four corners becomes a
        rectangle by the longer of its two diagonals."""
        return self.decoded(priors, deltas)

    def decoded(self, priors: Float[Tensor, "*n 5"], deltas: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 5"]:
        """``decode`` of what is not looked at, so that a network does not wait for the device."""
        dx, dy, dw, dh, da, db = (deltas * deltas.new_tensor(self.stds)).unbind(-1)
        x, y, w, h, _ = priors.unbind(-1)
        x, y = x + dx * w, y + dy * h
        w, h = (side * d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() for side, d in ((w, dw), (h, dh)))
        upper = torch.stack([da.clamp(-0.5, 0.5) * w, -h / 2], -1)
        right = torch.stack([w / 2, db.clamp(-0.5, 0.5) * h], -1)
        lengths = _length(upper), _length(right)
        longer = torch.maximum(*lengths)
        upper, right = (
            corner * (longer / length)[..., None] for corner, length in zip((upper, right), lengths, strict=True)
        )
        along, across = right - upper, right + upper  # sides of the rectangle, across is normal to along
        angle = torch.atan2(along[..., 1], along[..., 0])
        return to_convention(torch.stack([x, y, _length(along), _length(across), angle], -1), self.convention)


def _length(vectors: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n"]:
    return (vectors.square().sum(-1) + _TINY).sqrt()
