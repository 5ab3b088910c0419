"""Probabilities of rare events: particles are steered into the event, and their weights take the steering back."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.composition.algebra import composed
from tenfold.energy.composition.rewards import RewardPath
from tenfold.energy.feynman_kac.options import (
    ControlOptions,
    GridOptions,
    MoveOptions,
    ProposalOptions,
    ResamplingOptions,
    WeightOptions,
)
from tenfold.energy.feynman_kac.sampler import ParticleSampler
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_LAWS = {
    "exact": "the model's density at sigma_min",
    "base": "the discretised sampler of the model",
}


@dataclass(frozen=True)
class EventProbability:
    """P(E) as the mean over populations, its standard error, each population's estimate, and what law it is of."""

    probability: float
    standard_error: float
    estimates: Float[Tensor, " m"]
    law: str
    units: int


@read_arguments
def event_probability(
    model: Any,
    event: Callable[[Tensor], Tensor],
    steering: RewardPath,
    *,
    weights: Literal["exact", "base"] = "exact",
    grid: GridOptions | Tensor | None = None,
    populations: int = 32,
    particles: int = 256,
    seed: int = 0,
    moves: MoveOptions | None = None,
    proposal: ProposalOptions | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    chunk: int | None = None,
) -> EventProbability:
    """(1/N) Σ w e^{−r(x)} 1_E(x) with the un-normalised weights w of the steered run: unbiased for any steering, number
    of steps and particles (DireSMC; steering sets the variance alone).

    Args:
        model: an energy, or for ``weights="base"`` any score.
        event: samples (n, ...) to whether each is in it, (n,) bool.
        steering: a reward or a constraint that leads into the event; it acts softly at the last level too.
        weights: "exact" measures p at σ_min by the energy; "base" the law of the discretised sampler, by scores alone.
        grid, moves, proposal: of the sampler.
        populations: at least 2; the standard error is over them.
        particles, seed, dtype, device, chunk: of the sampler.

    Raises:
        UsageError: fewer than 2 populations, an energy that is not normalised under exact weights, or an event that
            returns something else.
    """
    if weights not in _LAWS:
        raise UsageError(f"weights is {weights!r}; choose 'exact' or 'base'")
    if populations < 2:
        raise UsageError(f"populations is {populations}; a standard error needs at least 2")
    base = composed(model)
    if weights == "exact" and not base.normalised:
        raise UsageError(
            "the probability of an event needs a normalised density, and the model's constant is unknown; calibrate it "
            "first (calibrate), or choose weights='base'"
        )
    soft: Any = steering
    if dataclasses.is_dataclass(soft) and getattr(soft, "hard", False):
        soft = dataclasses.replace(soft, hard=False)  # type: ignore[type-var]
    target = base + soft
    sampler = ParticleSampler(
        target,
        grid,
        proposal=proposal,
        weights=WeightOptions("exact" if weights == "exact" else "twisted"),
        resampling=ResamplingOptions(),
        moves=moves,
        control=ControlOptions("none"),
    )
    run = sampler.sample(populations, particles, seed, dtype=dtype, device=device, chunk=chunk)
    x = run.particles.flatten(0, 1)
    inside = event(x)
    if inside.shape != x.shape[:1] or inside.dtype != torch.bool:
        raise UsageError(
            f"the event returned {tuple(inside.shape)} {inside.dtype}; it must return ({len(x)},) true or false"
        )
    last = run.sigma[-1].to(x.device)
    found = target.evaluate(x, last, "score", last=True)
    assert found.reward is not None
    back = torch.where(inside, -found.reward, -torch.inf).view(populations, particles)
    logs = run.log_z - run.log_weights.logsumexp(1) + (run.log_weights + back).logsumexp(1)
    estimates = logs.exp()
    error = float(estimates.std()) / math.sqrt(populations)
    return EventProbability(float(estimates.mean()), error, estimates, _LAWS[weights], run.units)
