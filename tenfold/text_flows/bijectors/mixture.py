"""The one-dimensional mixture map, element by element (Mix-1 of arXiv:2507.00425)."""

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import Values, as_tensor, floats, visible
from tenfold.settings.arguments import read_all_arguments
from tenfold.text_flows.bijectors.inverse import invert
from tenfold.text_flows.bijectors.scalar import (
    Mapped,
    Outer,
    from_logistic,
    log_density,
    log_tails,
    to_base,
)

_TOLERANCE = {torch.float64: 1e-10}


@read_all_arguments
class MixtureCDF:
    """u = G⁻¹(F(z)), where F is the distribution function of a mixture of Gaussians, element by element.

    A smooth increasing map of the line onto itself: a mixture of K components becomes the base distribution, standard
    normal (``outer="probit"``) or standard logistic ("logit"; of equal density). With K = 1 and "probit" it is the
    affine map (z − m) / s. Nothing overflows or rounds to 0 or 1 in the tails.

    Parameters come from wherever one likes, a conditioner that reads earlier elements for example; gradients flow to
    them through ``forward``, ``log_prob`` and ``inverse``.

    >>> mixture = MixtureCDF(logits=torch.zeros(2), mean=torch.tensor([-1.0, 1.0]), scale=torch.tensor([0.5, 0.5]))
    >>> u, logdet = mixture.forward(torch.tensor([-30.0, 0.0, 30.0]))
    >>> mixture.inverse(u).round(decimals=4).tolist()
    [-30.0, 0.0, 30.0]

    Args:
        logits: (..., k); the weights are their softmax. −∞ leaves a component out.
        mean, scale: of shapes that broadcast with it; scales are standard deviations.
        outer: base distribution.

    Raises:
        UsageError: no components, shapes that do not broadcast, NaN, scales that are not positive, another ``outer``.
    """

    def __init__(self, logits: Values, mean: Values, scale: Values, outer: str = "probit") -> None:
        self.outer = checked_outer(outer)
        self.log_weights, self.mean, self.scale = checked_mixture(logits, mean, scale)
        try:
            self.shape = torch.broadcast_shapes(self.log_weights.shape, self.mean.shape, self.scale.shape)[:-1]
        except RuntimeError:
            shapes = ", ".join(str(tuple(x.shape)) for x in (self.log_weights, self.mean, self.scale))
            raise UsageError(f"logits, mean and scale have shapes {shapes}; give ones that broadcast") from None

    def forward(self, z: Values) -> Mapped:
        """u and log du/dz, both of the shape that z and the parameters broadcast to."""
        z = self._point(z, "z")
        log_p = log_density(z, self.log_weights, self.mean, self.scale)
        return to_base(log_p, *log_tails(z, self.log_weights, self.mean, self.scale), self.outer)

    def log_prob(self, z: Values) -> Float[Tensor, "*shape"]:
        """log p(z), nats, element by element."""
        return log_density(self._point(z, "z"), self.log_weights, self.mean, self.scale)

    def inverse(self, u: Values, tolerance: float | None = None) -> Float[Tensor, "*shape"]:
        """z, such that u lies within ``tolerance`` of the map of z in the normal base (by default 1e-10 in float64 and
        1e-5 below), or z within rounding.

        Raises TenfoldError where that is not reached, UsageError for a bad tolerance."""
        u = self._point(u, "u")
        if self.outer == "logit":
            u = from_logistic(u)
        shape = (*u.shape, self.log_weights.shape[-1])
        logs, mean, scale = (x.to(u.dtype).expand(shape) for x in (self.log_weights, self.mean, self.scale))
        return invert(u, logs, mean, scale, checked_tolerance(tolerance, u.dtype))

    def _point(self, z: Values, name: str) -> Tensor:
        point = floats(z, name).to(self.log_weights.device)
        point = point.to(torch.promote_types(point.dtype, self.log_weights.dtype))
        try:
            return point.expand(torch.broadcast_shapes(point.shape, self.shape))
        except RuntimeError:
            raise UsageError(
                f"{name} of shape {tuple(point.shape)} does not broadcast with mixtures of shape {tuple(self.shape)}"
            ) from None


def checked_mixture(logits: Values, mean: Values, scale: Values) -> tuple[Tensor, Tensor, Tensor]:
    """Log weights, means and scales in one floating type, float32 at least.

    Raises UsageError for what is no mixture."""
    weights, centres, widths = floats_or_lost(logits), floats(mean, "mean"), floats(scale, "scale")
    if not weights.ndim or not weights.shape[-1]:
        raise UsageError(f"logits have shape {tuple(weights.shape)}; a mixture has at least one component")
    if visible(widths) and not bool((widths > 0).all()):
        raise UsageError(f"the least scale is {float(widths.min()):g}; scales are standard deviations above 0")
    dtype = torch.promote_types(torch.promote_types(weights.dtype, centres.dtype), widths.dtype)
    return weights.to(dtype).log_softmax(-1), centres.to(dtype), widths.to(dtype)


def floats_or_lost(logits: Values) -> Tensor:
    """Logits, among which −∞ leaves a component out. Raises UsageError for rows without any component."""
    given = as_tensor(logits, "logits")
    lost = given == -torch.inf
    finite_part = floats(torch.where(lost, 0, given), "logits")
    if visible(given) and given.ndim and given.shape[-1] and bool(lost.all(-1).any()):
        raise UsageError("a row of logits is -inf throughout; a mixture needs a component of positive weight")
    return finite_part.masked_fill(lost, -torch.inf)


def checked_outer(outer: str) -> Outer:
    """Raises UsageError for another base distribution."""
    for name in get_args(Outer):
        if outer == name:
            return name
    raise UsageError(f"outer is {outer!r}; give 'probit' or 'logit'")


def checked_tolerance(tolerance: float | None, dtype: torch.dtype) -> float:
    """Raises UsageError for what is no positive number."""
    if tolerance is None:
        return _TOLERANCE.get(dtype, 1e-5)
    if not 0 < tolerance < 1:
        raise UsageError(f"tolerance is {tolerance}; give a number between 0 and 1, such as 1e-8")
    return float(tolerance)
