"""A density ratio of data against a masked model's own draws: settings and recipes. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionSampling
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least
from tenfold.training.config import TrainingConfig


@dataclass(frozen=True)
class RatioObjective:
    """A density ratio of data against a masked model's own draws, given the same noisy sequence.

    Attributes:
        start: run or model folder of the masked model: the reference, and the ratio network's first weights.
        loss: "bce" (logistic: arXiv 2410.21357), "lsif" (least squares) or "generalised_kl".
        draws: of the reference for each noisy sequence.
        cap: log r beyond which the loss goes on as its tangent: r and r² of a single sequence outweigh all others.
    """

    start: str = "runs/kjv-masked"
    loss: Literal["bce", "lsif", "generalised_kl"] = "bce"
    draws: int = 1
    cap: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.cap <= 40:
            raise UsageError(f"objective.cap is {self.cap}; log r lies in (0, 40]")
        at_least(self, "objective", draws=1)


@dataclass(frozen=True)
class RatioEvaluation:
    """What is measured of a density ratio.

    Attributes:
        chain: numbers of steps N of the sampler whose bound is measured.
        candidates: numbers k of candidates that the sampler chooses from.
        rows: most test rows that are scored.
        batch: rows computed together.
    """

    chain: tuple[int, ...] = (1, 2, 4, 8, 16)
    candidates: tuple[int, ...] = (2, 16)
    rows: int = 256
    batch: int = 16

    def __post_init__(self) -> None:
        if not self.chain or not self.candidates or min(*self.chain, *self.candidates) < 1:
            raise UsageError("evaluation.chain and evaluation.candidates need numbers of at least 1")
        at_least(self, "evaluation", rows=2, batch=1)


@dataclass(frozen=True)
class RatioSampling(DiffusionSampling):
    """Options of ``tenfold sample`` for a density ratio: those of the model that it corrects, and two more.

    Attributes:
        candidates: k texts drawn at each step, of which the ratio chooses one; 1 for the plain chain.
        window: share of the steps, from the beginning, in which it does.
    """

    candidates: int = 4
    window: float = 1.0


_TRAIN = replace(MASKED.train, learning_rate=1e-3, validate_every=500)


@dataclass(frozen=True)
class RatioRecipe(Recipe):
    """A density ratio that corrects a masked model."""

    system: ClassVar[str] = "discrete-ratio"
    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: RatioObjective = field(default_factory=RatioObjective)
    train: TrainingConfig = _TRAIN
    evaluation: RatioEvaluation = field(default_factory=RatioEvaluation)


_RATIO = RatioRecipe()
RECIPES: dict[str, Named] = {
    "kjv-ratio": Named("a density ratio between the text and a masked model's draws, logistic", _RATIO),
    "kjv-ratio-lsif": Named(
        "the same by least squares",
        replace(_RATIO, objective=RatioObjective(loss="lsif", cap=2.0)),
    ),
    "kjv-ratio-kl": Named(
        "the same by the generalised KL divergence",
        replace(_RATIO, objective=RatioObjective(loss="generalised_kl", cap=4.0)),
    ),
}
