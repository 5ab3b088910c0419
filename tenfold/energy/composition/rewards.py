"""Rewards r_σ(x) that tilt a target by e^{r_σ}: the user's reward at the last level, and less of it at higher noise."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError

Function = Callable[[Tensor], Tensor]
"""A reward of clean samples: (n, ...) to (n,), differentiable."""


@runtime_checkable
class RewardPath(Protocol):
    """r_σ(x), and a direction of ascent.

    Attributes:
        looks_ahead: whether it reads the denoiser's D(x, σ).
    """

    looks_ahead: bool

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """r_σ(x) (n,), −∞ where nothing is allowed, and ∇r_σ (n, ...) or what stands for it in a proposal.

        Args:
            x: noisy samples.
            sigma: their level.
            denoised: D(x, σ), if it looks ahead.
            data_scale: σ_d.
            last: whether it is the last level, where r is the user's reward itself.
        """
        ...


def shrink(sigma: Float[Tensor, ""], data_scale: float) -> Float[Tensor, ""]:
    """σ_d²/(σ² + σ_d²): ∂D/∂x of Gaussian data. It stands for the Jacobian of the denoiser in directions that only
    propose, which saves a second backward pass through the network."""
    return data_scale**2 / (sigma.square() + data_scale**2)


@dataclass(frozen=True)
class _Scalable:
    """What a number multiplies."""

    weight: float = 1.0

    def __rmul__(self, factor: float) -> Any:
        """A multiple of the reward."""
        return replace(self, weight=factor * self.weight)

    __mul__ = __rmul__


@dataclass(frozen=True)
class LookAhead(_Scalable):
    """r_σ(x) = w r(D(x, σ)): the reward of where the denoiser thinks the sample goes; w r(x) at the last level."""

    function: Function = torch.sum
    looks_ahead = True

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """As RewardPath says; the direction is σ_d²/(σ² + σ_d²) ∇r at D."""
        if last:
            return _with_gradient(self.function, x, self.weight)
        assert denoised is not None
        value, gradient = _with_gradient(self.function, denoised, self.weight)
        return value, shrink(sigma, data_scale).to(x.dtype) * gradient


@dataclass(frozen=True)
class Annealed(_Scalable):
    """r_σ(x) = w λ(σ) r(x), with λ rising from 0 to 1 as σ falls: λ = ``scale``²/(σ² + ``scale``²).

    The gradient is exact, and the value needs no denoiser; r must bear noisy samples.
    """

    function: Function = torch.sum
    scale: float = 1.0
    looks_ahead = False

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """As RewardPath says."""
        strength = x.new_ones(()) if last else shrink(sigma, self.scale).to(x.dtype)
        value, gradient = _with_gradient(self.function, x, self.weight)
        return strength * value, strength * gradient


def reward(
    function: Function, path: str = "look-ahead", weight: float = 1.0, scale: float = 1.0
) -> LookAhead | Annealed:
    """A reward of clean samples as a path over noise levels; ``target + reward(f)`` is the target times e^f.

    Args:
        function: (n, ...) to (n,) finite numbers; differentiable by PyTorch.
        path: "look-ahead" asks it about the denoised sample, "annealed" about the noisy one, at a growing strength.
        weight: factor.
        scale: of "annealed": the σ at which half of the strength is reached.

    Raises:
        UsageError: an unknown path, or a scale that is not positive.
    """
    if path not in ("look-ahead", "annealed"):
        raise UsageError(f"path is {path!r}; choose 'look-ahead' or 'annealed'")
    if not scale > 0:
        raise UsageError(f"scale is {scale}; the sigma of half strength must be positive")
    return LookAhead(weight, function) if path == "look-ahead" else Annealed(weight, function, scale)


def _with_gradient(function: Function, x: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        inner = x.detach().requires_grad_()
        value = function(inner)
        if not isinstance(value, Tensor) or value.shape != x.shape[:1]:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"the reward returned {shape} for {len(x)} samples; it must return one number each, ({len(x)},)"
            )
        (gradient,) = torch.autograd.grad(value.sum(), inner)
    return weight * value.detach(), weight * gradient
