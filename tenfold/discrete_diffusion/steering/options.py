"""What a user can set about post-training. Imports no PyTorch."""

import math
from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError


@dataclass(frozen=True)
class DistilObjective:
    """Learning from an autoregressive teacher, beside the data.

    Attributes:
        teacher: run or model folder of the autoregressive model.
        start: run or model folder of a masked model to start from; "" for fresh weights.
        method: of the teacher's ratios: "exact" (suffixes are read), or "first_order" (one gradient).
        candidates: the teacher's best tokens that are compared at a site, and the token itself; 0 for all.
        sites: places, the same in all rows, at which the teacher is asked for what is masked; 0 for none.
        samples: rows that the teacher writes before training, to be trained on besides those of the data; 0 for none.
        share: of the teacher's distribution in the target of a site that it is asked for; the rest is the data's token.
        temperature: of the targets.
    """

    teacher: str = "runs/kjv-ar"
    start: str = ""
    method: Literal["exact", "first_order"] = "exact"
    candidates: int = 4
    sites: int = 16
    samples: int = 0
    share: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sites", "samples", "candidates"):
            if getattr(self, name) < 0:
                raise UsageError(f"objective.{name} is {getattr(self, name)}; it must be at least 0")
        if not self.sites and not self.samples:
            raise UsageError("objective.sites and objective.samples are both 0, so nothing is learnt from the teacher; "
                             "set one of them")  # fmt: skip
        if not 0 < self.share <= 1:
            raise UsageError(f"objective.share is {self.share}; the teacher's share lies in (0, 1]")
        if not self.temperature > 0:
            raise UsageError(f"objective.temperature is {self.temperature}; it must be positive")


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
        if self.rows < 0 or self.validation_rows < 0:
            raise UsageError(
                f"data.rows is {self.rows} and data.validation_rows {self.validation_rows}; give 0 or more"
            )


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
        for name, least in (("draws", 1), ("rows", 2), ("teacher_rows", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"evaluation.{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class RewardObjective:
    """Tuning towards p_ref e^{R/β}, β by a budget of divergence.

    Attributes:
        start: run or model folder of the masked model that is tuned, and that stays the reference.
        reward: "testament" (the log-odds of a classifier of character trigrams that tells the New Testament from the
            Old, trained on the validation blocks), or "word_length" (letters of a word, on average).
        form: "sites" (the reward of every token at some masks), or "weights" (the cross entropy of samples drawn by
            e^{R/β}).
        sites: masks of a row of the former.
        budget: nats a sequence of KL(p^R ‖ p_ref): β is the least that the pool keeps it with. The effective sample
            size of the pool falls about as e^(−2 budget).
        pool: samples of the reference.
        pool_steps: of their sampler.
        penalty: weight of w_t KL(p_θ ‖ p_ref) against the bound, at first; it grows while the budget is exceeded, and
            falls otherwise.
    """

    start: str = "runs/kjv-masked"
    reward: Literal["testament", "word_length"] = "testament"
    form: Literal["sites", "weights"] = "sites"
    sites: int = 8
    budget: float = 1.0
    pool: int = 2048
    pool_steps: int = 64
    penalty: float = 0.1

    def __post_init__(self) -> None:
        _check_pool(self.pool, self.pool_steps)
        if self.sites < 1:
            raise UsageError(f"objective.sites is {self.sites}; it must be at least 1")
        if not (math.isfinite(self.budget) and self.budget > 0):
            raise UsageError(f"objective.budget is {self.budget}; give a positive number of nats")
        if not self.penalty > 0:
            raise UsageError(f"objective.penalty is {self.penalty}; it must be positive")


@dataclass(frozen=True)
class GroupObjective:
    """Rewards by groups of completions of a prompt, drawn in each step from the model as it is then (wd1,
    arXiv 2507.08838): no likelihood ratio, no pool, and no fixed point: the reward rises as long as it is trained.

    Attributes:
        start: run or model folder of the masked model that is tuned, and that stays the reference.
        reward: as of reward tuning.
        prompt: characters at the beginning of a training row that are given.
        group: G, completions of a prompt; 2 at least.
        policy: λ, weight of the model as it is; ψ = 1/(λ + β) multiplies rewards.
        reference: β, weight of the reference: completions are then drawn from both, in proportion to λ and β.
        chain_steps: of the sampler.
        inner: updates on the completions of a step.
        form: what is learnt with the weights: "completions" (by the bound on their likelihood), or "predictions" (what
            each completion was predicted to be at steps of its chain).
        noises: patterns of masks for a completion's likelihood, or steps of its chain; the same for the whole group.
        clip: nats of −log p beyond which a completion is pushed down no further.
    """

    start: str = "runs/kjv-masked"
    reward: Literal["testament", "word_length"] = "testament"
    prompt: int = 16
    group: int = 8
    policy: float = 1.0
    reference: float = 0.0
    chain_steps: int = 16
    inner: int = 2
    form: Literal["completions", "predictions"] = "completions"
    noises: int = 2
    clip: float = 160.0

    def __post_init__(self) -> None:
        for name, least in (("prompt", 0), ("group", 2), ("chain_steps", 1), ("inner", 1), ("noises", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"objective.{name} is {getattr(self, name)}; it must be at least {least}")
        if self.policy < 0 or self.reference < 0 or not self.policy + self.reference > 0:
            raise UsageError(
                f"objective.policy is {self.policy} and objective.reference {self.reference}; give two numbers of at "
                "least 0 with a positive sum"
            )
        if not self.clip > 0:
            raise UsageError(f"objective.clip is {self.clip}; give a positive number of nats")


@dataclass(frozen=True)
class PreferenceObjective:
    """Learning from pairs of the reference's samples, the preferred one drawn by Bradley-Terry on a reward.

    Attributes:
        start: run or model folder of the masked model that is tuned, and that stays the reference.
        reward: as of reward tuning; the task itself sees who wins only.
        beta: of the loss: the optimum is p_ref e^{R/β}.
        noises: patterns of masks for a pair, the same for all four terms.
        pool: samples of the reference that are paired; a quarter is held out.
        pool_steps: of their sampler.
    """

    start: str = "runs/kjv-masked"
    reward: Literal["testament", "word_length"] = "testament"
    beta: float = 0.5
    noises: int = 4
    pool: int = 2048
    pool_steps: int = 64

    def __post_init__(self) -> None:
        _check_pool(self.pool, self.pool_steps)
        if not self.beta > 0:
            raise UsageError(f"objective.beta is {self.beta}; it must be positive")
        if self.noises < 1:
            raise UsageError(f"objective.noises is {self.noises}; it must be at least 1")


@dataclass(frozen=True)
class RatioObjective:
    """A density ratio of data against a masked model's own draws, given the same noisy sequence.

    Attributes:
        start: run or model folder of the masked model: the reference, and the ratio network's first weights.
        loss: "bce" (logistic: arXiv 2410.21357), "lsif" (least squares) or "generalised_kl".
        draws: of the reference for each noisy sequence.
        cap: log r beyond which the loss goes on as its tangent: r and r² of a single sequence outweigh all others.
    """

    start: str = "runs/kjv-masked"
    loss: Literal["bce", "lsif", "generalised_kl"] = "bce"
    draws: int = 1
    cap: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.cap <= 40:
            raise UsageError(f"objective.cap is {self.cap}; log r lies in (0, 40]")
        if self.draws < 1:
            raise UsageError(f"objective.draws is {self.draws}; it must be at least 1")


@dataclass(frozen=True)
class SteeringEvaluation:
    """What is measured of a tuned model.

    Attributes:
        samples: of either model, for rewards and divergences.
        steps: of the sampler.
        draws: of noise a row, for the bound.
        rows: most test rows that are scored; 0 for all.
        batch: rows computed together.
    """

    samples: int = 512
    steps: int = 32
    draws: int = 4
    rows: int = 512
    batch: int = 64

    def __post_init__(self) -> None:
        for name, least in (("samples", 2), ("steps", 1), ("draws", 1), ("rows", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"evaluation.{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class RatioEvaluation:
    """What is measured of a density ratio.

    Attributes:
        chain: numbers of steps N of the sampler whose bound is measured.
        candidates: numbers k of candidates that the sampler chooses from.
        rows: most test rows that are scored.
        batch: rows computed together.
    """

    chain: tuple[int, ...] = (1, 2, 4, 8, 16)
    candidates: tuple[int, ...] = (2, 16)
    rows: int = 256
    batch: int = 16

    def __post_init__(self) -> None:
        if not self.chain or not self.candidates or min(*self.chain, *self.candidates) < 1:
            raise UsageError("evaluation.chain and evaluation.candidates need numbers of at least 1")
        if self.rows < 2 or self.batch < 1:
            raise UsageError(f"evaluation.rows is {self.rows} and evaluation.batch {self.batch}; give at least 2 and 1")


def _check_pool(pool: int, steps: int) -> None:
    if pool < 64 or steps < 1:
        raise UsageError(f"objective.pool is {pool} and objective.pool_steps {steps}; give at least 64 and 1")
