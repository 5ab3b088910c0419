"""Rates in closed form from the conditionals of single sites, exact where sites are independent."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_LARGEST = 60.0  # log-ratios beyond: a site is decided either way


def conditional_rates(
    target_ratios: Float[Tensor, "b d s"],
    prior_ratios: Float[Tensor, "b d s"],
    x: Int[Tensor, "b d"],
    beta: Float[Tensor, " b"],
) -> Float[Tensor, "b d s"]:
    """G by site of p_t(x_i | others) = u: the flux J_{τσ} = (∂u_τ − ∂u_σ)/S between tokens carries u along, and a
    one-way rate is the flux over the probability of the token that it leaves.

    ∂u_τ = u_τ (l_τ − Σ u l) with l the target's log-ratio less the prior's, and u = softmax(prior + β l). None of it
    depends on x_i but for which rate is which: G is locally equivariant. For spins it is 2 f u (1 − u) over u of the
    donor. Ratios are cut at ±60, so that what is forbidden leaves quickly and enters never.

    Args:
        target_ratios, prior_ratios: to all neighbours.
        beta: the exponents of the path; multiply G by β'(t) where the path is not β = t.
    """
    slope = (target_ratios - prior_ratios).clamp(-_LARGEST, _LARGEST)
    u = (prior_ratios + beta[:, None, None] * slope).softmax(-1)
    change = u * (slope - (u * slope).sum(-1, keepdim=True))
    flux = (change - change.gather(-1, x[..., None])) / u.shape[-1]
    here = u.gather(-1, x[..., None])
    donor = torch.where(flux > 0, here, u).clamp(min=torch.finfo(u.dtype).tiny)
    return (flux / donor).clamp(-1e6, 1e6)


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
