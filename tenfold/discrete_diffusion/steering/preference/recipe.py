"""Learning from pairs of the reference's samples: settings and recipes. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

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
class PreferenceObjective:
    """Learning from pairs of the reference's samples, the preferred one drawn by Bradley-Terry on a reward.

    Attributes:
        start: run or model folder of the masked model that is tuned, and that stays the reference.
        reward: as of reward tuning; the task itself sees who wins only.
        beta: of the loss: the optimum is p_ref e^{R/β}.
        noises: patterns of masks for a pair, the same for all four terms.
        pool: samples of the reference that are paired; a quarter is held out.
        pool_steps: of their sampler.
    """

    start: str = "runs/kjv-masked"
    reward: RewardName = "testament"
    beta: float = 0.5
    noises: int = 4
    pool: int = 2048
    pool_steps: int = 64

    def __post_init__(self) -> None:
        at_least(self, "objective", pool=64, pool_steps=1, noises=1)
        if not self.beta > 0:
            raise UsageError(f"objective.beta is {self.beta}; it must be positive")


_TRAIN = replace(TUNING, batch_size=16)


@dataclass(frozen=True)
class PreferenceRecipe(Recipe):
    """A masked model tuned on pairs."""

    system: ClassVar[str] = "discrete-preference"
    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: PreferenceObjective = field(default_factory=PreferenceObjective)
    train: TrainingConfig = _TRAIN
    evaluation: SteeringEvaluation = field(default_factory=SteeringEvaluation)


RECIPES: dict[str, Named] = {
    "kjv-preference": Named(
        "the same model tuned on pairs of its samples, of which the New Testament's style wins",
        PreferenceRecipe(),
    ),
}
