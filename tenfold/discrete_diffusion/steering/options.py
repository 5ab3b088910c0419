"""What every way of steering can be told: where it starts, how it is measured. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tenfold.data.text.config import CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.runs.recipe import Recipe
from tenfold.settings.checks import at_least
from tenfold.training.config import TrainingConfig

RewardName = Literal["testament", "word_length"]
TUNING = replace(
    MASKED.train, steps=400, learning_rate=3e-4, warmup_steps=20, batch_size=32, validate_every=0, log_every=10
)
"""Training that goes on from the model of "kjv-masked"."""


@dataclass(frozen=True)
class SteeringEvaluation:
    """What is measured of a tuned model.

    Attributes:
        samples: of either model, for rewards and divergences.
        steps: of the sampler.
        draws: of noise a row, for the bound.
        rows: most test rows that are scored; 0 for all.
        batch: rows computed together.
    """

    samples: int = 512
    steps: int = 32
    draws: int = 4
    rows: int = 512
    batch: int = 64

    def __post_init__(self) -> None:
        at_least(self, "evaluation", samples=2, steps=1, draws=1, rows=0, batch=1)


@dataclass(frozen=True)
class SteeringRecipe(Recipe):
    """What the recipes of all ways have, on characters; each has an objective of its own."""

    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: Any = None
    train: TrainingConfig = TUNING
    evaluation: Any = field(default_factory=SteeringEvaluation)
