"""What a user can set about training and measuring a masked language model. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError


@dataclass(frozen=True)
class MaskedObjective:
    """What is learnt, and from which weights.

    Attributes:
        kind: "masked" (the masked-diffusion bound) or "autoregressive" (the same network read from left to right,
            whose weights a masked model can start from).
        start: weights to start from: a run or a model folder of a masked-lm, a checkpoint that 'tenfold convert
            masked-lm' reads, or "smollm2"; "" for random ones.
        loss: at a masked token: "cross_entropy" (the bound), or "score" (the score form of target concrete score
            matching with the generalised KL divergence, per token of the vocabulary).
        normaliser: of the loss: "token" (per maskable token of the batch), "sequence" (per row and token), "batch"
            (per row), or "none" (the sum).
        times: "stratified" (over the batch, t = (u + i/B) mod 1), "uniform", or "count" (the number of masks is drawn,
            not the time; stratified too).
        epsilon: the least time.
        anneal_steps: S, steps over which the causal attention of the start is opened; 0 opens it at once.
        prefix_share: share of the rows of which a random prefix is left unmasked (published: 0.01).
        cut_share: share of the rows that are cut to a random length (published: 0.01).
        condition_steps: steps over which prompts come to be spared from masks, ever more often; 0 spares them from
            the beginning. (Published for instruction tuning: the first epoch.)
        lora_rank: rank of low-rank updates of the linear layers, which alone are trained; 0 trains all weights.
        lora_alpha: their scale is lora_alpha / lora_rank.
        lora_dropout: on what enters them.
    """

    kind: Literal["masked", "autoregressive"] = "masked"
    start: str = ""
    loss: Literal["cross_entropy", "score"] = "cross_entropy"
    normaliser: Literal["token", "sequence", "batch", "none"] = "token"
    times: Literal["stratified", "uniform", "count"] = "stratified"
    epsilon: float = 1e-3
    anneal_steps: int = 0
    prefix_share: float = 0.0
    cut_share: float = 0.0
    condition_steps: int = 0
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 1:
            raise UsageError(f"objective.epsilon is {self.epsilon}; the least time lies between 0 and 1")
        for name in ("anneal_steps", "condition_steps", "lora_rank"):
            if getattr(self, name) < 0:
                raise UsageError(f"objective.{name} is {getattr(self, name)}; it must be at least 0")
        for name in ("prefix_share", "cut_share", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"objective.{name} is {getattr(self, name)}; give a share in [0, 1)")
        if not self.lora_alpha > 0:
            raise UsageError(f"objective.lora_alpha is {self.lora_alpha}; it must be positive")
        if self.lora_rank and not self.start:
            raise UsageError(
                "low-rank updates need weights to update; set --objective.start, or --objective.lora_rank 0"
            )
        if self.kind == "autoregressive" and self.loss != "cross_entropy":
            raise UsageError("an autoregressive model has no masks to score; set --objective.loss cross_entropy")
        if self.kind == "autoregressive" and self.anneal_steps:
            raise UsageError("an autoregressive model keeps its causal attention; set --objective.anneal_steps 0")


@dataclass(frozen=True)
class MaskedEvaluation:
    """What is measured on the test split after training.

    Attributes:
        draws: of masks a row, for the bound.
        rows: most rows that are scored; 0 for all.
        batch: rows computed together.
        baselines: whether counted byte models are measured beside.
        start: whether the weights that training started from are measured too: their bound, and their left-to-right
            likelihood.
        holes: holes of 1 to 8 tokens in test rows that are filled and scored by exact match, by an autoregressive
            model from what stands left of them; 0 for none.
    """

    draws: int = 16
    rows: int = 0
    batch: int = 32
    baselines: bool = True
    start: bool = False
    holes: int = 200

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("rows", 0), ("batch", 1), ("holes", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"evaluation.{name} is {getattr(self, name)}; it must be at least {least}")
