"""Recipes of post-training in discrete diffusion (TCSM, arXiv 2504.16431), on characters."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from tenfold.data.text.characters_config import LETTERS, CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionEvaluation
from tenfold.discrete_diffusion.recipes import RECIPES as PRETRAINING
from tenfold.discrete_diffusion.steering.options import (
    DistilObjective,
    GroupObjective,
    PreferenceObjective,
    RatioEvaluation,
    RatioObjective,
    RewardObjective,
    SteeringEvaluation,
    TokenData,
    TokenDistilObjective,
    TokenEvaluation,
)
from tenfold.training.config import TrainingConfig

# The model and the training of "kjv-masked".
_MASKED = PRETRAINING["kjv-masked"][1]
_SMALL = DiffusionConfig(vocabulary=8192, length=24, local_mixing=3)
_MODEL = DiffusionConfig(local_mixing=7, alphabet=LETTERS)
_TUNING = replace(
    _MASKED.train, steps=400, learning_rate=3e-4, warmup_steps=20, batch_size=32, validate_every=0, log_every=10
)

_GROUPS = replace(_TUNING, steps=100, batch_size=4, learning_rate=1e-4)
_PAIRS = replace(_TUNING, batch_size=16)
_TOKENS = replace(_MASKED.train, steps=600, batch_size=16, learning_rate=1e-3, validate_every=100)
_RATIO_TRAINING = replace(_MASKED.train, learning_rate=1e-3, validate_every=500)


@dataclass(frozen=True)
class DistilRecipe:
    """A masked model that learns from an autoregressive one."""

    system: ClassVar[str] = "discrete-distil"
    model: DiffusionConfig = _MODEL
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: DistilObjective = field(default_factory=DistilObjective)
    train: TrainingConfig = _MASKED.train
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


@dataclass(frozen=True)
class RewardRecipe:
    """A masked model tuned towards a reward."""

    system: ClassVar[str] = "discrete-reward"
    model: DiffusionConfig = _MODEL
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: RewardObjective = field(default_factory=RewardObjective)
    train: TrainingConfig = _TUNING
    evaluation: SteeringEvaluation = field(default_factory=SteeringEvaluation)


@dataclass(frozen=True)
class GroupRecipe:
    """A masked model tuned by groups of completions."""

    system: ClassVar[str] = "discrete-groups"
    model: DiffusionConfig = _MODEL
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: GroupObjective = field(default_factory=GroupObjective)
    train: TrainingConfig = _GROUPS
    evaluation: SteeringEvaluation = field(default_factory=SteeringEvaluation)


@dataclass(frozen=True)
class PreferenceRecipe:
    """A masked model tuned on pairs."""

    system: ClassVar[str] = "discrete-preference"
    model: DiffusionConfig = _MODEL
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: PreferenceObjective = field(default_factory=PreferenceObjective)
    train: TrainingConfig = _PAIRS
    evaluation: SteeringEvaluation = field(default_factory=SteeringEvaluation)


@dataclass(frozen=True)
class RatioRecipe:
    """A density ratio that corrects a masked model."""

    system: ClassVar[str] = "discrete-ratio"
    model: DiffusionConfig = _MODEL
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: RatioObjective = field(default_factory=RatioObjective)
    train: TrainingConfig = _RATIO_TRAINING
    evaluation: RatioEvaluation = field(default_factory=RatioEvaluation)


@dataclass(frozen=True)
class TokenDistilRecipe:
    """A small masked model of a large teacher's tokens."""

    system: ClassVar[str] = "discrete-token-distil"
    model: DiffusionConfig = _SMALL
    data: TokenData = field(default_factory=TokenData)
    objective: TokenDistilObjective = field(default_factory=TokenDistilObjective)
    train: TrainingConfig = _TOKENS
    evaluation: TokenEvaluation = field(default_factory=TokenEvaluation)


_RATIO = RatioRecipe()
_DISTIL = DistilRecipe()

_Recipe = DistilRecipe | TokenDistilRecipe | RewardRecipe | GroupRecipe | PreferenceRecipe | RatioRecipe
RECIPES: dict[str, tuple[str, _Recipe]] = {
    "kjv-distil": (
        "kjv-masked's network from an autoregressive teacher (--objective.teacher): its best letters, suffixes read",
        _DISTIL,
    ),
    "kjv-distil-first-order": (
        "the same from one gradient of the teacher for all letters",
        replace(_DISTIL, objective=DistilObjective(method="first_order", candidates=0, sites=64, share=0.5)),
    ),
    "kjv-distil-few": (
        "kjv-masked's network from 200 rows of the text and 16,384 that the teacher writes (--objective.teacher)",
        replace(
            _DISTIL,
            data=replace(_DISTIL.data, rows=200),
            objective=DistilObjective(sites=0, samples=16384),
        ),
    ),
    "smollm2-distil": (
        "a small masked model of SmolLM2's tokens, from its site conditionals on 400 rows of the King James Bible",
        TokenDistilRecipe(),
    ),
    "smollm2-distil-none": (
        "the same model on the same rows from the data alone",
        TokenDistilRecipe(objective=TokenDistilObjective(share=0.0)),
    ),
    "kjv-reward": (
        "a masked model (--objective.start) tuned towards the New Testament's style within a nat",
        RewardRecipe(),
    ),
    "kjv-reward-weights": (
        "the same by the cross entropy of samples drawn by their weights",
        RewardRecipe(objective=RewardObjective(form="weights", penalty=0.3)),
    ),
    "kjv-groups": (
        "the same by groups of completions of a prompt, drawn in every step, their weights signed",
        GroupRecipe(),
    ),
    "kjv-preference": (
        "the same model tuned on pairs of its samples, of which the New Testament's style wins",
        PreferenceRecipe(),
    ),
    "kjv-ratio": ("a density ratio between the text and a masked model's draws, logistic", _RATIO),
    "kjv-ratio-lsif": (
        "the same by least squares",
        replace(_RATIO, objective=RatioObjective(loss="lsif", cap=2.0)),
    ),
    "kjv-ratio-kl": (
        "the same by the generalised KL divergence",
        replace(_RATIO, objective=RatioObjective(loss="generalised_kl", cap=4.0)),
    ),
}
