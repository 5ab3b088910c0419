"""Learning from an autoregressive teacher, beside the data: settings and recipes. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionEvaluation
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least
from tenfold.training.config import TrainingConfig


@dataclass(frozen=True)
class DistilObjective:
    """Learning from an autoregressive teacher, beside the data.

    Attributes:
        teacher: run or model folder of the autoregressive model.
        start: run or model folder of a masked model to start from; "" for fresh weights.
        method: of the teacher's ratios: "exact" (suffixes are read), or "first_order" (one gradient).
        candidates: the teacher's best tokens that are compared at a site, and the token itself; 0 for all.
        sites: places, the same in all rows, at which the teacher is asked for what is masked; 0 for none.
        samples: rows that the teacher writes before training, to be trained on besides those of the data; 0 for none.
        share: of the teacher's distribution in the target of a site that it is asked for; the rest is the data's token.
        temperature: of the targets.
    """

    teacher: str = "runs/kjv-ar"
    start: str = ""
    method: Literal["exact", "first_order"] = "exact"
    candidates: int = 4
    sites: int = 16
    samples: int = 0
    share: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, "objective", sites=0, samples=0, candidates=0)
        if not self.sites and not self.samples:
            raise UsageError("objective.sites and objective.samples are both 0, so nothing is learnt from the teacher; "
                             "set one of them")  # fmt: skip
        if not 0 < self.share <= 1:
            raise UsageError(f"objective.share is {self.share}; the teacher's share lies in (0, 1]")
        if not self.temperature > 0:
            raise UsageError(f"objective.temperature is {self.temperature}; it must be positive")


@dataclass(frozen=True)
class DistilRecipe(Recipe):
    """A masked model that learns from an autoregressive one."""

    system: ClassVar[str] = "discrete-distil"
    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: DistilObjective = field(default_factory=DistilObjective)
    train: TrainingConfig = MASKED.train
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


_DISTIL = DistilRecipe()
RECIPES: dict[str, Named] = {
    "kjv-distil": Named(
        "kjv-masked's network from an autoregressive teacher (--objective.teacher): its best letters, suffixes read",
        _DISTIL,
    ),
    "kjv-distil-first-order": Named(
        "the same from one gradient of the teacher for all letters",
        replace(_DISTIL, objective=DistilObjective(method="first_order", candidates=0, sites=64, share=0.5)),
    ),
    "kjv-distil-few": Named(
        "kjv-masked's network from 200 rows of the text and 16,384 that the teacher writes (--objective.teacher)",
        replace(
            _DISTIL,
            data=replace(_DISTIL.data, rows=200),
            objective=DistilObjective(sites=0, samples=16384),
        ),
    ),
}
