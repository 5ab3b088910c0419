"""Rates in closed form from the conditionals of single sites, exact where sites are independent."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_LARGEST = 60.0  # log-ratios beyond: a site is decided either way


def conditional_slope(
    target_ratios: Float[Tensor, "b d s"], prior_ratios: Float[Tensor, "b d s"]
) -> Float[Tensor, "b d s"]:
    """∂_β log p_β ratios to all neighbours, cut at ±60, so that what is forbidden leaves quickly and enters never."""
    return (target_ratios - prior_ratios).clamp(-_LARGEST, _LARGEST)


def conditional_rates(
    difference: Float[Tensor, "b d s"],
    slope: Float[Tensor, "b d s"],
    prior_ratios: Float[Tensor, "b d s"],
    x: Int[Tensor, "b d"],
    beta: Float[Tensor, " b"],
) -> Float[Tensor, "b d s"]:
    """G of the fluxes u_τ u_σ (n_τ − n_σ) between the tokens of a site, with u = p_β(x_i | all others) and potentials n
    that do not depend on x_i; ``difference`` is n_τ − n_{x_i}.

    A one-way rate is the flux over the probability of the token that it leaves: (n_τ − n_{x_i}) u of the receiver.
    It is bounded, and Σ [G]₊ − [−G]₊ p(y)/p(x) = Σ_τ u_τ (n_τ − n_{x_i}), linear in n: the residual is a regression.
    With n = the log-ratios' ``slope`` in β the flux carries u along: ∂u_τ = u_τ (l_τ − Σ u l).

    Args:
        slope, prior_ratios: to all neighbours, ``conditional_slope`` and the prior's.
        beta: the exponents of the path.
    """
    u = (prior_ratios + beta[:, None, None] * slope).softmax(-1)
    return difference * torch.where(difference > 0, u, u.gather(-1, x[..., None]))


class TimeScale(nn.Module):
    """a(t) by straight lines between knots on [0, 1]."""

    def __init__(self, start: float, knots: int = 9) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.full((knots,), start))

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """a at every time."""
        place = t.to(self.values.dtype) * (len(self.values) - 1)
        low = place.floor().long().clamp(max=len(self.values) - 2)
        share = place - low
        return (1 - share) * self.values[low] + share * self.values[low + 1]
