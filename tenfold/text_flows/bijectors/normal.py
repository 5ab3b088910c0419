"""The standard normal distribution by the logarithms of its tails, so that nothing rounds to 0 or to 1."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)
_NEWTON_STEPS = 4
_DIRECT = -5.0  # from here up e^l and its quantile lose no digit


def log_pdf(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log φ(x)."""
    return -0.5 * x.square() - LOG_SQRT_TWO_PI


def log_cdf(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log Φ(x), exact to rounding however far out."""
    return torch.special.log_ndtr(x)


def quantile(log_tail: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Φ⁻¹(e^l) of l = ``log_tail`` ≤ 0, differentiable any number of times: du/dl = e^l / φ(u).

    Below −5 by Newton steps on log Φ from the asymptote; l = −∞ gives −∞. Precise for l up to log ½: above it, take
    the other tail.

    >>> round(quantile(torch.tensor(-1e4, dtype=torch.float64)).item(), 6)
    -141.37984
    """
    found: Tensor = _Quantile.apply(log_tail)
    return found


class _Quantile(torch.autograd.Function):
    """The quantile, whose derivative is a formula: the steps that find it are never differentiated."""

    @staticmethod
    def forward(ctx: Any, log_tail: Tensor) -> Tensor:
        """Φ⁻¹(e^l)."""
        found = _solved(log_tail)
        ctx.save_for_backward(log_tail, found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """e^l / φ(u)."""
        log_tail, found = ctx.saved_tensors
        return gradients[0] * (log_tail - log_pdf(found)).exp()


def _solved(log_tail: Tensor) -> Tensor:
    far = log_tail.clamp_max(_DIRECT)
    u = -(-2 * far - (-2 * far).log() - 2 * LOG_SQRT_TWO_PI).sqrt()
    for _ in range(_NEWTON_STEPS):
        tail = log_cdf(u)
        u = u - (tail - far) * (tail - log_pdf(u)).exp()
    u = torch.where(log_tail == -math.inf, -math.inf, u)
    return torch.where(log_tail > _DIRECT, torch.special.ndtri(log_tail.exp()), u)
