"""Recipes of coupled-GRPO. Imports no PyTorch."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.data.text.config import CodeDataConfig
from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.grpo.options import GrpoEvaluation, GrpoObjective, PromptConfig
from tenfold.masked_lm.options import MaskedEvaluation, MaskedObjective
from tenfold.masked_lm.recipes import RECIPES as MASKED
from tenfold.masked_lm.recipes import SEVEN_B, SMOLLM2, MaskedLMRecipe
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig


@settings
class GrpoRecipe(Recipe):
    """A masked language model that learns from rewards of its own completions."""

    system: ClassVar[str] = "masked-grpo"
    model: MaskedLMConfig = field(default_factory=MaskedLMConfig)
    data: PromptConfig = field(default_factory=PromptConfig)
    objective: GrpoObjective = field(default_factory=GrpoObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: GrpoEvaluation = field(default_factory=GrpoEvaluation)


@settings
class GrpoPipeline(Recipe):
    """A masked model trained from scratch, and then by rewards."""

    system: ClassVar[str] = "masked-grpo"
    stages: ClassVar[tuple[str, ...]] = ("start", "tuned")
    main: ClassVar[str] = "tuned"
    described: ClassVar[tuple[str, ...]] = ("start", "tuned")
    start: MaskedLMRecipe = field(default_factory=MaskedLMRecipe)
    tuned: GrpoRecipe = field(default_factory=GrpoRecipe)

    def stage(self, name: str, folder: str) -> Recipe:
        """A stage's own recipe, for a run in ``folder``."""
        if name == "start":
            return self.start
        return replace(self.tuned, objective=replace(self.tuned.objective, start=f"{folder}/start"))


_SMALL = MaskedLMConfig(width=64, layers=2, heads=4, intermediate=192, positions=64)
_BRACKETS = GrpoPipeline(
    start=MaskedLMRecipe(
        model=_SMALL,
        data=CodeDataConfig(source="brackets", length=17, packed=False),
        objective=MaskedObjective(times="count"),
        train=TrainingConfig(
            steps=300, batch_size=64, learning_rate=3e-3, warmup_steps=20, validate_every=0, checkpoint_every=0,
            threads=1,
        ),
        evaluation=MaskedEvaluation(draws=2, holes=0, rows=64, baselines=False),
    ),
    tuned=GrpoRecipe(
        model=_SMALL,
        data=PromptConfig(most_tokens=6),
        objective=GrpoObjective(group=8, top_p=None, inner=2),
        train=TrainingConfig(
            steps=150, batch_size=8, learning_rate=1e-3, warmup_steps=5, weight_decay=0.0, betas=(0.9, 0.99), clip=0.2,
            ema=None, log_every=5, validate_every=50, checkpoint_every=50, threads=1,
        ),
    ),
)  # fmt: skip
_ADAPTED = MASKED["smollm2-code"].recipe
assert isinstance(_ADAPTED, MaskedLMRecipe)
# 10 steps are what the time allows; 90 are those of smollm2-code.
_FUNCTIONS = GrpoPipeline(
    start=replace(
        _ADAPTED,
        data=replace(_ADAPTED.data, validation_rows=4),
        objective=replace(_ADAPTED.objective, anneal_steps=0),
        train=replace(_ADAPTED.train, steps=10, warmup_steps=2),
        evaluation=MaskedEvaluation(draws=2, rows=8, batch=4, baselines=False, holes=0),
    ),
    tuned=GrpoRecipe(
        model=SMOLLM2,
        data=PromptConfig(
            source="stdlib", most_tokens=112, tokens=24, form="continued", seconds=2.0, validation=0.15, test=0.35
        ),
        objective=GrpoObjective(
            group=4, inner=1, beta=0.0, steps=8, top_p=None, lora_rank=16, rollout_batch=8
        ),
        train=TrainingConfig(
            steps=3, batch_size=4, accumulate=2, learning_rate=3e-4, warmup_steps=0, weight_decay=0.0,
            betas=(0.9, 0.99), clip=0.2, ema=None, log_every=1, validate_every=0, checkpoint_every=1, keep_last=1,
            threads=1,
        ),
        evaluation=GrpoEvaluation(prompts=0, samples=4, steps=8, batch=8),
    ),
)  # fmt: skip
_PUBLISHED = GrpoRecipe(
    model=SEVEN_B,
    data=PromptConfig(source="jsonl", path="acecode.jsonl", tokens=256),
    objective=GrpoObjective(start="apple/DiffuCoder-7B-Instruct", steps=256),
    train=TrainingConfig(
        steps=2100, batch_size=8, accumulate=1, learning_rate=1e-6, warmup_steps=1, final_fraction=0.1,
        weight_decay=0.1, betas=(0.9, 0.99), clip=0.2, ema=None, precision="bf16", parallel="fsdp",
        activation_checkpointing=True, log_every=1, validate_every=0, checkpoint_every=64,
    ),
)  # fmt: skip

RECIPES: dict[str, Named] = {
    "grpo-brackets": Named(
        "a small masked model of brackets: random strings teach it, then rewards to match; minutes on one thread",
        _BRACKETS,
    ),
    "grpo-functions": Named(
        "SmolLM2, adapted for a few steps, then by low-rank updates on stubs of the standard library with their "
        "examples, 10 minutes on one thread",
        _FUNCTIONS,
    ),
    "diffucoder-grpo": Named(
        "stage 4 of DiffuCoder-7B: coupled-GRPO on problems with tests (--data.path: JSON lines)",
        _PUBLISHED,
    ),
}
