"""Recipes of discrete diffusion on a tokenizer's tokens: the published geometries of MDLM and SEDD."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from tenfold.data.text.token_text_config import TokenTextConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionObjective, TokenRowEvaluation
from tenfold.training.config import TrainingConfig

# 12 blocks of width 768 on rows of 1,024 tokens of GPT-2, as both repositories configure them.
_MODEL = DiffusionConfig(
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
_TRAIN = TrainingConfig(
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
class TokenRecipe:
    """A model that turns noise into text, of a tokenizer's tokens."""

    system: ClassVar[str] = "discrete-tokens"
    model: DiffusionConfig = _MODEL
    data: TokenTextConfig = field(default_factory=TokenTextConfig)
    objective: DiffusionObjective = field(default_factory=lambda: DiffusionObjective(loss="mdlm"))
    train: TrainingConfig = _TRAIN
    evaluation: TokenRowEvaluation = field(default_factory=TokenRowEvaluation)


RECIPES: dict[str, tuple[str, TokenRecipe]] = {
    "mdlm-owt": ("MDLM small as published, on your OpenWebText as JSON lines (--data.path)", TokenRecipe()),
    "sedd-owt": (
        "SEDD small as published (masks), on your OpenWebText as JSON lines (--data.path)",
        TokenRecipe(
            model=replace(_MODEL, output="scores", time=True),
            objective=DiffusionObjective(loss="sedd"),
            train=replace(_TRAIN, steps=1_300_000),
        ),
    ),
}
