"""What a reward is, and what can be tilted by it."""

import math
from typing import Protocol, runtime_checkable

from jaxtyping import Float
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
