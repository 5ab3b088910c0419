"""Particles with their weights: what a sampler returns, and says of itself whether it was resampled."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from tenfold.smc.adaptive import gather_particles
from tenfold.smc.resampling import draw_ancestors, uniforms_of
from tenfold.smc.weights import check_log_weights, effective_sample_size, normalised_weights
from tenfold.training.streams import Draws


@dataclass(frozen=True)
class WeightedParticles:
    """Populations of weighted particles.

    Attributes:
        particles: (m, n, ...) of any type.
        log_weights: (m, n); −∞ marks the dead. All 0 after resampling.
        resampled: whether particles were drawn by their weights, so that all count alike.

    Raises:
        UsageError: NaN or +∞ among the weights, or a population without a living particle.
    """

    particles: Shaped[Tensor, "m n *shape"]
    log_weights: Float[Tensor, "m n"]
    resampled: bool = False

    def __post_init__(self) -> None:
        check_log_weights(self.log_weights)

    @property
    def weights(self) -> Float[Tensor, "m n"]:
        """Normalised within each population, float64."""
        return normalised_weights(self.log_weights)

    @property
    def alive(self) -> Bool[Tensor, "m n"]:
        """Which particles have a weight above 0."""
        return self.log_weights > -torch.inf

    @property
    def effective_size(self) -> Float[Tensor, " m"]:
        """Of each population."""
        return effective_sample_size(self.log_weights)

    def mean(self, function: Callable[[Tensor], Tensor] = lambda x: x) -> Float[Tensor, "m *shape"]:
        """Σ W_i f(x_i) of each population, float64; f takes all particles (m n, ...) to (m n, ...). Dead particles do
        not count, whatever f makes of them."""
        m, n = self.log_weights.shape
        values = function(self.particles.flatten(0, 1)).double().unflatten(0, (m, n))
        extra = (1,) * (values.ndim - 2)
        alive, weights = self.alive.view(m, n, *extra), self.weights.view(m, n, *extra)
        return (weights * torch.where(alive, values, 0.0)).sum(1)

    def resample(self, count: int | None = None, scheme: str = "systematic", seed: int = 0) -> "WeightedParticles":
        """Particles of equal weight, ``count`` a population (n by default), drawn by the weights."""
        m, n = self.log_weights.shape
        count = n if count is None else count
        index = torch.arange(m, device=self.log_weights.device)
        shape = (uniforms_of(scheme, count),)
        uniforms = Draws(seed, 0).uniform("final resampling", index, shape, torch.float64)
        chosen = draw_ancestors(self.log_weights, uniforms, scheme, count)
        particles = gather_particles(self.particles, chosen)
        return WeightedParticles(particles, self.log_weights.new_zeros(m, count), True)

    def pooled(self, log_z: Float[Tensor, " m"]) -> "WeightedParticles":
        """One population of all: each weighted by its estimate of the evidence, which makes means over all particles
        consistent in the number of populations."""
        spread = self.log_weights.double()
        scaled = spread - spread.logsumexp(-1, keepdim=True) + log_z.double()[:, None] + math.log(spread.shape[1])
        return WeightedParticles(self.particles.flatten(0, 1)[None], scaled.flatten()[None])
