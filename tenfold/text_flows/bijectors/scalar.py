"""Mixtures of Gaussians on the line: density, both tails, the map to a base distribution. All in logarithms.

Mixtures have log weights that are normalised, means and scales of shape (..., k), which broadcast against points of
shape (...) (arXiv:2507.00425, section 3.2).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.text_flows.bijectors.normal import LOG_SQRT_TWO_PI, log_cdf, log_pdf, quantile

Outer = Literal["probit", "logit"]
"""The last step of the map: to the standard normal or to the standard logistic distribution."""


class Mapped(NamedTuple):
    """What a map gives: ``u``, and the logarithm of its derivative or determinant."""

    u: Tensor
    logdet: Tensor


def log_density(
    z: Float[Tensor, "*shape"], log_weights: Float[Tensor, "*a"], mean: Float[Tensor, "*b"], scale: Float[Tensor, "*c"]
) -> Float[Tensor, "*shape"]:
    """log p(z) = log Σ_k π_k N(z; m_k, s_k²), in nats."""
    t = (z[..., None] - mean) / scale
    return (log_weights - 0.5 * t.square() - scale.log()).logsumexp(-1) - LOG_SQRT_TWO_PI


def log_tails(
    z: Float[Tensor, "*shape"], log_weights: Float[Tensor, "*a"], mean: Float[Tensor, "*b"], scale: Float[Tensor, "*c"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """log F(z) and log (1 − F(z)) of the mixture's distribution function."""
    t = (z[..., None] - mean) / scale
    return (log_weights + log_cdf(t)).logsumexp(-1), (log_weights + log_cdf(-t)).logsumexp(-1)


def to_base(
    log_p: Float[Tensor, "*shape"],
    log_lower: Float[Tensor, "*shape"],
    log_upper: Float[Tensor, "*shape"],
    outer: Outer = "probit",
) -> Mapped:
    """u = G⁻¹(F) from the logarithms of the density and of both tails, and log du/dz = log p − log g(u), for the base
    distribution G with density g: the normal one ("probit"), or the logistic one ("logit")."""
    if outer == "logit":
        return Mapped(log_lower - log_upper, log_p - log_lower - log_upper)
    below = log_lower <= log_upper
    tail = quantile(torch.where(below, log_lower, log_upper))
    u = torch.where(below, tail, -tail)
    return Mapped(u, log_p - log_pdf(u))


def log_base(u: Float[Tensor, "*shape"], outer: Outer = "probit") -> Float[Tensor, "*shape"]:
    """log g(u)."""
    if outer == "logit":
        return -torch.nn.functional.softplus(u) - torch.nn.functional.softplus(-u)
    return log_pdf(u)


def from_logistic(w: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Φ⁻¹(sigmoid(w)): the same place in the normal distribution, in either tail."""
    return -quantile(-torch.nn.functional.softplus(w.abs())) * w.sign()
