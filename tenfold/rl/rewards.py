"""Rewards: what can be tilted by them, and samples of the reference weighted within a budget of divergence."""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError


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


def tilt(rewards: Float[Tensor, " b"], beta: float) -> Tilt:
    """softmax(R/β) over samples of the reference: KL = Σ w log w + log b.

    Raises UsageError for rewards that are not finite, or β ≤ 0."""
    check_tilt(rewards, beta)
    logs = (rewards.double() / beta).log_softmax(0)
    kl = float((logs.exp() * logs).sum()) + math.log(len(rewards))
    return Tilt(logs.exp(), beta, kl, float(1 / logs.exp().square().sum()))


def tilt_within(rewards: Float[Tensor, " b"], budget: float) -> Tilt:
    """The tilt with the least β whose divergence is within the ``budget`` (nats), by bisection.

    Raises UsageError where the samples cannot tell: a budget near log b leaves one sample."""
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


def resampled(weights: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
    """The numbers of samples drawn again in proportion to their weights, evenly: systematic resampling at the middles
    of the strata, as many as there are.

    >>> resampled(torch.tensor([0.5, 0.0, 0.25, 0.25])).tolist()
    [0, 0, 2, 3]
    """
    count = len(weights)
    places = (torch.arange(count, device=weights.device) + 0.5) / count
    return torch.searchsorted(weights.cumsum(0), places.to(weights.dtype)).clamp(max=count - 1)


def next_penalty(penalty: float, divergence: float, budget: float, least: float) -> float:
    """The multiplier of a divergence that is to stay within its budget: up while that is exceeded, down while it is
    not, faster the farther away; from ``least`` to 100.

    >>> next_penalty(1.0, 3.0, 1.0, 0.1) > 1.0 > next_penalty(1.0, 0.5, 1.0, 0.1)
    True
    """
    over = min(1.0, max(-0.5, divergence / budget - 1))
    return min(100.0, max(least, penalty * math.exp(0.1 * over)))
