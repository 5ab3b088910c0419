"""Recipes of discrete diffusion by target concrete score matching (TCSM, arXiv 2504.16431): of characters, of the
same network from left to right, of a tokenizer's tokens in the published geometries, and of a large language model's
tokens, from itself; with what the last one can be told. Imports no PyTorch."""

from dataclasses import field, replace
from typing import Any, ClassVar

from tenfold.data.text.config import LETTERS, CharacterDataConfig, TokenTextConfig
from tenfold.discrete_diffusion.config import AutoregressiveConfig, DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionEvaluation, DiffusionObjective, TokenRowEvaluation
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least, settings
from tenfold.training.config import TrainingConfig


@settings
class DiffusionRecipe(Recipe):
    """A model that turns noise into text."""

    system: ClassVar[str] = "discrete-diffusion"
    model: DiffusionConfig = field(default_factory=lambda: DiffusionConfig(alphabet=LETTERS))
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: DiffusionObjective = field(default_factory=DiffusionObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


@settings
class AutoregressiveRecipe(Recipe):
    """The same network from left to right."""

    system: ClassVar[str] = "discrete-autoregressive"
    model: AutoregressiveConfig = field(default_factory=lambda: AutoregressiveConfig(alphabet=LETTERS))
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


_TRAIN = TrainingConfig(
    steps=3000,
    batch_size=16,
    learning_rate=3e-3,
    warmup_steps=100,
    final_fraction=0.02,
    weight_decay=0.01,
    betas=(0.9, 0.98),
    ema=0.99,
    log_every=50,
    validate_every=300,
    checkpoint_every=1500,
    threads=1,
)
MASKED = DiffusionRecipe(
    model=DiffusionConfig(local_mixing=7, alphabet=LETTERS),
    objective=DiffusionObjective(loss="distribution", times="count"),
    train=_TRAIN,
)
_UNIFORM = replace(
    MASKED,
    # A network's own posterior does not become the token itself as the noise goes, and its bound then diverges; one
    # that follows from leave-one-out predictions does.
    model=replace(MASKED.model, source="uniform", view="leave_one_out", time=True, epsilon=1e-3),
    objective=DiffusionObjective(loss="distribution"),
)
# 1/q of a letter that the model takes for impossible outweighs a batch; beyond e^5 it goes on as its tangent.
_SCORE = {"loss": "score", "cap": 5.0}
_AUTOREGRESSIVE = AutoregressiveRecipe(model=AutoregressiveConfig(local_mixing=7, alphabet=LETTERS), train=_TRAIN)


def _named(summary: str, recipe: Recipe, **changes: dict[str, Any]) -> Named:
    """A recipe with fields of its groups changed."""
    groups = {name: replace(getattr(recipe, name), **values) for name, values in changes.items()}
    return Named(summary, replace(recipe, **groups))  # type: ignore[type-var]


RECIPES: dict[str, Named] = {
    "kjv-masked": Named("masked letters, distribution form (flat cross entropy), 3 minutes on one thread", MASKED),
    "kjv-masked-score": _named(
        "masked letters, score form with the generalised KL divergence", MASKED, objective=_SCORE
    ),
    "kjv-mdlm": _named(
        "masked letters by MDLM: cross entropy with the bound's weight", MASKED, objective={"loss": "mdlm"}
    ),
    "kjv-sedd": _named(
        "masked letters by SEDD: score entropy of ratios that are not normalised",
        MASKED,
        model={"output": "scores", "time": True, "epsilon": 1e-3},
        objective={"loss": "sedd", "times": "stratified"},
    ),
    "kjv-uniform": Named(
        "letters under uniform noise, distribution form (flat cross entropy of the posterior)", _UNIFORM
    ),
    "kjv-uniform-score": _named("letters under uniform noise, score form of the posterior", _UNIFORM, objective=_SCORE),
    "kjv-udlm": _named(
        "letters under uniform noise by UDLM: the bound of the leave-one-out view", _UNIFORM, objective={"loss": "udlm"}
    ),
    "kjv-hollow": _named(
        "letters under uniform noise, a hollow network: leave-one-out by construction",
        _UNIFORM,
        model={"network": "hollow", "time": False, "layers": 1},
        objective={"loss": "udlm"},
    ),
    "kjv-plain": _named(
        "kjv-masked without local mixing: how a plain transformer stalls", MASKED, model={"local_mixing": 0}
    ),
    "kjv-flagship": _named(
        "a deeper masked model of letters, 10 minutes on two cores",
        MASKED,
        model={"layers": 3},
        data={"stride": 16},
        train={"steps": 5000, "batch_size": 32, "ema": 0.995, "validate_every": 500, "threads": 2},
        evaluation={"draws": 8, "holes": 1000},
    ),
}

AUTOREGRESSIVE_RECIPES: dict[str, Named] = {
    "kjv-ar": Named("the same size of network from left to right: what all are compared with", _AUTOREGRESSIVE),
    "kjv-ar-small": _named(
        "a quarter of its width: the smaller of two teachers", _AUTOREGRESSIVE, model={"width": 32, "heads": 2}
    ),
}

# --- tokens ----------------------------------------------------------------------------------------------------

# 12 blocks of width 768 on rows of 1,024 tokens of GPT-2, as both repositories configure them.
_PUBLISHED = DiffusionConfig(
    vocabulary=50257,
    network="dit",
    width=768,
    layers=12,
    heads=12,
    length=1024,
    condition_width=128,
    epsilon=1e-3,
    dropout=0.1,
)
_MILLION = TrainingConfig(
    steps=1_000_000,
    batch_size=512,
    accumulate=64,
    learning_rate=3e-4,
    warmup_steps=2500,
    initial_fraction=0.0,
    final_fraction=1.0,
    weight_decay=0.0,
    betas=(0.9, 0.999),
    eps=1e-8,
    clip=1.0,
    ema=0.9999,
    precision="bf16",
    log_every=100,
    validate_every=10_000,
    checkpoint_every=10_000,
)


@settings
class TokenRecipe(Recipe):
    """A model that turns noise into text, of a tokenizer's tokens."""

    system: ClassVar[str] = "discrete-tokens"
    model: DiffusionConfig = _PUBLISHED
    data: TokenTextConfig = field(default_factory=TokenTextConfig)
    objective: DiffusionObjective = field(default_factory=lambda: DiffusionObjective(loss="mdlm"))
    train: TrainingConfig = _MILLION
    evaluation: TokenRowEvaluation = field(default_factory=TokenRowEvaluation)


TOKEN_RECIPES: dict[str, Named] = {
    "mdlm-owt": Named("MDLM small as published, on your OpenWebText (--data.path)", TokenRecipe()),
    "sedd-owt": Named(
        "SEDD small as published (masks), on your OpenWebText (--data.path)",
        TokenRecipe(
            model=replace(_PUBLISHED, output="scores", time=True),
            objective=DiffusionObjective(loss="sedd"),
            train=replace(_MILLION, steps=1_300_000),
        ),
    ),
}


@settings
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


@settings
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


@settings
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


_SMALL = DiffusionConfig(vocabulary=8192, length=24, local_mixing=3)
_SHORT = replace(MASKED.train, steps=600, batch_size=16, learning_rate=1e-3, validate_every=100)


@settings
class TokenDistilRecipe(Recipe):
    """A small masked model of a large teacher's tokens."""

    system: ClassVar[str] = "discrete-token-distil"
    model: DiffusionConfig = _SMALL
    data: TokenData = field(default_factory=TokenData)
    objective: TokenDistilObjective = field(default_factory=TokenDistilObjective)
    train: TrainingConfig = _SHORT
    evaluation: TokenEvaluation = field(default_factory=TokenEvaluation)


LANGUAGE_RECIPES: dict[str, Named] = {
    "smollm2-distil": Named(
        "a small masked model of SmolLM2's tokens, from its site conditionals on 400 rows of the King James Bible",
        TokenDistilRecipe(),
    ),
    "smollm2-distil-none": Named(
        "the same model on the same rows from the data alone",
        TokenDistilRecipe(objective=TokenDistilObjective(share=0.0)),
    ),
}
