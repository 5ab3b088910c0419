"""Masking as a diffusion process: schedules, paths, likelihood weights, exact categorical draws, times.

Time t runs from 0 (clean) to 1 (all noise); α_t is the probability that a token is still itself. (Papers that let
time run from noise to data write κ for the same α.) The bounds are those of Shi et al., arXiv 2406.04329, and Sahoo et
al., arXiv 2406.07524.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
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


def sigma_prime(schedule: Schedule, t: Tensor) -> Tensor:
    """dσ/dt = −α'/α."""
    return -schedule.alpha_prime(t) / schedule.alpha(t)


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


def stay_probability(alpha_s: Tensor, alpha_t: Tensor) -> Tensor:
    """(1 − α_s)/(1 − α_t): that a token masked at t is masked still at s < t; s/t when linear."""
    return (1 - alpha_s) / (1 - alpha_t)


def reveal_probability(alpha_s: Tensor, alpha_t: Tensor) -> Tensor:
    """(α_s − α_t)/(1 − α_t): that a token masked at t is revealed by s < t."""
    return (alpha_s - alpha_t) / (1 - alpha_t)


def mask_independently(
    maskable: Bool[Tensor, "b n"], alpha: Float[Tensor, " b"], uniforms: Float[Tensor, "b n"]
) -> Bool[Tensor, "b n"]:
    """Where the mask goes: each maskable token by itself, with probability 1 − α, from given U[0, 1) numbers."""
    return maskable & (uniforms < 1 - alpha[:, None])


def mask_further(
    masked: Bool[Tensor, "b n"],
    maskable: Bool[Tensor, "b n"],
    alpha_s: Float[Tensor, " b"],
    alpha_t: Float[Tensor, " b"],
    uniforms: Float[Tensor, "b n"],
) -> Bool[Tensor, "b n"]:
    """The masks at t > s from those at s: a mask stays, a token stays with probability α_t/α_s."""
    return masked | (maskable & (uniforms >= (alpha_t / alpha_s)[:, None]))


def mask_exactly(
    maskable: Bool[Tensor, "b n"], count: Int[Tensor, " b"], uniforms: Float[Tensor, "b n"]
) -> Bool[Tensor, "b n"]:
    """``count`` masks a row at maskable places, every set of them equally likely."""
    order = torch.where(maskable, uniforms, 2.0).argsort(dim=1)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return maskable & (rank < count[:, None])


def stratified(offset: Tensor | float, index: Int[Tensor, " b"], size: int) -> Float[Tensor, " b"]:
    """U[0, 1) numbers of low discrepancy, (u + i/B) mod 1: one shared offset u, i the place in a batch of B.

    >>> stratified(0.5, torch.arange(4), 4)
    tensor([0.5000, 0.7500, 0.0000, 0.2500])
    """
    return (offset + (index % size).float() / size) % 1.0


def strata(uniforms: Float[Tensor, " b"], index: Int[Tensor, " b"], size: int) -> Float[Tensor, " b"]:
    """U[0, 1) numbers of low discrepancy, (i + u_i)/B: an offset of its own in each stratum."""
    return ((index % size).float() + uniforms) / size


def times(uniforms: Tensor, epsilon: float = 1e-3) -> Tensor:
    """U[0, 1) numbers to times in (ε, 1], t = 1 − (1 − ε) u: without t = 0, where the weight is infinite."""
    return 1 - (1 - epsilon) * uniforms


def categorical(weights: Float[Tensor, "*b k"], uniforms: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    """Draws by inverting the distribution function in float64, from given U[0, 1) numbers.

    ``weights`` need not sum to 1; an outcome of weight 0 is never drawn.

    >>> categorical(torch.tensor([0.0, 1.0, 3.0]), torch.tensor(0.5))
    tensor(2)
    """
    levels = weights.double().cumsum(-1)
    target = uniforms.double()[..., None] * levels[..., -1:]
    # Rounding may carry u times the sum up to the sum: the last outcome that has weight.
    last = (levels < levels[..., -1:]).sum(-1)
    return torch.minimum(torch.searchsorted(levels, target, right=True)[..., 0], last)


def gumbel_argmax(
    logits: Float[Tensor, "*b k"], uniforms: Float[Tensor, "*b k"], temperature: float = 1.0
) -> Int[Tensor, "*b"]:
    """Draws from softmax(logits / T) as argmax of logits − T log(−log u), in float64; T = 0 is the argmax.

    float32 would cut off the tails of the noise: the draws come out with too little entropy."""
    if temperature == 0.0:
        return logits.argmax(-1)
    tiny = torch.finfo(torch.float64).tiny
    noise = -torch.log(-torch.log(uniforms.double().clamp(min=tiny)))
    return (logits.double() + temperature * noise).argmax(-1)
