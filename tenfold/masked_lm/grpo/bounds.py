"""Bounds of a completion's log-probability under a masked model, for policy gradients (SPG, arXiv 2510.09541).

Tokens are revealed one at a time in a random order σ, so that log p(o) = log E_σ Π_k p(o_k | revealed before). Where a
view hides a uniform number n of the L tokens, a hidden token is weighted by L/n; its weights have mean 1, and

    lower    Σ_k E[w l_k]              ≤ log p   (Jensen)
    upper    Σ_k 1/β · log E[w p_k^β]  ≥ log p   for β ≥ L (Hölder); for smaller β it is above the lower bound.

A policy is moved up along the lower bound where a completion was better than others, and down along the upper one, or
a mixture of both, where it was worse. Numbers stand in place of the published times: weights 1/t of t down to 0 have an
infinite second moment, L/n has not."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import finite
from tenfold.nn.tensors import read_tensors, within
from tenfold.settings.arguments import read_arguments


class Sandwich(NamedTuple):
    """``share`` of the upper bound in a completion's estimate (0 for the lower bound alone), and its ``power`` β."""

    share: Float[Tensor, " b"]
    power: float


@read_tensors()
def count_views(
    uniforms: Float[Tensor, "b v l"], offset: Float[Tensor, "b 1"]
) -> tuple[Bool[Tensor, "v b l"], Float[Tensor, "v b"]]:
    """Views that hide n tokens at random, n uniform in 1..L and spread over the v views: hidden, and weight L/(n v).

    ``uniforms`` rank the tokens of each view; ``offset`` moves the strata of the numbers.

    Raises UsageError for numbers outside [0, 1), and without views or tokens."""
    _, views, length = uniforms.shape
    if not views or not length:
        raise UsageError(f"{views} views of {length} tokens; give at least one of each")
    within(uniforms, "uniforms", 0.0, 1.0)
    within(offset, "offset", 0.0, 1.0)
    place = (offset + torch.arange(views, device=uniforms.device)) / views
    number = (place * length).long().clamp(max=length - 1) + 1
    hidden = uniforms.argsort(-1).argsort(-1) < number[..., None]
    return hidden.transpose(0, 1), (length / (number * views)).to(uniforms.dtype).T


@read_arguments
@read_tensors(unknown=("each",))
def upper_bound(
    each: Float[Tensor, "v b l"], hidden: Bool[Tensor, "v b l"], weight: Float[Tensor, "v b"], power: float
) -> Float[Tensor, "b l"]:
    """1/β · log Σ_v w_v p_k^β per token, over views that hide it, from ``each`` = log p_k; 0 for a token that none
    hides, as in the lower bound. Computed in float32 at least.

    Raises UsageError for a power that is not positive, weights that are not, and a hidden token's log p that is NaN or
    infinite."""
    if not power > 0:
        raise UsageError(f"the power is {power:g}; give a positive one")
    within(weight, "weight", 1e-30, torch.inf)
    each = finite(torch.where(hidden, each, 0.0), "each")
    there = hidden.any(0)
    logs = torch.where(hidden, power * each.to(torch.promote_types(each.dtype, torch.float32)), -torch.inf)
    # A row of -inf has no gradient that is a number, so it is left out before.
    logs = torch.where(there, logs + weight.to(logs.dtype).log()[..., None], 0.0)
    return torch.where(there, logs.logsumexp(0) / power, 0.0)


@read_arguments
@read_tensors()
def sandwich(advantage: Float[Tensor, " b"], mixture: float = 0.5, power: float = 1.5) -> Sandwich:
    """The upper bound's share is ``mixture`` where the advantage is negative, and 0 elsewhere.

    Raises UsageError for an advantage that is NaN or infinite, a mixture outside [0, 1], and a power below 1: the upper
    bound would be beneath the lower."""
    if not 0 <= mixture <= 1 or not power >= 1:
        raise UsageError(
            f"the mixture is {mixture} and the power {power}; give a share of the upper bound in [0, 1], and a power "
            "of at least 1"
        )
    return Sandwich(torch.where(advantage < 0, mixture, 0.0), power)
