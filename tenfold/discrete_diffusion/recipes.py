"""Recipes of discrete diffusion by target concrete score matching (TCSM, arXiv 2504.16431): of characters, of the
same network from left to right, and of a tokenizer's tokens in the published geometries. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

from tenfold.data.text.config import LETTERS, CharacterDataConfig, TokenTextConfig
from tenfold.discrete_diffusion.config import AutoregressiveConfig, DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionEvaluation, DiffusionObjective, TokenRowEvaluation
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.training.config import TrainingConfig

_R = TypeVar("_R", bound=Recipe)


@dataclass(frozen=True)
class DiffusionRecipe(Recipe):
    """A model that turns noise into text."""

    system: ClassVar[str] = "discrete-diffusion"
    model: DiffusionConfig = field(default_factory=lambda: DiffusionConfig(alphabet=LETTERS))
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: DiffusionObjective = field(default_factory=DiffusionObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


@dataclass(frozen=True)
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


def _with(recipe: _R, **changes: dict[str, Any]) -> _R:
    """A recipe with fields of its groups changed."""
    groups = {name: replace(getattr(recipe, name), **values) for name, values in changes.items()}
    return replace(recipe, **groups)  # type: ignore[type-var]


RECIPES: dict[str, Named] = {
    "kjv-masked": Named("masked letters, distribution form (flat cross entropy), 3 minutes on one thread", MASKED),
    "kjv-masked-score": Named(
        "masked letters, score form with the generalised KL divergence",
        _with(MASKED, objective=_SCORE),
    ),
    "kjv-mdlm": Named(
        "masked letters by MDLM: cross entropy with the bound's weight",
        _with(MASKED, objective={"loss": "mdlm"}),
    ),
    "kjv-sedd": Named(
        "masked letters by SEDD: score entropy of ratios that are not normalised",
        _with(
            MASKED,
            model={"output": "scores", "time": True, "epsilon": 1e-3},
            objective={"loss": "sedd", "times": "stratified"},
        ),
    ),
    "kjv-uniform": Named(
        "letters under uniform noise, distribution form (flat cross entropy of the posterior)", _UNIFORM
    ),
    "kjv-uniform-score": Named(
        "letters under uniform noise, score form of the posterior",
        _with(_UNIFORM, objective=_SCORE),
    ),
    "kjv-udlm": Named(
        "letters under uniform noise by UDLM: the bound of the leave-one-out view",
        _with(_UNIFORM, objective={"loss": "udlm"}),
    ),
    "kjv-hollow": Named(
        "letters under uniform noise, a hollow network: leave-one-out by construction",
        _with(_UNIFORM, model={"network": "hollow", "time": False, "layers": 1}, objective={"loss": "udlm"}),
    ),
    "kjv-plain": Named(
        "kjv-masked without local mixing: how a plain transformer stalls",
        _with(MASKED, model={"local_mixing": 0}),
    ),
    "kjv-flagship": Named(
        "a deeper masked model of letters, 10 minutes on two cores",
        _with(
            MASKED,
            model={"layers": 3},
            data={"stride": 16},
            train={"steps": 5000, "batch_size": 32, "ema": 0.995, "validate_every": 500, "threads": 2},
            evaluation={"draws": 8, "holes": 1000},
        ),
    ),
}

AUTOREGRESSIVE_RECIPES: dict[str, Named] = {
    "kjv-ar": Named("the same size of network from left to right: what all are compared with", _AUTOREGRESSIVE),
    "kjv-ar-small": Named(
        "a quarter of its width: the smaller of two teachers",
        _with(_AUTOREGRESSIVE, model={"width": 32, "heads": 2}),
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


@dataclass(frozen=True)
class TokenRecipe(Recipe):
    """A model that turns noise into text, of a tokenizer's tokens."""

    system: ClassVar[str] = "discrete-tokens"
    model: DiffusionConfig = _PUBLISHED
    data: TokenTextConfig = field(default_factory=TokenTextConfig)
    objective: DiffusionObjective = field(default_factory=lambda: DiffusionObjective(loss="mdlm"))
    train: TrainingConfig = _MILLION
    evaluation: TokenRowEvaluation = field(default_factory=TokenRowEvaluation)


TOKEN_RECIPES: dict[str, Named] = {
    "mdlm-owt": Named("MDLM small as published, on your OpenWebText as JSON lines (--data.path)", TokenRecipe()),
    "sedd-owt": Named(
        "SEDD small as published (masks), on your OpenWebText as JSON lines (--data.path)",
        TokenRecipe(
            model=replace(_PUBLISHED, output="scores", time=True),
            objective=DiffusionObjective(loss="sedd"),
            train=replace(_MILLION, steps=1_300_000),
        ),
    ),
}
