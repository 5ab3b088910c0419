"""Tuning towards p_ref e^{R/β}, β by a budget of divergence: settings and recipes. Imports no PyTorch."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.discrete_diffusion.steering.options import TUNING, RewardName, SteeringEvaluation
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least
from tenfold.training.config import TrainingConfig


@dataclass(frozen=True)
class RewardObjective:
    """Tuning towards p_ref e^{R/β}, β by a budget of divergence.

    Attributes:
        start: run or model folder of the masked model that is tuned, and that stays the reference.
        reward: "testament" (the log-odds of a classifier of character trigrams that tells the New Testament from the
            Old, trained on the validation blocks), or "word_length" (letters of a word, on average).
        form: "sites" (the reward of every token at some masks), or "weights" (the cross entropy of samples drawn by
            e^{R/β}).
        sites: masks of a row of the former.
        budget: nats a sequence of KL(p^R ‖ p_ref): β is the least that the pool keeps it with. The effective sample
            size of the pool falls about as e^(−2 budget).
        pool: samples of the reference.
        pool_steps: of their sampler.
        penalty: weight of w_t KL(p_θ ‖ p_ref) against the bound, at first; it grows while the budget is exceeded, and
            falls otherwise.
    """

    start: str = "runs/kjv-masked"
    reward: RewardName = "testament"
    form: Literal["sites", "weights"] = "sites"
    sites: int = 8
    budget: float = 1.0
    pool: int = 2048
    pool_steps: int = 64
    penalty: float = 0.1

    def __post_init__(self) -> None:
        at_least(self, "objective", pool=64, pool_steps=1, sites=1)
        if not (math.isfinite(self.budget) and self.budget > 0):
            raise UsageError(f"objective.budget is {self.budget}; give a positive number of nats")
        if not self.penalty > 0:
            raise UsageError(f"objective.penalty is {self.penalty}; it must be positive")


@dataclass(frozen=True)
class RewardRecipe(Recipe):
    """A masked model tuned towards a reward."""

    system: ClassVar[str] = "discrete-reward"
    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: RewardObjective = field(default_factory=RewardObjective)
    train: TrainingConfig = TUNING
    evaluation: SteeringEvaluation = field(default_factory=SteeringEvaluation)


RECIPES: dict[str, Named] = {
    "kjv-reward": Named(
        "a masked model (--objective.start) tuned towards the New Testament's style within a nat",
        RewardRecipe(),
    ),
    "kjv-reward-weights": Named(
        "the same by the cross entropy of samples drawn by their weights",
        RewardRecipe(objective=RewardObjective(form="weights", penalty=0.3)),
    ),
}
