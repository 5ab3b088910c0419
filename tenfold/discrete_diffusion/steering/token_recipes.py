"""A small masked model from a large autoregressive one, over its tokens: settings and recipes. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least
from tenfold.training.config import TrainingConfig


@dataclass(frozen=True)
class TokenData:
    """The King James Bible in a teacher's tokens.

    Attributes:
        tokenizer: "smollm2" (of a Python package), or a .gguf file: whose tokens, and who the teacher is.
        vocabulary: the most frequent tokens of the text, which the student knows; rows with others are left out.
        length: tokens of a row.
        every: of so many rows, in order, one is for validation and one for the test.
        rows: most rows for training, evenly spread; 0 for all.
        validation_rows: most validation rows, evenly spread; 0 for all.
    """

    tokenizer: str = "smollm2"
    vocabulary: int = 8192
    length: int = 24
    every: int = 20
    rows: int = 400
    validation_rows: int = 256

    def __post_init__(self) -> None:
        if self.vocabulary < 2 or self.length < 2 or self.every < 3:
            raise UsageError(
                f"data.vocabulary is {self.vocabulary}, data.length {self.length} and data.every {self.every}; give at "
                "least 2, 2 and 3"
            )
        at_least(self, "data", rows=0, validation_rows=0)


@dataclass(frozen=True)
class TokenDistilObjective:
    """Learning a large teacher's site conditionals, each asked for once and kept.

    Attributes:
        candidates: the teacher's best tokens at a site, and the token itself.
        sites: of a row, chosen once.
        share: of the teacher's distribution in the target of those sites; 0 for none: the same model from the data
            alone.
        temperature: of the targets.
    """

    candidates: int = 4
    sites: int = 4
    share: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.sites < 1 or self.candidates < 1:
            raise UsageError(
                f"objective.sites is {self.sites} and objective.candidates {self.candidates}; give at least 1"
            )
        if not 0 <= self.share <= 1:
            raise UsageError(f"objective.share is {self.share}; the teacher's share lies in [0, 1]")
        if not self.temperature > 0:
            raise UsageError(f"objective.temperature is {self.temperature}; it must be positive")


@dataclass(frozen=True)
class TokenEvaluation:
    """What is measured of a model of tokens.

    Attributes:
        draws: of noise a row, for the bound.
        rows: most test rows, evenly spread.
        teacher_rows: test rows that the teacher reads from left to right; 0 for none.
        batch: rows computed together.
    """

    draws: int = 4
    rows: int = 512
    teacher_rows: int = 64
    batch: int = 32

    def __post_init__(self) -> None:
        at_least(self, "evaluation", draws=1, rows=2, teacher_rows=0, batch=1)


_MODEL = DiffusionConfig(vocabulary=8192, length=24, local_mixing=3)
_TRAIN = replace(MASKED.train, steps=600, batch_size=16, learning_rate=1e-3, validate_every=100)


@dataclass(frozen=True)
class TokenDistilRecipe(Recipe):
    """A small masked model of a large teacher's tokens."""

    system: ClassVar[str] = "discrete-token-distil"
    model: DiffusionConfig = _MODEL
    data: TokenData = field(default_factory=TokenData)
    objective: TokenDistilObjective = field(default_factory=TokenDistilObjective)
    train: TrainingConfig = _TRAIN
    evaluation: TokenEvaluation = field(default_factory=TokenEvaluation)


RECIPES: dict[str, Named] = {
    "smollm2-distil": Named(
        "a small masked model of SmolLM2's tokens, from its site conditionals on 400 rows of the King James Bible",
        TokenDistilRecipe(),
    ),
    "smollm2-distil-none": Named(
        "the same model on the same rows from the data alone",
        TokenDistilRecipe(objective=TokenDistilObjective(share=0.0)),
    ),
}
