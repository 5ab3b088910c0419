"""Recipes of masked diffusion language models for code (DiffuCoder, arXiv 2506.20639)."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.data.text.config import CodeDataConfig
from tenfold.errors import UsageError
from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.options import MaskedEvaluation, MaskedObjective
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig


@settings
class MaskedLMRecipe(Recipe):
    """A masked language model, or the autoregressive one that it can start from."""

    system: ClassVar[str] = "masked-lm"
    model: MaskedLMConfig = field(default_factory=MaskedLMConfig)
    data: CodeDataConfig = field(default_factory=CodeDataConfig)
    objective: MaskedObjective = field(default_factory=MaskedObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: MaskedEvaluation = field(default_factory=MaskedEvaluation)


@settings
class MaskedLMPipeline(Recipe):
    """First a model that reads from left to right, then a masked one that starts from its weights."""

    system: ClassVar[str] = "masked-lm"
    stages: ClassVar[tuple[str, ...]] = ("autoregressive", "masked")
    main: ClassVar[str] = "masked"
    described: ClassVar[tuple[str, ...]] = ("autoregressive", "masked")
    autoregressive: MaskedLMRecipe = field(default_factory=MaskedLMRecipe)
    masked: MaskedLMRecipe = field(default_factory=MaskedLMRecipe)

    def __post_init__(self) -> None:
        if self.autoregressive.model != self.masked.model:
            raise UsageError(
                "autoregressive.model and masked.model differ, so that one cannot start from the other; set both alike"
            )
        if self.autoregressive.objective.kind != "autoregressive" or self.masked.objective.kind != "masked":
            raise UsageError(
                "autoregressive.objective.kind and masked.objective.kind must say what the stages are called"
            )

    def stage(self, name: str, folder: str) -> MaskedLMRecipe:
        """A stage's own recipe, for a run in ``folder``."""
        if name == "autoregressive":
            return self.autoregressive
        return replace(self.masked, objective=replace(self.masked.objective, start=f"{folder}/autoregressive"))


def _from_autoregressive(recipe: MaskedLMRecipe, steps: int, anneal_steps: int) -> MaskedLMPipeline:
    """``recipe`` with its first ``steps`` on the next token, and the rest on the masked bound."""
    first = replace(
        recipe,
        objective=replace(recipe.objective, kind="autoregressive"),
        train=replace(recipe.train, steps=steps),
        evaluation=replace(recipe.evaluation, baselines=False),
    )
    rest = replace(
        recipe,
        objective=replace(recipe.objective, anneal_steps=anneal_steps),
        train=replace(recipe.train, steps=recipe.train.steps - steps),
    )
    return MaskedLMPipeline(autoregressive=first, masked=rest)


_BYTES = MaskedLMRecipe(
    model=MaskedLMConfig(width=128, layers=4, heads=4, intermediate=384),
    data=CodeDataConfig(length=256, stride=64),
    objective=MaskedObjective(times="count"),
    train=TrainingConfig(
        steps=1000, batch_size=4, learning_rate=3e-3, warmup_steps=60, final_fraction=0.05, weight_decay=0.05,
        betas=(0.9, 0.98), ema=0.99, validate_every=0, checkpoint_every=500, threads=1,
    ),
    evaluation=MaskedEvaluation(draws=8),
)  # fmt: skip
_FLAGSHIP = replace(
    _BYTES,
    model=MaskedLMConfig(width=192, layers=4, heads=6, intermediate=576),
    data=CodeDataConfig(length=256, stride=64, functions="all", most_characters=0),
    train=replace(_BYTES.train, steps=3600, batch_size=8, ema=0.995, checkpoint_every=300),
    evaluation=MaskedEvaluation(draws=4, holes=500),
)
# SmolLM2-135M with the row of its mask.
SMOLLM2 = MaskedLMConfig(
    family="llama", vocab_size=49153, width=576, layers=30, heads=9, kv_heads=3, intermediate=1536, positions=8192,
    rope_theta=1e5, norm_epsilon=9.999999747378752e-06, tied=True, mask=49152, pad=2, bos=1, eos=2, tokenizer="files",
)  # fmt: skip
_SMOLLM2_FULL = MaskedLMRecipe(
    model=SMOLLM2,
    data=CodeDataConfig(length=256, stride=0),
    objective=MaskedObjective(start="smollm2", times="count", anneal_steps=20),
    train=TrainingConfig(
        steps=90, batch_size=4, learning_rate=1e-4, warmup_steps=5, final_fraction=0.1, weight_decay=0.01, ema=None,
        log_every=1, validate_every=0, checkpoint_every=15, keep_last=1, threads=1,
    ),
    evaluation=MaskedEvaluation(draws=4, rows=32, batch=4, start=True, holes=40),
)  # fmt: skip
# What the published checkpoints' config.json says.
SEVEN_B = MaskedLMConfig(
    family="qwen2", vocab_size=152064, width=3584, layers=28, heads=28, kv_heads=4, intermediate=18944,
    positions=131072, rope_theta=1e6, mask=151666, pad=151643, bos=151665, eos=151643, tokenizer="files",
)  # fmt: skip


def _stage(
    length: int, start: str, steps: int, batch: int, rate: float, warmup: int, objective: MaskedObjective
) -> MaskedLMRecipe:
    """A stage of the published training (arXiv 2506.20639, section 4.1 and appendix B)."""
    instruct = objective.condition_steps > 0
    return MaskedLMRecipe(
        model=SEVEN_B,
        data=CodeDataConfig(
            source="jsonl", path="", length=length, most_characters=0, packed=not instruct, learn_padding=instruct
        ),
        objective=replace(objective, start=start),
        train=TrainingConfig(
            steps=steps, batch_size=batch, learning_rate=rate, warmup_steps=warmup, final_fraction=0.1, ema=None,
            precision="bf16", parallel="fsdp", activation_checkpointing=True, validate_every=5000,
            checkpoint_every=1000,
        ),
    )  # fmt: skip


_EPOCH = 436_000 // 128  # steps of the instructions
_ADAPTATION = MaskedObjective(anneal_steps=10_000, prefix_share=0.01, cut_share=0.01)
_INSTRUCTION = MaskedObjective(condition_steps=_EPOCH)

RECIPES: dict[str, Named] = {
    "code-bytes": Named(
        "a masked model of bytes from scratch, on functions of Python's standard library, 4 minutes on one thread",
        _BYTES,
    ),
    "code-bytes-ar": Named(
        "the same network from left to right: what code-bytes is compared with",
        replace(_BYTES, objective=replace(_BYTES.objective, kind="autoregressive")),
    ),
    "code-bytes-from-ar": Named(
        "the first half of code-bytes' steps from left to right, then masked, its attention opened little by little",
        _from_autoregressive(_BYTES, 500, anneal_steps=100),
    ),
    "code-bytes-from-ar-at-once": Named(
        "the same with the attention opened at once",
        _from_autoregressive(_BYTES, 500, anneal_steps=0),
    ),
    "code-bytes-flagship": Named(
        "a larger masked model of bytes, at most 40 minutes on one or two threads",
        _from_autoregressive(_FLAGSHIP, 1400, anneal_steps=200),
    ),
    "smollm2-code": Named(
        "SmolLM2-135M as a masked model, adapted to the standard library with all weights, about 30 minutes",
        _SMOLLM2_FULL,
    ),
    "smollm2-code-lora": Named(
        "the same with low-rank updates",
        replace(
            _SMOLLM2_FULL,
            objective=replace(_SMOLLM2_FULL.objective, lora_rank=16),
            train=replace(_SMOLLM2_FULL.train, steps=100, learning_rate=1e-3),
        ),
    ),
    "diffucoder-adaptation": Named(
        "stage 1 of DiffuCoder-7B: Qwen2.5-Coder to a masked model, 65 billion tokens (--data.path: JSON lines)",
        _stage(4096, "Qwen/Qwen2.5-Coder-7B", 100_000, 160, 2e-5, 20_000, _ADAPTATION),
    ),
    "diffucoder-midtraining": Named(
        "stage 2: annealing data, 16 billion tokens four times",
        _stage(4096, "runs/diffucoder-adaptation", 124_000, 128, 1e-5, 2_000, MaskedObjective()),
    ),
    "diffucoder-instruct": Named(
        "stage 3: instructions, rows of 2,048, padding learnt, prompts spared from masks after the first epoch",
        _stage(2048, "runs/diffucoder-midtraining", 5 * _EPOCH, 128, 1e-5, 5 * _EPOCH // 10, _INSTRUCTION),
    ),
}
