"""Schedules of noise: α_t, its derivative, and what follows from them.

Time t runs from 0 (clean) to 1 (all noise); α_t is the probability that a token is still itself. (Papers that let
time run from noise to data write κ for the same α.) The bounds are those of Shi et al., arXiv 2406.04329, and Sahoo et
al., arXiv 2406.07524.
"""

import math
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@runtime_checkable
class Schedule(Protocol):
    """α_t and its derivative, elementwise for times in [0, 1]. A schedule may also have ``noise``, 1 − α_t without
    cancellation at small times."""

    def alpha(self, t: Tensor) -> Tensor:
        """Probability that a token is unchanged at time t; falls from (nearly) 1 to (nearly) 0."""

    def alpha_prime(self, t: Tensor) -> Tensor:
        """dα/dt, negative."""


@settings
class Linear:
    """α = 1 − (1 − ε) t; with ε = 0 the time is the mask ratio itself.

    >>> Linear().alpha(torch.tensor(0.25))
    tensor(0.7500)
    """

    epsilon: float = 0.0

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def alpha(self, t: Tensor) -> Tensor:
        """1 − (1 − ε) t."""
        return 1 - (1 - self.epsilon) * t

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−(1 − ε)."""
        return torch.full_like(t, self.epsilon - 1)

    def noise(self, t: Tensor) -> Tensor:
        """(1 − ε) t."""
        return (1 - self.epsilon) * t


@settings
class Cosine:
    """α = ε + (1 − ε) cosᵖ(π t / 2), for p = 1 or 2 (cosine-squared)."""

    epsilon: float = 0.0
    power: int = 1

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)
        at_least(self, "", power=1)

    def _cosine(self, t: Tensor) -> Tensor:
        # In the precision of t the cosine of π/2 is a hair below 0.
        return torch.cos(math.pi / 2 * t).clamp(min=0)

    def alpha(self, t: Tensor) -> Tensor:
        """ε + (1 − ε) cosᵖ(π t / 2)."""
        return self.epsilon + (1 - self.epsilon) * self._cosine(t) ** self.power

    def alpha_prime(self, t: Tensor) -> Tensor:
        """Its derivative."""
        inner = self.power * self._cosine(t) ** (self.power - 1) * torch.sin(math.pi / 2 * t)
        return -(1 - self.epsilon) * math.pi / 2 * inner

    def noise(self, t: Tensor) -> Tensor:
        """(1 − ε)(1 − cosᵖ(π t / 2))."""
        once = (2 * torch.sin(math.pi / 4 * t).square()).clamp(max=1)
        return (1 - self.epsilon) * -torch.expm1(self.power * torch.log1p(-once))


@settings
class Polynomial:
    """α = (1 − t)ⁿ."""

    power: float = 2.0

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise UsageError(f"power is {self.power}; a schedule of noise needs a positive one")

    def alpha(self, t: Tensor) -> Tensor:
        """(1 − t)ⁿ."""
        return (1 - t) ** self.power

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−n (1 − t)ⁿ⁻¹."""
        return -self.power * (1 - t) ** (self.power - 1)

    def noise(self, t: Tensor) -> Tensor:
        """1 − (1 − t)ⁿ."""
        return -torch.expm1(self.power * torch.log1p(-t))


@settings
class Geometric:
    """α = exp(−σ), σ = σ_min^(1−t) σ_max^t."""

    least: float = 1e-4
    most: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.least < self.most:
            raise UsageError(f"least is {self.least} and most {self.most}; total noise grows from above 0")

    def _sigma(self, t: Tensor) -> Tensor:
        return self.least ** (1 - t) * self.most**t

    def alpha(self, t: Tensor) -> Tensor:
        """exp(−σ_t)."""
        return torch.exp(-self._sigma(t))

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−σ' exp(−σ), σ' = σ log(σ_max / σ_min)."""
        sigma = self._sigma(t)
        return -math.log(self.most / self.least) * sigma * torch.exp(-sigma)

    def noise(self, t: Tensor) -> Tensor:
        """1 − exp(−σ_t)."""
        return -torch.expm1(-self._sigma(t))


@settings
class LinearSigma:
    """α = exp(−σ), σ = σ_min + (σ_max − σ_min) t."""

    least: float = 0.0
    most: float = 20.0

    def __post_init__(self) -> None:
        if not 0 <= self.least < self.most:
            raise UsageError(f"least is {self.least} and most {self.most}; total noise grows from at least 0")

    def alpha(self, t: Tensor) -> Tensor:
        """exp(−σ_t)."""
        return torch.exp(-self.least - (self.most - self.least) * t)

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−(σ_max − σ_min) exp(−σ_t)."""
        return -(self.most - self.least) * self.alpha(t)

    def noise(self, t: Tensor) -> Tensor:
        """1 − exp(−σ_t)."""
        return -torch.expm1(-self.least - (self.most - self.least) * t)


def _check_epsilon(epsilon: float) -> None:
    if not 0 <= epsilon < 1:
        raise UsageError(f"epsilon is {epsilon}; the share of tokens that are kept at t = 1 lies in [0, 1)")


MOST_SIGMA = 20.75
"""The most total noise that a network is told: that of α = 1e-9, below every level that a schedule with a σ has. At
α = 0 it would be told infinity, and answer with NaN."""


def sigma(schedule: Schedule, t: Tensor) -> Tensor:
    """The total noise σ = −log α, by which some networks are told the time; infinite where α = 0 (networks are told
    no more than ``MOST_SIGMA``)."""
    return -torch.log(schedule.alpha(t))


def time_of(schedule: Schedule, alpha: Tensor) -> Tensor:
    """The time at which a schedule has come down to α, by bisection, to the precision of α's dtype.

    >>> time_of(Linear(), torch.tensor(0.75))
    tensor(0.2500)
    """
    low, high = torch.zeros_like(alpha), torch.ones_like(alpha)
    for _ in range(60):
        middle = (low + high) / 2
        above = schedule.alpha(middle) > alpha
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2


def noise_share(schedule: Schedule, t: Tensor) -> Tensor:
    """1 − α_t, the share of tokens that are noise, to the precision of t at small times too (1 − ``alpha`` has lost
    all digits of a cosine at t = 1e-4 in float32)."""
    own = getattr(schedule, "noise", None)
    found: Tensor = (1 - schedule.alpha(t.double())).to(t.dtype) if own is None else own(t)
    return found


def likelihood_weight(schedule: Schedule, t: Tensor) -> Tensor:
    """w(t) = −α'_t / (1 − α_t): the weight of the cross entropy at masked tokens in the bound; 1/t when linear.

    Raises UsageError where it is infinite or no number, at t = 0 say.

    >>> likelihood_weight(Linear(), torch.tensor(0.25))
    tensor(4.)
    """
    weight = -schedule.alpha_prime(t) / noise_share(schedule, t)
    if not bool(weight.isfinite().all()):
        raise UsageError(
            f"the weight of the bound is {weight[~weight.isfinite()].flatten()[0].item()} at one of the times "
            f"({t.min().item():g} to {t.max().item():g}); times of noise lie in (0, 1]"
        )
    return weight
