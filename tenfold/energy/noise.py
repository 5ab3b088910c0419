"""Noise levels, and the conventions that other models write them in.

Here x_σ = x_0 + σ n (variance exploding; EDM, arXiv 2206.00364). Everything else has a scale α and a noise s in
x_t = α x_0 + s n, and is the same family of densities: σ = s/α and x_σ = x_t/α, so that one denoiser serves all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments

Prediction = Literal["x0", "epsilon", "v", "score", "velocity"]
_PREDICTIONS = ("x0", "epsilon", "v", "score", "velocity")


@read_arguments
def karras_grid(steps: int, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> Float[Tensor, " t"]:
    """steps + 1 falling levels σ_i = (σ_max^{1/ρ} + i/steps (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ, float64 (EDM, Eq. 5).

    The last is σ_min, not 0: a density at σ = 0 is none.

    Raises UsageError unless steps ≥ 1, 0 < sigma_min < sigma_max and rho > 0.

    >>> karras_grid(2, 1.0, 9.0, rho=2.0).tolist()
    [9.0, 4.0, 1.0]
    """
    if steps < 1:
        raise UsageError(f"steps is {steps}; a grid of noise levels has at least one step")
    if not 0 < sigma_min < sigma_max:
        raise UsageError(f"sigma_min is {sigma_min} and sigma_max is {sigma_max}; 0 < sigma_min < sigma_max is needed")
    if not rho > 0:
        raise UsageError(f"rho is {rho}; it must be positive")
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    grid = (high + share * (low - high)) ** rho
    grid[0], grid[-1] = sigma_max, sigma_min
    return grid


def check_grid(sigma: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """The grid in float64; UsageError unless it falls strictly, is finite and stays above 0."""
    grid = sigma.double()
    if len(grid) < 2:
        raise UsageError(f"the grid of noise levels has {len(grid)} level(s); give at least two")
    if not bool(grid.isfinite().all()) or not bool((grid > 0).all()):
        bad = next(float(s) for s in grid if not 0 < float(s) < math.inf)
        raise UsageError(
            f"the grid of noise levels holds {bad:g}; densities exist at finite levels above 0 only, end at 0.002 say"
        )
    if not bool((grid[1:] < grid[:-1]).all()):
        at = int((grid[1:] >= grid[:-1]).nonzero()[0, 0])
        raise UsageError(
            f"the grid of noise levels does not fall from {float(grid[at]):g} to {float(grid[at + 1]):g}; give levels "
            "in strictly falling order"
        )
    return grid


class ScaleAndNoise(NamedTuple):
    """α and s of x_t = α x_0 + s n."""

    scale: Float[Tensor, "*n"]
    noise: Float[Tensor, "*n"]


def variance_preserving(sigma: Float[Tensor, "*n"]) -> ScaleAndNoise:
    """α = 1/√(1 + σ²), s = σ α: α² + s² = 1."""
    scale = (1 + sigma.square()).rsqrt()
    return ScaleAndNoise(scale, sigma * scale)


def flow_matching(sigma: Float[Tensor, "*n"]) -> ScaleAndNoise:
    """x_t = (1 − t) x_0 + t n: α = 1/(1 + σ), s = t = σ/(1 + σ)."""
    return ScaleAndNoise(1 / (1 + sigma), sigma / (1 + sigma))


def variance_exploding(sigma: Float[Tensor, "*n"]) -> ScaleAndNoise:
    """α = 1, s = σ: the convention of this room, and EDM's."""
    return ScaleAndNoise(torch.ones_like(sigma), sigma)


def sigma_of(scale: Float[Tensor, "*n"], noise: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """σ = s/α.

    Raises UsageError where α is 0, where σ would be infinite.
    """
    if not bool((scale > 0).all()):
        raise UsageError(
            "a scale alpha is 0 or less, so sigma = s/alpha is infinite; leave out the level of pure noise"
        )
    return noise / scale


@dataclass(frozen=True)
class LinearBeta:
    """dx = −½ β(t) x dt + √β(t) dW with β(t) = β_min + t (β_max − β_min), t in [0, 1]: VP (Song et al. 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def sigma(self, t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """σ(t) = √(exp(½ (β_max − β_min) t² + β_min t) − 1)."""
        return torch.expm1((self.beta_max - self.beta_min) * t.square() / 2 + self.beta_min * t).sqrt()

    def time(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Its inverse: t = (√(β_min² + 2 (β_max − β_min) ln(1 + σ²)) − β_min)/(β_max − β_min)."""
        slope = self.beta_max - self.beta_min
        return ((self.beta_min**2 + 2 * slope * sigma.square().log1p()).sqrt() - self.beta_min) / slope


class DdpmLevels:
    """σ_i = √((1 − ᾱ_i)/ᾱ_i) of a DDPM with steps 0, 1, ..., and the nearest step or a fractional one of a σ.

    Args:
        alphas_bar: (t,) ᾱ_i, strictly falling in (0, 1).

    Raises:
        UsageError: otherwise.
    """

    def __init__(self, alphas_bar: Float[Tensor, " t"]) -> None:
        values = alphas_bar.double()
        if not bool(((values > 0) & (values < 1)).all()) or not bool((values[1:] < values[:-1]).all()):
            raise UsageError("alphas_bar must fall strictly within (0, 1); pass the cumulative products of 1 − beta")
        self.levels = ((1 - values) / values).sqrt()

    def sigma(self, index: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Of steps."""
        return self.levels.to(index.device)[index]

    def index(self, sigma: Float[Tensor, "*n"]) -> Int[Tensor, "*n"]:
        """The step whose level is nearest in ln σ."""
        logs = self.levels.log().to(sigma.device)
        upper = torch.searchsorted(logs, sigma.double().log().contiguous()).clamp(1, len(logs) - 1)
        wanted = sigma.double().log()
        return upper - ((wanted - logs[upper - 1]) < (logs[upper] - wanted)).long()


def denoised(
    prediction: Float[Tensor, "n *shape"],
    x: Float[Tensor, "n *shape"],
    scale: Float[Tensor, "*n"],
    noise: Float[Tensor, "*n"],
    kind: str,
) -> Float[Tensor, "n *shape"]:
    """D = E[x_0 | x_t] from what a network predicts of x_t = α x_0 + s n.

    Args:
        prediction: of the network at ``x``.
        x: x_t, not rescaled.
        scale, noise: α and s, one number or one a sample.
        kind: "x0"; "epsilon", D = (x − s ε)/α; "v" of variance-preserving noise, D = α x − s v; "velocity" of flow
            matching, n − x_0, D = x − t v; "score" of p_t, D = (x + s² score)/α.

    Raises:
        UsageError: an unknown kind: nothing in a network says it, so it must be declared.
    """
    if kind not in _PREDICTIONS:
        raise UsageError(f"the network's prediction is declared as {kind!r}{suggest(str(kind), _PREDICTIONS)}")
    a, s = _each(scale, x), _each(noise, x)
    if kind == "epsilon":
        return (x - s * prediction) / a
    if kind == "v":
        return a * x - s * prediction
    if kind == "velocity":
        return x - s * prediction
    if kind == "score":
        return (x + s.square() * prediction) / a
    return prediction


def score_of(
    denoised: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
) -> Float[Tensor, "n *shape"]:
    """∇ log p_σ(x) = (D(x, σ) − x)/σ² (Tweedie), of variance-exploding noise."""
    return (denoised - x) / _each(sigma, x).square()


def log_density_in(
    scale: Float[Tensor, "*n"], log_density: Float[Tensor, " n"], dimensions: int
) -> Float[Tensor, " n"]:
    """log p_t(x_t) = log p_σ(x_t/α) − d log α: a log density of this room in another convention."""
    return log_density - dimensions * scale.log()


def in_convention(
    function: Callable[[Tensor, Tensor], Tensor], convention: Callable[[Tensor], ScaleAndNoise]
) -> Callable[[Float[Tensor, "n *shape"], Float[Tensor, "*n"]], Float[Tensor, "n *shape"]]:
    """The denoiser D(x, σ) of this room from one that reads (x_t, σ) in another convention."""

    def denoiser(x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        return function(_each(convention(sigma).scale, x) * x, sigma)

    return denoiser


def _each(value: Float[Tensor, "*n"], x: Float[Tensor, "n *shape"]) -> Tensor:
    """A number, or one a sample, to be multiplied with samples."""
    return value if value.ndim == 0 else value.reshape(-1, *(1,) * (x.ndim - 1))
