"""Boxes as four distances from a point and an angle, which is what heads without priors predict (FCOS)."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.angles import START, folded, to_convention
from tenfold.detection.geometry.border import takes
from tenfold.errors import UsageError
from tenfold.settings.checks import settings

_MOST = 4.6  # of a logarithm: a hundred strides


def edge_distances(points: Float[Tensor, "*#n 2"], boxes: Float[Tensor, "*#n 5"]) -> Float[Tensor, "*m 4"]:
    """From points to the left, upper, right and lower edge, in the boxes' own frames; negative beyond an edge."""
    away = points - boxes[..., :2]
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    along = away[..., 0] * cosine + away[..., 1] * sine
    across = away[..., 1] * cosine - away[..., 0] * sine
    w, h = boxes[..., 2] / 2, boxes[..., 3] / 2
    return torch.stack([w + along, h + across, w - along, h - across], -1)


def centredness(points: Float[Tensor, "*n 2"], boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n"]:
    """√(min(l, r)/max(l, r) · min(t, b)/max(t, b)) of points in boxes: 1 in the middle, 0 at the edges and outside."""
    left, upper, right, lower = edge_distances(points, boxes).clamp(min=0).unbind(-1)
    least = torch.minimum(left, right) * torch.minimum(upper, lower)
    most = torch.maximum(left, right) * torch.maximum(upper, lower)
    return torch.where(most > 0, least / torch.where(most > 0, most, 1.0), 0.0).sqrt()


@settings
class PointCoder:
    """Five numbers (l, t, r, b, angle): logarithms of the distances from a point to the edges, in strides, and the
    angle in radians.

    The point is the centre of a square prior, whose side is ``scale`` strides. Boxes are le135, but for the order of
    their sides, which ``decode`` leaves as it is predicted.

    Attributes:
        scale: strides of a prior's side.

    >>> coder, prior = PointCoder(), torch.tensor([[10.0, 10, 16, 16, 0]])
    >>> coder.decode(prior, torch.zeros(1, 5)).tolist()
    [[10.0, 10.0, 8.0, 8.0, 0.0]]
    """

    scale: float = 4.0

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise UsageError(f"scale is {self.scale:g}; give a positive number of strides")

    @takes(priors="boxes *n 5", boxes="boxes *n 5")
    def encode(self, priors: Float[Tensor, "*n 5"], boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
        """What turns points into boxes; distances below a hundredth of a stride count as that, so that points outside
        do not come back."""
        boxes = to_convention(boxes, "le135")
        stride = priors[..., 2:3] / self.scale
        distances = edge_distances(priors[..., :2], boxes) / stride
        return torch.cat([distances.clamp(min=0.01).log(), boxes[..., 4:]], -1)

    @takes(priors="boxes *n 5", deltas="numbers *n 5")
    def decode(self, priors: Float[Tensor, "*n 5"], deltas: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
        """The boxes; logarithms are kept within ±4.6."""
        return self.decoded(priors, deltas)

    def decoded(self, priors: Float[Tensor, "*n 5"], deltas: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
        """``decode`` of what is not looked at, so that a network does not wait for the device."""
        stride = priors[..., 2:3] / self.scale
        distances = deltas[..., :4].clamp(-_MOST, _MOST).exp() * stride
        left, upper, right, lower = distances.unbind(-1)
        angle = folded(deltas[..., 4], START["le135"])
        cosine, sine = angle.cos(), angle.sin()
        along, across = (right - left) / 2, (lower - upper) / 2
        x = priors[..., 0] + along * cosine - across * sine
        y = priors[..., 1] + along * sine + across * cosine
        return torch.stack([x, y, left + right, upper + lower, angle], -1)
