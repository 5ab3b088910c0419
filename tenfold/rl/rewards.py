"""Rewards: what can be tilted by them, samples of the reference weighted within a budget of divergence, and groups of
completions: weights with a sign, no likelihood ratio (wd1, arXiv 2507.08838)."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import visible
from tenfold.nn.tensors import read_tensors, require_axes, within
from tenfold.settings.arguments import read_arguments


@runtime_checkable
class Reward(Protocol):
    """R of clean sequences: ``reward(tokens)`` takes (b, n) int64 to (b,) finite numbers, on the device of the tokens;
    more is better."""

    def __call__(self, tokens: Tensor, /) -> Tensor: ...


def check_beta(beta: float) -> None:
    """Raises UsageError unless β, of p e^{R/β}, is positive and finite."""
    if not (math.isfinite(beta) and beta > 0):
        raise UsageError(f"beta is {beta}; the temperature of the reward must be positive")


def check_tilt(rewards: Float[Tensor, "..."], beta: float) -> None:
    """Raises UsageError for rewards that are not finite, or a β that ``check_beta`` refuses."""
    check_beta(beta)
    if not rewards.numel():
        raise UsageError(f"the rewards have shape {tuple(rewards.shape)}; give at least one")
    if not bool(rewards.isfinite().all()):
        raise UsageError("a reward is NaN or infinite; rewards must be finite")


class Pool(NamedTuple):
    """Samples of the reference, and the reward of each."""

    tokens: Int[Tensor, "b n"]
    rewards: Float[Tensor, " b"]


class Tilt(NamedTuple):
    """Weights of samples that sum to 1, the β behind them, KL(p^R ‖ p_ref) in nats and the effective sample size."""

    weights: Float[Tensor, " b"]
    beta: float
    kl: float
    size: float


@read_arguments
@read_tensors(unknown=("rewards",))
def tilt(rewards: Float[Tensor, " b"], beta: float) -> Tilt:
    """softmax(R/β) over samples of the reference: KL = Σ w log w + log b.

    Raises UsageError for rewards that are not finite, or β ≤ 0."""
    check_tilt(rewards, beta)
    logs = (rewards.double() / beta).log_softmax(0)
    kl = float((logs.exp() * logs).sum()) + math.log(len(rewards))
    return Tilt(logs.exp(), beta, kl, float(1 / logs.exp().square().sum()))


@read_arguments
@read_tensors()
def tilt_within(rewards: Float[Tensor, " b"], budget: float) -> Tilt:
    """The tilt with the least β whose divergence is within the ``budget`` (nats), by bisection.

    Raises UsageError where the samples cannot tell: a budget near log b leaves one sample."""
    if not budget > 0 or not len(rewards):
        raise UsageError(f"a budget of {budget:g} nats for {len(rewards)} samples; give a positive one, and samples")
    if budget > 0.8 * math.log(len(rewards)):
        raise UsageError(
            f"a budget of {budget:g} nats is beyond what {len(rewards)} samples can tell (at most "
            f"{0.8 * math.log(len(rewards)):.2f}); draw more samples, or lower the budget"
        )
    if not bool((rewards != rewards[0]).any()):
        raise UsageError("all samples have the same reward, so there is nothing to learn")
    spread = float(rewards.double().std())
    low, high = 1e-6 * spread, 1e6 * spread
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if tilt(rewards, middle).kl < budget else (middle, high)
    return tilt(rewards, high)


@read_tensors()
def resampled(weights: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """The numbers of samples drawn again in proportion to their weights, evenly: systematic resampling at the middles
    of the strata, as many as there are.

    Raises UsageError for weights that are negative or do not sum to 1.

    >>> resampled(torch.tensor([0.5, 0.0, 0.25, 0.25])).tolist()
    [0, 0, 2, 3]
    """
    count = len(weights)
    if visible(weights) and not (bool((weights >= 0).all()) and abs(float(weights.sum()) - 1) <= 1e-3):
        raise UsageError(f"the weights sum to {float(weights.sum()):g}; give numbers of at least 0 that sum to 1")
    places = (torch.arange(count, device=weights.device) + 0.5) / count
    return torch.searchsorted(weights.cumsum(0), places.to(weights.dtype)).clamp(max=count - 1)


@read_arguments
def next_penalty(penalty: float, divergence: float, budget: float, least: float) -> float:
    """The multiplier of a divergence that is to stay within its budget: up while that is exceeded, down while it is
    not, faster the farther away; from ``least`` to 100.

    Raises UsageError for a budget that is not positive, and a negative penalty.

    >>> next_penalty(1.0, 3.0, 1.0, 0.1) > 1.0 > next_penalty(1.0, 0.5, 1.0, 0.1)
    True
    """
    if not budget > 0 or not penalty >= 0:
        raise UsageError(f"the budget is {budget:g} and the penalty {penalty:g}; give a positive and one of at least 0")
    over = min(1.0, max(-0.5, divergence / budget - 1))
    return min(100.0, max(least, penalty * math.exp(0.1 * over)))


class GroupWeights(NamedTuple):
    """``positive`` and ``negative`` weights, each summing to 1 in a group, and the groups that are of use: those with
    rewards that differ. Others have weights of 0."""

    positive: Float[Tensor, "b g"]
    negative: Float[Tensor, "b g"]
    useful: Bool[Tensor, " b"]


@read_arguments
@read_tensors(unknown=("rewards",))
def group_weights(rewards: Float[Tensor, "b g"], policy: float = 1.0, reference: float = 0.0) -> GroupWeights:
    """w⁺ = softmax_g(ψ A), w⁻ = softmax_g(−ψ A), A = R − mean R, ψ = 1/(λ + β); λ keeps to the old policy, β to the
    reference. The target is π_old^{λψ} π_ref^{βψ} e^{ψA}.

    A group whose rewards are all alike, or of one completion, has nothing to say: weights of 0. NaN rewards are left
    out of their group. Raises UsageError unless λ + β is positive, for infinite rewards."""
    if not policy + reference > 0 or policy < 0 or reference < 0:
        raise UsageError(f"policy is {policy} and reference {reference}; give two numbers ≥ 0 with a positive sum")
    if not rewards.shape[1]:
        raise UsageError("a group has no completion; give at least one a group")
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


@read_arguments
@read_tensors()
def signed_loss(
    log_likelihood: Float[Tensor, "b g"], weights: GroupWeights, clip: float
) -> tuple[Float[Tensor, " b"], dict[str, Tensor]]:
    """Σ_g (w⁻_g − w⁺_g) log p_θ(x^g), and what to watch: the mean |log p| under either weight, and the share of
    negative weight beyond the clip.

    w⁻ log p has no lower bound, so a completion whose −log p exceeds ``clip`` (nats) is pushed down no further. With
    equal weights the gradient is exactly zero.

    Raises UsageError for weights of another shape or that are no numbers, and a negative clip."""
    if not clip >= 0:
        raise UsageError(f"clip is {clip:g}; give nats of at least 0")
    weights = _checked(weights, log_likelihood.shape)
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


def _checked(weights: GroupWeights, shape: Sequence[int]) -> GroupWeights:
    """Raises UsageError for weights of other groups than ``shape``, (b, g), has."""
    if not isinstance(weights, GroupWeights):
        raise UsageError(f"the weights are {type(weights).__name__}; take those of group_weights")
    for name, part, axes in zip(GroupWeights._fields, weights, (shape, shape, shape[:1]), strict=True):
        require_axes(part, f"weights.{name}", tuple(map(str, axes)))
    if visible(weights.positive) and not bool((weights.positive + weights.negative).isfinite().all()):
        raise UsageError("a weight of a group is NaN or infinite; take the weights of group_weights")
    return weights


@read_arguments
@read_tensors()
def stepwise_loss(
    log_likelihood: Float[Tensor, "b g s"], weights: GroupWeights, clip: float
) -> tuple[Float[Tensor, " b"], dict[str, Tensor]]:
    """The same for what a completion was predicted to be at each of s steps of its chain: the mean over steps l of
    Σ_g (w⁻_g − w⁺_g) log p_θ(x̂_0 of step l | x_l), with the weights of where the chain ended.

    ``prediction_likelihood`` gives the terms; a step's term is clipped by itself.

    Raises UsageError for chains without a step, and as ``signed_loss``."""
    steps = log_likelihood.shape[2]
    if not steps:
        raise UsageError("the chains have no step; give at least one")
    weights = _checked(weights, log_likelihood.shape[:2])
    each = GroupWeights(*(part.repeat_interleave(steps, 0) for part in weights))
    loss, metrics = signed_loss(log_likelihood.transpose(1, 2).flatten(0, 1), each, clip)
    return loss.view(-1, steps).mean(1), metrics


@read_tensors(infinite=("log_posterior",))
def prediction_likelihood(
    log_posterior: Float[Tensor, "b n v"], predicted: Int[Tensor, "b n"], masked: Bool[Tensor, "b n"]
) -> Float[Tensor, " b"]:
    """log p_θ(x̂_0 | x_l) of a whole prediction of the masks of x_l; its other tokens are given.

    Raises UsageError for tokens outside the v."""
    within(predicted, "predicted", 0, log_posterior.shape[-1])
    each = log_posterior.gather(-1, predicted[..., None])[..., 0]
    return torch.where(masked, each, 0.0).sum(1)


@read_arguments
@read_tensors(unknown=("rewards",))
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
