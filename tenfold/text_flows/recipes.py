"""Recipes of TarFlowLM: letters of the King James Bible in minutes, by stages too, bytes or tokens of any text, and
text8 and OpenWebText as published. Imports no PyTorch."""

import itertools
from dataclasses import field, replace
from typing import Any, ClassVar

from tenfold.data.text.config import LETTERS, CharacterDataConfig, TokenTextConfig
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.text_flows.config import TextFlowConfig
from tenfold.text_flows.options import TextFlowEvaluation, TextFlowObjective
from tenfold.training.config import TrainingConfig


@settings
class TextFlowRecipe(Recipe):
    """A flow of characters."""

    system: ClassVar[str] = "tarflowlm"
    model: TextFlowConfig = field(default_factory=lambda: TextFlowConfig(alphabet=LETTERS))
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: TextFlowObjective = field(default_factory=TextFlowObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: TextFlowEvaluation = field(default_factory=TextFlowEvaluation)


_BYTES = TextFlowConfig(
    vocabulary=257, components=(257,), dim=16, log_scale=-3.0, local_mixing=7, length=128, layers=(3,)
)


@settings
class TokenFlowRecipe(Recipe):
    """A flow of a tokenizer's tokens, or of bytes."""

    system: ClassVar[str] = "tarflowlm-tokens"
    model: TextFlowConfig = field(default_factory=lambda: _BYTES)
    data: TokenTextConfig = field(default_factory=lambda: TokenTextConfig(tokenizer="bytes", length=128))
    objective: TextFlowObjective = field(default_factory=TextFlowObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: TextFlowEvaluation = field(default_factory=TextFlowEvaluation)


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
# Narrow tokens in enough dimensions: after 400 steps of a schedule of 400 the loss is 1.45 nats a letter, and 1.50 in
# five dimensions; with tokens of width e^−1 it is 1.54 after 400 of 1,000.
FLOW = TextFlowRecipe(model=TextFlowConfig(local_mixing=7, dim=16, log_scale=-3.0, alphabet=LETTERS), train=_TRAIN)


def _with(recipe: TextFlowRecipe, **changes: dict[str, Any]) -> TextFlowRecipe:
    groups = {name: replace(getattr(recipe, name), **values) for name, values in changes.items()}
    return replace(recipe, **groups)


@settings
class ProgressiveRecipe(Recipe):
    """A flow trained one coupling after the other: each stage freezes what the stages before have learnt, and adds the
    next coupling, which reads the other way.

    Attributes:
        first: the flow of one coupling.
        second: that of two, of which the first is frozen.
        third: that of three.
    """

    system: ClassVar[str] = "tarflowlm"
    stages: ClassVar[tuple[str, ...]] = ("first", "second", "third")
    main: ClassVar[str] = "third"
    described: ClassVar[tuple[str, ...]] = stages
    first: TextFlowRecipe = FLOW
    second: TextFlowRecipe = field(
        default_factory=lambda: _with(
            FLOW,
            model={"couplings": ("mix-d", "mix-1"), "layers": (2, 1), "components": (27, 4)},
            train={"steps": 1000, "learning_rate": 1e-3},
        )
    )
    third: TextFlowRecipe = field(
        default_factory=lambda: _with(
            FLOW,
            model={"couplings": ("mix-d", "mix-1", "mix-1"), "layers": (2, 1, 1), "components": (27, 4, 4)},
            train={"steps": 1000, "learning_rate": 1e-3},
        )
    )

    def __post_init__(self) -> None:
        parts = [getattr(self, name).model for name in self.stages]
        for few, more in itertools.pairwise(parts):
            count = len(few.couplings)
            same = all(getattr(few, name) == getattr(more, name)[:count] for name in ("couplings", "layers"))
            if len(more.couplings) <= count or not same or few.components != more.components[:count]:
                raise UsageError(
                    f"a stage's couplings begin with those of the stage before, but {more.couplings} do not begin with "
                    f"{few.couplings} of the same layers and components, or add none"
                )

    def stage(self, name: str, folder: str) -> TextFlowRecipe:
        """A stage's own recipe, started from the model of the stage before."""
        recipe: TextFlowRecipe = getattr(self, name)
        place = self.stages.index(name)
        if not place:
            return recipe
        before: TextFlowRecipe = getattr(self, self.stages[place - 1])
        start = f"{folder}/{self.stages[place - 1]}/model"
        objective = replace(recipe.objective, start=start, freeze=len(before.model.couplings))
        return replace(recipe, objective=objective)


def _named(summary: str, **changes: dict[str, Any]) -> Named:
    return Named(summary, _with(FLOW, **changes))


_PATCHED = {"couplings": ("mix-d", "mix-1"), "layers": (1, 1), "components": (27, 8), "dim": 6}
# 12 layers of width 768 on 27 symbols; what was not published (optimiser, steps, rows) is the house's.
_TEXT8 = TextFlowRecipe(
    model=TextFlowConfig(width=768, heads=12, length=256, layers=(12,), alphabet=LETTERS),
    data=CharacterDataConfig(source="file", path="text8", length=256, validation_rows=512),
    train=TrainingConfig(
        steps=500_000, batch_size=512, accumulate=8, learning_rate=1e-3, warmup_steps=2500, betas=(0.9, 0.95),
        clip=1.0, ema=0.9999, precision="bf16", log_every=100, validate_every=5000, checkpoint_every=5000,
    ),
)  # fmt: skip

RECIPES: dict[str, Named] = {
    "kjv-flow": Named("one Mix-d flow of letters, a few minutes on one thread", FLOW),
    "kjv-flow-affine": _named(
        "the same size as an affine flow: what a transformer autoregressive flow of pixels would do",
        model={"couplings": ("affine",), "components": (1,), "dim": 5, "log_scale": -1.0},
    ),
    "kjv-flow-mix1": _named(
        "the same size with mixtures channel by channel (Mix-1)",
        model={"couplings": ("mix-1",), "components": (27,), "dim": 5, "log_scale": -1.0},
    ),
    "kjv-flow-patch2": _named(
        "two letters a step: independent in the first flow, bound together by a second from right to left",
        model={**_PATCHED, "patch": 2},
    ),
    "kjv-flow-patch4": _named("four letters a step", model={**_PATCHED, "patch": 4}),
    "kjv-flow-flagship": _named(
        "a deeper flow of letters, half an hour on one thread",
        model={"layers": (3,)},
        data={"stride": 16},
        train={"steps": 5000, "batch_size": 32, "ema": 0.995, "validate_every": 500},
    ),
    "kjv-flow-stages": Named("three flows in turn, each trained on the frozen ones before", ProgressiveRecipe()),
    "text8-mixd": Named(
        "the published size on your text8 (--data.path): 12 layers of width 768 in three flows",
        _with(
            _TEXT8,
            model={"couplings": ("mix-d", "mix-1", "mix-1"), "layers": (2, 2, 8), "components": (27, 2, 2)},
        ),
    ),
    "text8-mix1": Named(
        "the published Mix-1 on your text8: three flows of 2, 2 and 8 layers",
        _with(
            _TEXT8,
            model={"couplings": ("mix-1", "mix-1", "mix-1"), "layers": (2, 2, 8), "components": (27, 27, 27)},
        ),
    ),
}

# 12 layers of width 768 on GPT-2's tokens, 1,024 a row; what was not published (optimiser, steps, rows) is the house's.
_OPENWEBTEXT = TokenFlowRecipe(
    model=TextFlowConfig(
        vocabulary=50257, dim=16, width=768, heads=12, length=1024, couplings=("mix-d", "mix-1", "mix-1"),
        layers=(2, 2, 8), components=(50257, 64, 64),
    ),
    data=TokenTextConfig(length=1024),
    train=replace(_TEXT8.train, accumulate=256),
)  # fmt: skip

TOKEN_RECIPES: dict[str, Named] = {
    "bytes-flow": Named(
        "bytes of your own texts (--data.path), or a tokenizer's tokens (--data.tokenizer)",
        TokenFlowRecipe(train=replace(_TRAIN, learning_rate=2e-3)),
    ),
    "owt-mixd": Named(
        "the published size on your OpenWebText (--data.path): 12 layers of width 768 in three flows", _OPENWEBTEXT
    ),
    "owt-mix1": Named(
        "the published Mix-1 on your OpenWebText: three flows of 2, 2 and 8 layers",
        replace(
            _OPENWEBTEXT,
            model=replace(_OPENWEBTEXT.model, couplings=("mix-1", "mix-1", "mix-1"), components=(64, 64, 64)),
        ),
    ),
}
