"""The parts of a composition: models with powers, and what a target says of samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.density import Density, Score
from tenfold.errors import UsageError

Power = float | Callable[[Tensor], Tensor]
"""β, or β(σ) from a tensor () to a tensor ()."""
Wanted = Literal["both", "density", "score"]


class Term(NamedTuple):
    """A model and the power of its density."""

    model: Score
    power: Power

    def at(self, sigma: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """β(σ), float64."""
        value = self.power(sigma) if callable(self.power) else self.power
        return torch.as_tensor(value, dtype=torch.float64, device=sigma.device)


@dataclass(frozen=True)
class Evaluated:
    """A target at samples x (n, ...) of one level; None for what was not asked for.

    Attributes:
        log_models: Σ β_i log p_i, float64 (n,).
        score: Σ β_i ∇ log p_i.
        reward: Σ r, float64 (n,), None without rewards.
        ascent: Σ ∇r.
        logs: log p_i of each model (n, k), float64.
        scores: ∇ log p_i of each model (n, k, ...).
    """

    log_models: Tensor | None = None
    score: Tensor | None = None
    reward: Tensor | None = None
    ascent: Tensor | None = None
    logs: Tensor | None = None
    scores: Tensor | None = None

    @property
    def log_density(self) -> Tensor:
        """log γ, float64 (n,)."""
        assert self.log_models is not None
        return self.log_models if self.reward is None else self.log_models + self.reward

    @property
    def full_score(self) -> Tensor:
        """∇ log γ, the rewards' directions included."""
        assert self.score is not None
        return self.score if self.ascent is None else self.score + self.ascent

    def map(self, function: Callable[[Tensor], Tensor]) -> "Evaluated":
        """Every tensor changed in the same way."""
        return Evaluated(**{k: None if v is None else function(v) for k, v in vars(self).items()})

    def where(self, chosen: Tensor, other: "Evaluated") -> "Evaluated":
        """This where ``chosen`` (n,), and the other elsewhere."""
        made = {}
        for name, own in vars(self).items():
            theirs = getattr(other, name)
            made[name] = None if own is None else torch.where(chosen.view(-1, *(1,) * (own.ndim - 1)), own, theirs)
        return Evaluated(**made)


def ask_model(model: Score, x: Tensor, sigma: Tensor, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """log p float64 and the score of one model; an empty tensor for what is not wanted."""
    empty = x.new_empty(0)
    if wanted == "score":
        return empty, model.score(x, sigma)
    energy = energy_of(model)
    log, score = (
        (energy.log_density(x, sigma), empty) if wanted == "density" else energy.log_density_and_score(x, sigma)
    )
    if log.shape != x.shape[:1]:
        raise UsageError(
            f"{type(model).__name__} returned log densities of shape {tuple(log.shape)} for {len(x)} samples; an "
            f"energy is one number a sample, ({len(x)},)"
        )
    if log.dtype == torch.float16:
        raise UsageError(f"{type(model).__name__} computes energies in float16, which overflow; sum them in float32")
    return log.double(), score


def energy_of(model: Any) -> Density:
    """The model, if it has a log density; UsageError otherwise."""
    if not isinstance(model, Density):
        raise UsageError(
            f"{type(model).__name__} is a score without an energy; distil it into one first, or choose weights that "
            "need scores alone ('twisted' or 'continuous')"
        )
    return model


def weighted(scores: Tensor, powers: Tensor) -> Tensor:
    """Σ β_i s_i over the models of scores (n, k, ...)."""
    return (scores * powers.to(scores).view(1, -1, *(1,) * (scores.ndim - 2))).sum(1)


def sum_of_powers(powers: list[Power]) -> Power:
    """Of a model that stands in a composition several times."""
    if any(callable(p) for p in powers):
        return lambda sigma: sum((power_at(p, sigma) for p in powers), sigma.new_zeros(()))
    return float(sum(powers))  # type: ignore[arg-type]


def times(power: Power, factor: Power) -> Power:
    """A power of a power."""
    if callable(power) or callable(factor):
        return lambda sigma: power_at(power, sigma) * power_at(factor, sigma)
    return float(power) * float(factor)


def power_at(power: Power, sigma: Tensor) -> Tensor:
    """β(σ)."""
    return torch.as_tensor(power(sigma) if callable(power) else power, dtype=sigma.dtype, device=sigma.device)
