"""Steps of a jump process in discrete time: what each site does in a span Δ, and how probable it was."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from tenfold.discrete_samplers.classical.kernels import drawn

_NEVER = -1e30  # log of a rate of 0, finite so that sums of many do not become NaN

_STEEPEST = 8.0  # of the floor: what leads back from a forbidden state also leads there, if seldom
_AT_ONCE = 80.0  # log of the largest rate


def euler_probabilities(
    g: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], span: Float[Tensor, " b"]
) -> Float[Tensor, "b d s"]:
    """The reference's step: Δ [G]₊ at each other token, cut at 1, the rest stays; where it exceeds 1 nothing stays and
    the row is normalised."""
    move = (span[:, None, None] * g.clamp(min=0)).clamp(max=1)
    stay = (1 - move.sum(-1, keepdim=True)).clamp(min=0)
    filled = move.scatter(-1, x[..., None], stay)
    return filled / filled.sum(-1, keepdim=True)


def overflow_share(g: Float[Tensor, "b d s"], span: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """The share of sites whose Δ Σ R exceeds 1: there an Euler step is no step of the process."""
    return (span[:, None] * g.clamp(min=0).sum(-1) > 1).float().mean()


def forward_log_rates(
    g: Float[Tensor, "b d s"], log_ratio: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], floor: float
) -> Float[Tensor, "b d s"]:
    """log([G]₊ + ε p_t(y)/(p_t(x) + p_t(y))): the process, and a reversible one that leaves every p_t as it is."""
    return _with_floor(g.clamp(min=0).log(), log_ratio, x, floor)


def backward_log_rates(
    g: Float[Tensor, "b d s"], log_ratio: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], floor: float
) -> Float[Tensor, "b d s"]:
    """Of the process backwards in time, log([−G]₊ p_t(y)/p_t(x) + ε p_t(y)/(p_t(x) + p_t(y)))."""
    back = (-g).clamp(min=0)
    return _with_floor(torch.where(back > 0, back.log() + log_ratio, -torch.inf), log_ratio, x, floor)


def _with_floor(
    logs: Float[Tensor, "b d s"], log_ratio: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], floor: float
) -> Float[Tensor, "b d s"]:
    if floor > 0:
        base = logsigmoid(log_ratio.clamp(-_STEEPEST, _STEEPEST)) + torch.log(
            torch.tensor(floor, dtype=logs.dtype, device=logs.device)
        )
        logs = torch.logaddexp(logs.clamp(min=_NEVER), base.clamp(min=_NEVER))
    return logs.clamp(min=_NEVER, max=_AT_ONCE).scatter(-1, x[..., None], _NEVER)


def leap(
    log_rates: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], span: Float[Tensor, " b"], uniforms: Float[Tensor, "b d"]
) -> Int[Tensor, "b d"]:
    """Every site by itself: stays with probability e^{−Δ Σ R}, else jumps once, to τ with probability R_τ/Σ R."""
    return drawn(leap_log_probabilities(log_rates, x, span).exp(), uniforms)


def leap_log_probabilities(
    log_rates: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], span: Float[Tensor, " b"]
) -> Float[Tensor, "b d s"]:
    """log of ``leap``'s probabilities, of every token at every site; they sum to 1."""
    log_total = log_rates.logsumexp(-1, keepdim=True)
    total = (span[:, None, None] * log_total.exp()).clamp(max=1e30)
    log_leave = torch.where(total > 1e-4, (-torch.expm1(-total)).clamp(min=1e-38).log(), total.log() - total / 2)
    log_leave = log_leave.clamp(min=_NEVER)
    return (log_leave + log_rates - log_total).scatter(-1, x[..., None], -total)


def chosen_log_probability(log_probabilities: Float[Tensor, "b d s"], to: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """Σ_i of the tokens that were chosen, float64."""
    return log_probabilities.gather(-1, to[..., None])[..., 0].double().sum(1)
