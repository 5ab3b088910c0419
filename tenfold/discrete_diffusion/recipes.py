"""Recipes of discrete diffusion by target concrete score matching (TCSM, arXiv 2504.16431) on characters."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from tenfold.data.text.characters_config import LETTERS, CharacterDataConfig
from tenfold.discrete_diffusion.config import AutoregressiveConfig, DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionEvaluation, DiffusionObjective
from tenfold.training.config import TrainingConfig


@dataclass(frozen=True)
class DiffusionRecipe:
    """A model that turns noise into text."""

    system: ClassVar[str] = "discrete-diffusion"
    model: DiffusionConfig = field(default_factory=lambda: DiffusionConfig(alphabet=LETTERS))
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: DiffusionObjective = field(default_factory=DiffusionObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


@dataclass(frozen=True)
class AutoregressiveRecipe:
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
_MASKED = DiffusionRecipe(
    model=DiffusionConfig(local_mixing=7, alphabet=LETTERS),
    objective=DiffusionObjective(loss="distribution", times="count"),
    train=_TRAIN,
)
_UNIFORM = replace(
    _MASKED,
    # A network's own posterior does not become the token itself as the noise goes, and its bound then diverges; one
    # that follows from leave-one-out predictions does.
    model=replace(_MASKED.model, source="uniform", view="leave_one_out", time=True, epsilon=1e-3),
    objective=DiffusionObjective(loss="distribution"),
)
# 1/q of a letter that the model takes for impossible outweighs a batch; beyond e^5 it goes on as its tangent.
_SCORE = {"loss": "score", "cap": 5.0}
_AUTOREGRESSIVE = AutoregressiveRecipe(model=AutoregressiveConfig(local_mixing=7, alphabet=LETTERS), train=_TRAIN)


def _with(recipe: Any, **changes: Any) -> Any:
    """A recipe with fields of its model and objective changed."""
    groups = {name: replace(getattr(recipe, name), **values) for name, values in changes.items()}
    return replace(recipe, **groups)


RECIPES: dict[str, tuple[str, DiffusionRecipe | AutoregressiveRecipe]] = {
    "kjv-masked": ("masked letters, distribution form (flat cross entropy), 3 minutes on one thread", _MASKED),
    "kjv-masked-score": (
        "masked letters, score form with the generalised KL divergence",
        _with(_MASKED, objective=_SCORE),
    ),
    "kjv-mdlm": (
        "masked letters by MDLM: cross entropy with the bound's weight",
        _with(_MASKED, objective={"loss": "mdlm"}),
    ),
    "kjv-sedd": (
        "masked letters by SEDD: score entropy of ratios that are not normalised",
        _with(
            _MASKED,
            model={"output": "scores", "time": True, "epsilon": 1e-3},
            objective={"loss": "sedd", "times": "stratified"},
        ),
    ),
    "kjv-uniform": ("letters under uniform noise, distribution form (flat cross entropy of the posterior)", _UNIFORM),
    "kjv-uniform-score": (
        "letters under uniform noise, score form of the posterior",
        _with(_UNIFORM, objective=_SCORE),
    ),
    "kjv-udlm": (
        "letters under uniform noise by UDLM: the bound of the leave-one-out view",
        _with(_UNIFORM, objective={"loss": "udlm"}),
    ),
    "kjv-hollow": (
        "letters under uniform noise, a hollow network: leave-one-out by construction",
        _with(_UNIFORM, model={"network": "hollow", "time": False, "layers": 1}, objective={"loss": "udlm"}),
    ),
    "kjv-plain": (
        "kjv-masked without local mixing: how a plain transformer stalls",
        _with(_MASKED, model={"local_mixing": 0}),
    ),
    "kjv-ar": ("the same size of network from left to right: what all are compared with", _AUTOREGRESSIVE),
    "kjv-ar-small": (
        "a quarter of its width: the smaller of two teachers",
        _with(_AUTOREGRESSIVE, model={"width": 32, "heads": 2}),
    ),
    "kjv-flagship": (
        "a deeper masked model of letters, 10 minutes on two cores",
        _with(
            _MASKED,
            model={"layers": 3},
            data={"stride": 16},
            train={"steps": 5000, "batch_size": 32, "ema": 0.995, "validate_every": 500, "threads": 2},
            evaluation={"draws": 8, "holes": 1000},
        ),
    ),
}
