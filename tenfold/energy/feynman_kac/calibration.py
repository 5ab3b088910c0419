"""The constant of an energy at every level, log Z(σ) = log ∫ exp(−E(x, σ)) dx, measured by the sampler itself: energies
become densities, which mixtures, likelihoods and comparisons of models need."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.composition.algebra import Composable, composed
from tenfold.energy.density import Density
from tenfold.energy.feynman_kac.options import ControlOptions, GridOptions, MoveOptions
from tenfold.energy.feynman_kac.sampler import ParticleSampler
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_FEWEST = 8


@dataclass(frozen=True)
class Calibrated(Composable):
    """An energy less its measured log Z(σ), linear in ln σ between levels and constant beyond them.

    Attributes:
        energy: as it was.
        sigma: (t,) rising levels.
        log_z: (t,) log Z there.
        standard_error: (t,) of log Z, over populations.
    """

    energy: Density
    sigma: Float[Tensor, " t"]
    log_z: Float[Tensor, " t"]
    standard_error: Float[Tensor, " t"]
    normalised = True

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.energy.shape)

    @property
    def data_scale(self) -> float:
        """σ_d."""
        return float(self.energy.data_scale)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """Levels between which log Z was measured."""
        return float(self.sigma[0]), float(self.sigma[-1])

    def offset(self, sigma: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """log Z(σ), float64."""
        grid, values = self.sigma.to(sigma.device).log(), self.log_z.to(sigma.device)
        at = sigma.double().log().clamp(grid[0], grid[-1])
        upper = torch.searchsorted(grid, at.contiguous()).clamp(1, len(grid) - 1)
        share = (at - grid[upper - 1]) / (grid[upper] - grid[upper - 1])
        return values[upper - 1] + share * (values[upper] - values[upper - 1])

    def log_density(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """log p_σ(x) = −E(x, σ) − log Z(σ)."""
        return self.energy.log_density(x, sigma) - self.offset(sigma).to(x.dtype)

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """That of the energy."""
        return self.energy.score(x, sigma)

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both."""
        log, score = self.energy.log_density_and_score(x, sigma)
        return log - self.offset(sigma).to(log.dtype), score


@read_arguments
def calibrate(
    model: Any,
    grid: GridOptions | Tensor | None = None,
    *,
    populations: int = _FEWEST,
    particles: int = 256,
    seed: int = 0,
    moves: MoveOptions | None = None,
    control: ControlOptions | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    chunk: int | None = None,
) -> Calibrated:
    """Run exact weights on γ = exp(−E) from a known Gaussian, and keep log Z at every level.

    Args:
        model: an energy or a composition of energies without rewards.
        grid: levels; log Z is interpolated between them.
        populations: at least 8, over which the standard error is.
        particles, seed, moves, control, dtype, device, chunk: of the sampler.

    Raises:
        UsageError: fewer populations, a score without an energy, or rewards.
    """
    if populations < _FEWEST:
        raise UsageError(f"populations is {populations}; a standard error worth the name needs at least {_FEWEST}")
    target = composed(model)
    if target.rewards:
        raise UsageError("a target with rewards has no density at every level; calibrate the energies without them")
    sampler = ParticleSampler(target, grid, moves=moves, control=control)
    run = sampler.sample(populations, particles, seed, dtype=dtype, device=device, chunk=chunk)
    path = run.log_path.cpu()
    means = path.logsumexp(1) - math.log(populations)
    errors = (path - means[:, None]).exp().std(1) / math.sqrt(populations)
    energy: Density = target if len(target.terms) > 1 or target.terms[0].power != 1 else target.terms[0].model  # type: ignore[assignment]
    return Calibrated(energy, run.sigma.flip(0), means.flip(0), errors.flip(0))
