"""Boxes as differences from priors, which is what a head predicts."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.angles import START, folded, to_convention
from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import settings

MAX_LOG_RATIO = abs(math.log(16 / 1000))


@settings
class BoxCoder:
    """Differences (dx, dy, dw, dh, dt): the centre in the prior's frame over its sides, logarithms of the ratios of
    sides, and the angle, folded.

    Attributes:
        convention: ``le135`` or ``le90``, that of decoded boxes.
        angle_unit: the angle is divided by this times π; 0 leaves it in radians.
        swap_edges: encode the sides in that order which makes the angle small.
        stds: what the five numbers are divided by.
    """

    convention: str = "le135"
    angle_unit: float = 1.0
    swap_edges: bool = False
    stds: tuple[float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.convention not in START:
            raise UsageError(f"convention is {self.convention!r}{suggest(self.convention, START)}")
        if self.angle_unit < 0:
            raise UsageError(f"angle_unit is {self.angle_unit:g}; give 0 for radians, or the share of π that is 1")
        if not all(std > 0 for std in self.stds):
            raise UsageError(f"stds are {self.stds}; give positive numbers")

    @takes(priors="boxes *n 5", boxes="boxes *n 5")
    def encode(self, priors: Float[Tensor, "*n 5"], boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
        """What turns priors into boxes; sides below 1e−6 pixels count as that."""
        x, y, w, h, t = boxes.unbind(-1)
        px, py, pw, ph, pt = priors.unbind(-1)
        w, h, pw, ph = (side.clamp(min=1e-6) for side in (w, h, pw, ph))
        start = START[self.convention]
        turn = folded(t - pt, start)
        if self.swap_edges:
            other = folded(t - pt + math.pi / 2, start)
            kept = turn.abs() < other.abs()
            turn = torch.where(kept, turn, other)
            w, h = torch.where(kept, w, h), torch.where(kept, h, w)
        cosine, sine = pt.cos(), pt.sin()
        away = ((x - px) * cosine + (y - py) * sine) / pw, ((y - py) * cosine - (x - px) * sine) / ph
        deltas = torch.stack([*away, (w / pw).log(), (h / ph).log(), turn / self._unit], -1)
        return deltas / deltas.new_tensor(self.stds)

    @takes(priors="boxes *n 5", deltas="numbers *n 5")
    def decode(self, priors: Float[Tensor, "*n 5"], deltas: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
        """The boxes; ratios of sides are kept within 1/62.5 and 62.5."""
        return self.decoded(priors, deltas)

    def decoded(self, priors: Float[Tensor, "*n 5"], deltas: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
        """``decode`` of what is not looked at, so that a network does not wait for the device."""
        px, py, pw, ph, pt = priors.unbind(-1)
        dx, dy, dw, dh, dt = (deltas * deltas.new_tensor(self.stds)).unbind(-1)
        cosine, sine = pt.cos(), pt.sin()
        dx, dy = dx * pw, dy * ph
        w, h = (d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() for d in (dw, dh))
        t = folded(pt + dt * self._unit, START[self.convention])
        centre = px + dx * cosine - dy * sine, py + dx * sine + dy * cosine
        made = torch.stack([*centre, pw * w, ph * h, t], -1)
        return to_convention(made, self.convention) if self.swap_edges else made

    @property
    def _unit(self) -> float:
        return self.angle_unit * math.pi if self.angle_unit else 1.0
