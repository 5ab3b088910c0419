"""What every way of steering can be told: where it starts, how it is measured. Imports no PyTorch."""

from dataclasses import dataclass, replace
from typing import Literal

from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.settings.checks import at_least

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
