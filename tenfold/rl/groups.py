"""Rewards by groups of completions: weights with a sign, no likelihood ratio (wd1, arXiv 2507.08838)."""

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.rl.rewards import check_tilt


class GroupWeights(NamedTuple):
    """``positive`` and ``negative`` weights, each summing to 1 in a group, and the groups that are of use: those with
    rewards that differ. Others have weights of 0."""

    positive: Float[Tensor, "b g"]
    negative: Float[Tensor, "b g"]
    useful: Bool[Tensor, " b"]


def group_weights(rewards: Float[Tensor, "b g"], policy: float = 1.0, reference: float = 0.0) -> GroupWeights:
    """w⁺ = softmax_g(ψ A), w⁻ = softmax_g(−ψ A), A = R − mean R, ψ = 1/(λ + β); λ keeps to the old policy, β to the
    reference. The target is π_old^{λψ} π_ref^{βψ} e^{ψA}.

    A group whose rewards are all alike, or of one completion, has nothing to say: weights of 0. NaN rewards are left
    out of their group. Raises UsageError unless λ + β is positive, for infinite rewards."""
    if not policy + reference > 0 or policy < 0 or reference < 0:
        raise UsageError(f"policy is {policy} and reference {reference}; give two numbers ≥ 0 with a positive sum")
    if bool(rewards.isinf().any()):
        raise UsageError("a reward is infinite; clip rewards to finite numbers")
    known = ~rewards.isnan()
    low = rewards.masked_fill(~known, torch.inf).amin(1)
    high = rewards.masked_fill(~known, -torch.inf).amax(1)
    useful = high > low
    mean = rewards.nansum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    advantage = (rewards - mean) / (policy + reference)

    def weights(sign: float) -> Tensor:
        scores = (sign * advantage).masked_fill(~known, -torch.inf)
        return torch.where(useful[:, None], scores.softmax(1), 0.0)

    return GroupWeights(weights(1.0), weights(-1.0), useful)


def signed_loss(
    log_likelihood: Float[Tensor, "b g"], weights: GroupWeights, clip: float
) -> tuple[Float[Tensor, " b"], dict[str, Tensor]]:
    """Σ_g (w⁻_g − w⁺_g) log p_θ(x^g), and what to watch: the mean |log p| under either weight, and the share of
    negative weight beyond the clip.

    w⁻ log p has no lower bound, so a completion whose −log p exceeds ``clip`` (nats) is pushed down no further. With
    equal weights the gradient is exactly zero."""
    kept = log_likelihood.detach() > -clip
    pushed = torch.where(kept, weights.negative, weights.negative.minimum(weights.positive))
    loss = ((pushed - weights.positive) * log_likelihood).sum(1)
    useful = weights.useful.sum().clamp(min=1)
    clipped = (weights.negative * ~kept).sum() / useful
    if clipped > 0.5:
        warnings.warn(
            f"{clipped:.0%} of the negative weight is on completions that are already less likely than e^-{clip:g}: "
            "unlearning diverges; lower the learning rate, or raise the policy's weight",
            stacklevel=2,
        )
    size = log_likelihood.detach().abs()
    metrics = {
        "positive_nats": (weights.positive * size).sum() / useful,
        "negative_nats": (weights.negative * size).sum() / useful,
        "clipped_share": clipped,
        "useful_groups": weights.useful.float().mean(),
    }
    return loss, metrics


def stepwise_loss(
    log_likelihood: Float[Tensor, "b g s"], weights: GroupWeights, clip: float
) -> tuple[Float[Tensor, " b"], dict[str, Tensor]]:
    """The same for what a completion was predicted to be at each of s steps of its chain: the mean over steps l of
    Σ_g (w⁻_g − w⁺_g) log p_θ(x̂_0 of step l | x_l), with the weights of where the chain ended.

    ``prediction_likelihood`` gives the terms; a step's term is clipped by itself."""
    steps = log_likelihood.shape[2]
    each = GroupWeights(*(part.repeat_interleave(steps, 0) for part in weights))
    loss, metrics = signed_loss(log_likelihood.transpose(1, 2).flatten(0, 1), each, clip)
    return loss.view(-1, steps).mean(1), metrics


def prediction_likelihood(
    log_posterior: Float[Tensor, "b n v"], predicted: Int[Tensor, "b n"], masked: Bool[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """log p_θ(x̂_0 | x_l) of a whole prediction of the masks of x_l; its other tokens are given."""
    each = log_posterior.gather(-1, predicted[..., None])[..., 0]
    return torch.where(masked, each, 0.0).sum(1)


def self_normalised(
    log_model: Float[Tensor, "b k"], rewards: Float[Tensor, "b k"], beta: float
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """The weighted cross entropy −Σ_k w_k log p_θ(x_0^k | x_t), w = softmax_k(R/β) over K draws of the reference, and
    the effective sample size of each row; a warning where its mean is below 2.

    Raises UsageError for rewards that are not finite, or β ≤ 0."""
    check_tilt(rewards, beta)
    weights = (rewards / beta).softmax(1)
    size = 1 / weights.square().sum(1)
    if weights.shape[1] > 1 and bool(size.mean() < 2):
        warnings.warn(
            f"the effective sample size is {size.mean():.1f} of {weights.shape[1]} draws; raise beta, or draw more",
            stacklevel=2,
        )
    return -(weights * log_model).sum(1), size
