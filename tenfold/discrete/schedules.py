"""Schedules of noise: α_t, its derivative, and what follows from them.

Time t runs from 0 (clean) to 1 (all noise); α_t is the probability that a token is still itself. (Papers that let
time run from noise to data write κ for the same α.) The bounds are those of Shi et al., arXiv 2406.04329, and Sahoo et
al., arXiv 2406.07524.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Schedule(Protocol):
    """α_t and its derivative, elementwise for times in [0, 1]."""

    def alpha(self, t: Tensor) -> Tensor:
        """Probability that a token is unchanged at time t; falls from (nearly) 1 to (nearly) 0."""

    def alpha_prime(self, t: Tensor) -> Tensor:
        """dα/dt, negative."""


@dataclass(frozen=True)
class Linear:
    """α = 1 − (1 − ε) t; with ε = 0 the time is the mask ratio itself.

    >>> Linear().alpha(torch.tensor(0.25))
    tensor(0.7500)
    """

    epsilon: float = 0.0

    def alpha(self, t: Tensor) -> Tensor:
        """1 − (1 − ε) t."""
        return 1 - (1 - self.epsilon) * t

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−(1 − ε)."""
        return torch.full_like(t, self.epsilon - 1)


@dataclass(frozen=True)
class Cosine:
    """α = ε + (1 − ε) cosᵖ(π t / 2), for p = 1 or 2 (cosine-squared)."""

    epsilon: float = 0.0
    power: int = 1

    def alpha(self, t: Tensor) -> Tensor:
        """ε + (1 − ε) cosᵖ(π t / 2)."""
        return self.epsilon + (1 - self.epsilon) * torch.cos(math.pi / 2 * t) ** self.power

    def alpha_prime(self, t: Tensor) -> Tensor:
        """Its derivative."""
        angle = math.pi / 2 * t
        inner = self.power * torch.cos(angle) ** (self.power - 1) * torch.sin(angle)
        return -(1 - self.epsilon) * math.pi / 2 * inner


@dataclass(frozen=True)
class Polynomial:
    """α = (1 − t)ⁿ."""

    power: float = 2.0

    def alpha(self, t: Tensor) -> Tensor:
        """(1 − t)ⁿ."""
        return (1 - t) ** self.power

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−n (1 − t)ⁿ⁻¹."""
        return -self.power * (1 - t) ** (self.power - 1)


@dataclass(frozen=True)
class Geometric:
    """α = exp(−σ), σ = σ_min^(1−t) σ_max^t."""

    least: float = 1e-4
    most: float = 20.0

    def _sigma(self, t: Tensor) -> Tensor:
        return self.least ** (1 - t) * self.most**t

    def alpha(self, t: Tensor) -> Tensor:
        """exp(−σ_t)."""
        return torch.exp(-self._sigma(t))

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−σ' exp(−σ), σ' = σ log(σ_max / σ_min)."""
        sigma = self._sigma(t)
        return -math.log(self.most / self.least) * sigma * torch.exp(-sigma)


@dataclass(frozen=True)
class LinearSigma:
    """α = exp(−σ), σ = σ_min + (σ_max − σ_min) t."""

    least: float = 0.0
    most: float = 20.0

    def alpha(self, t: Tensor) -> Tensor:
        """exp(−σ_t)."""
        return torch.exp(-self.least - (self.most - self.least) * t)

    def alpha_prime(self, t: Tensor) -> Tensor:
        """−(σ_max − σ_min) exp(−σ_t)."""
        return -(self.most - self.least) * self.alpha(t)


def sigma(schedule: Schedule, t: Tensor) -> Tensor:
    """The total noise σ = −log α, by which some networks are told the time; infinite where α = 0."""
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


def likelihood_weight(schedule: Schedule, t: Tensor) -> Tensor:
    """w(t) = −α'_t / (1 − α_t): the weight of the cross entropy at masked tokens in the bound; 1/t when linear.

    >>> likelihood_weight(Linear(), torch.tensor(0.25))
    tensor(4.)
    """
    return -schedule.alpha_prime(t) / (1 - schedule.alpha(t))
