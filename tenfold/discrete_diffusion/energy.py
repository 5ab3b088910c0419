"""Joint models of clean sequences given noisy ones, p(x_0 | x_t) ∝ p_ref(x_0 | x_t) exp f, and what they cost (EDLM).

EDLM (arXiv 2410.21357) reports E_t −α'/(1 − α) E −log p(x_0 | x_t) of the **whole** hidden part as its bound. Read
that number with care: the bound of the masked process has the sum of the sites' own −log p(x_0^i | x_t) in its place.
The joint one is smaller, at the true posterior too (a set's entropy is at most the sum of its members'), so it may lie
below the entropy of the data and bounds nothing by itself. Take it for what it is, a figure to compare joint models
by. With an autoregressive model's factors over the hidden tokens (coAR) it is exactly that model's −log p.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError


@runtime_checkable
class Judge(Protocol):
    """What tells log p(x) of whole sequences: ``Autoregressive``, say."""

    def log_prob(self, tokens: Tensor) -> Tensor: ...


def log_reference(
    log_probs: Float[Tensor, "b n v"], clean: Int[Tensor, "b n"], active: Bool[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """log p_ref(x_0 | x_t) of a factorised model: the sum over active sites."""
    each = log_probs.gather(-1, clean[..., None])[..., 0]
    return torch.where(active, each, 0.0).sum(1)


def autoregressive_log_ratio(
    judge: Judge, log_probs: Float[Tensor, "b n v"], clean: Int[Tensor, "b n"], active: Bool[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """f = log p_AR(x_0) − log p_ref(x_0 | x_t): no training is needed, and p_ref exp f is p_AR given the tokens that
    x_t shows. (Without the second term it is p_ref p_AR, which samples something else.)"""
    return judge.log_prob(clean) - log_reference(log_probs, clean, active)


def joint_nats(
    log_reference_at_data: Float[Tensor, " b"],
    log_ratio_at_data: Float[Tensor, " b"],
    log_ratio_at_reference: Float[Tensor, "b k"],
) -> Float[Tensor, " b"]:
    """−log p(x_0 | x_t) of the joint model, log Z estimated from K draws of the reference: −log p_ref − f + log mean
    exp f. The estimate is too low on average, less so for more draws: report K beside it.

    Raises UsageError without draws."""
    draws = log_ratio_at_reference.shape[1]
    if not draws:
        raise UsageError("log Z needs at least one draw of the reference; give log ratios (b, k) with k > 0")
    log_z = log_ratio_at_reference.logsumexp(1) - math.log(draws)
    return log_z - log_reference_at_data - log_ratio_at_data
