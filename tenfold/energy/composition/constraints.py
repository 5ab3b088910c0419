"""Constraints on samples as rewards: the probability that the clean sample keeps them, if it is N(D(x, σ), τ² I) with
τ² = σ²σ_d²/(σ² + σ_d²), and at the last level whether the sample itself does (0 or −∞)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.composition.rewards import shrink
from tenfold.errors import UsageError

Bound = float | Tensor
"""A number, or a tensor that broadcasts over one sample."""


@dataclass(frozen=True)
class InBox:
    """lo ≤ x ≤ hi in every coordinate: r_σ = Σ_j log[Φ((hi_j − D_j)/τ) − Φ((lo_j − D_j)/τ)].

    Attributes:
        low, high: a number, or a tensor that broadcasts over one sample; infinities leave a side open.
        hard: whether the last level asks for the sample itself, or stays as soft as the others.

    Raises:
        UsageError: low is not below high everywhere, or is NaN.
    """

    low: Bound
    high: Bound
    hard: bool = True
    looks_ahead = True

    def __post_init__(self) -> None:
        low, high = (torch.as_tensor(bound, dtype=torch.float64) for bound in (self.low, self.high))
        if not bool((low < high).all()):
            raise UsageError(f"a box from {self.low} to {self.high} is empty; low must be below high everywhere")

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """As RewardPath says."""
        low, high = (torch.as_tensor(bound, dtype=x.dtype, device=x.device) for bound in (self.low, self.high))
        if last and self.hard:
            kept = ((x >= low) & (x <= high)).flatten(1).all(1)
            return torch.where(kept, 0.0, -torch.inf).to(x.dtype), torch.zeros_like(x)
        assert denoised is not None
        tau = (sigma.square() * shrink(sigma, data_scale)).sqrt()
        value, slope = _log_between((low - denoised).double() / tau, (high - denoised).double() / tau)
        gradient = shrink(sigma, data_scale) / tau * slope
        return value.flatten(1).sum(1).to(x.dtype), gradient.to(x.dtype)


@dataclass(frozen=True)
class InHalfSpace:
    """⟨a, x⟩ ≥ c: r_σ = log Φ((⟨a, D⟩ − c)/(τ‖a‖)).

    Attributes:
        normal: a, of the shape of one sample.
        offset: c.
        hard: whether the last level asks for the sample itself, or stays as soft as the others.

    Raises:
        UsageError: a is 0 or not finite.
    """

    normal: Float[Tensor, "*shape"]
    offset: float
    hard: bool = True
    looks_ahead = True

    def __post_init__(self) -> None:
        length = float(self.normal.double().norm())
        if not 0 < length < torch.inf:
            raise UsageError(f"the normal of a half-space has length {length}; give a finite vector that is not 0")

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """As RewardPath says."""
        normal = self.normal.to(x)
        if last and self.hard:
            kept = (x * normal).flatten(1).sum(1) >= self.offset
            return torch.where(kept, 0.0, -torch.inf).to(x.dtype), torch.zeros_like(x)
        assert denoised is not None
        spread = (sigma.square() * shrink(sigma, data_scale)).sqrt() * normal.norm().double()
        z = ((denoised * normal).flatten(1).sum(1).double() - self.offset) / spread
        value = torch.special.log_ndtr(z)
        slope = shrink(sigma, data_scale) / spread * (_log_normal(z) - value).exp()
        return value.to(x.dtype), slope.to(x.dtype).view(-1, *(1,) * normal.ndim) * normal


def _log_normal(z: Tensor) -> Tensor:
    return -z.square() / 2 - 0.9189385332046727


def _log_between(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """log(Φ(high) − Φ(low)), and its derivative along a shift of the mean, (φ(low) − φ(high))/(Φ(high) − Φ(low)).

    Mirrored to the side where both Φ are small, so that far tails keep their digits."""
    mirror = low + high > 0
    a, b = torch.where(mirror, -high, low), torch.where(mirror, -low, high)
    upper, lower = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    value = upper + torch.log1p(-(lower - upper).exp())
    at_low, at_high = (_log_normal(low) - value).exp(), (_log_normal(high) - value).exp()
    return value, at_low - at_high
