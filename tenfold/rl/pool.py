"""Samples of the reference, weighted by a reward within a budget of divergence."""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError


class Tilt(NamedTuple):
    """Weights of samples that sum to 1, the β behind them, KL(p^R ‖ p_ref) in nats and the effective sample size."""

    weights: Float[Tensor, " b"]
    beta: float
    kl: float
    size: float


def tilt(rewards: Float[Tensor, " b"], beta: float) -> Tilt:
    """softmax(R/β) over samples of the reference: KL = Σ w log w + log b.

    Raises UsageError for rewards that are not finite, or β ≤ 0."""
    if not beta > 0:
        raise UsageError(f"beta is {beta}; the temperature of the reward must be positive")
    if not bool(rewards.isfinite().all()):
        raise UsageError("a reward is NaN or infinite; rewards must be finite")
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
