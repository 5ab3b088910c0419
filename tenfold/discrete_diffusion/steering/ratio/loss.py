"""Density-ratio post-training: p_θ(x_0 | x_t) ∝ p_ref(x_0 | x_t) r_θ, with r = p(x_0 | x_t)/p_ref(x_0 | x_t) the
optimum of every Bregman loss E_ref[F'(r) r − F(r)] − E_data[F'(r)] (arXiv 2504.16431)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.discrete.objectives import BREGMAN
from tenfold.errors import UsageError, suggest

RatioLoss = Literal["lsif", "bce", "generalised_kl"]
# Name: F, and the constant that is added.
RATIOS: dict[str, tuple[str, float]] = {
    "lsif": ("half_squared", 0.5),
    "bce": ("logistic", 0.0),
    "generalised_kl": ("generalised_kl", 0.0),
}


# The slopes of the reference's and of the data's term over log r.
_SLOPES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "lsif": (lambda c: math.exp(2 * c), math.exp),
    "bce": (lambda c: 1 / (1 + math.exp(-c)), lambda c: 1 / (1 + math.exp(c))),
    "generalised_kl": (math.exp, lambda c: 1.0),
}


def ratio_loss(
    log_ratio_data: Float[Tensor, " b"],
    log_ratio_reference: Float[Tensor, "b k"],
    loss: RatioLoss = "bce",
    cap: float | None = None,
) -> Float[Tensor, " b"]:
    """The loss of each row, its data term from one draw and its reference term from the mean of k draws given the same
    x_t. "lsif": ½ r² − r + ½; "bce": log(1 + r) − log(r/(1 + r)); "generalised_kl": r − log r. Where log r exceeds the
    ``cap``, each term goes on as its tangent over log r: the optimum is where it was as long as its log r is below,
    and gradients stay bounded.

    Raises UsageError for an unknown name."""
    if loss not in RATIOS:
        raise UsageError(f"there is no ratio loss {loss!r}{suggest(loss, RATIOS)}")
    name, constant = RATIOS[loss]
    _, slope, conjugate = BREGMAN[name]
    if cap is None:
        return conjugate(log_ratio_reference).mean(1) - slope(log_ratio_data) + constant
    of_reference, of_data = (slope_at(cap) for slope_at in _SLOPES[loss])
    above, more = (torch.where(f > cap, f - cap, 0.0) for f in (log_ratio_reference, log_ratio_data))
    reference = conjugate(log_ratio_reference.clamp(max=cap)) + of_reference * above
    return reference.mean(1) - slope(log_ratio_data.clamp(max=cap)) - of_data * more + constant
