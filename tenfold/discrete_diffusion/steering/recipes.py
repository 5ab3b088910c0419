"""The ways of steering: what each can be told, where it starts, how it is measured, its recipes. No PyTorch."""

import math
from dataclasses import field, replace
from typing import Any, ClassVar, Literal

from tenfold.data.text.config import CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionEvaluation, DiffusionSampling
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least, settings
from tenfold.training.config import TrainingConfig

RewardName = Literal["testament", "word_length"]
TUNING = replace(
    MASKED.train, steps=400, learning_rate=3e-4, warmup_steps=20, batch_size=32, validate_every=0, log_every=10
)
"""Training that goes on from the model of "kjv-masked"."""


@settings
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
        at_least(self, "evaluation", samples=2, steps=1, draws=1, rows=0, batch=1)


@settings
class SteeringRecipe(Recipe):
    """What the recipes of all ways have, on characters; each has an objective of its own."""

    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: Any = None
    train: TrainingConfig = TUNING
    evaluation: Any = field(default_factory=SteeringEvaluation)


@settings
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
        at_least(self, "objective", sites=0, samples=0, candidates=0)
        if not self.sites and not self.samples:
            raise UsageError("objective.sites and objective.samples are both 0, so nothing is learnt from the teacher; "
                             "set one of them")  # fmt: skip
        if not 0 < self.share <= 1:
            raise UsageError(f"objective.share is {self.share}; the teacher's share lies in (0, 1]")
        if not self.temperature > 0:
            raise UsageError(f"objective.temperature is {self.temperature}; it must be positive")


@settings
class DistilRecipe(SteeringRecipe):
    """A masked model that learns from an autoregressive one."""

    system: ClassVar[str] = "discrete-distil"
    objective: DistilObjective = field(default_factory=DistilObjective)
    train: TrainingConfig = MASKED.train
    evaluation: DiffusionEvaluation = field(default_factory=DiffusionEvaluation)


_DISTILLED = DistilRecipe()
DISTIL: dict[str, Named] = {
    "kjv-distil": Named(
        "kjv-masked's network from an autoregressive teacher (--objective.teacher): its best letters, suffixes read",
        _DISTILLED,
    ),
    "kjv-distil-first-order": Named(
        "the same from one gradient of the teacher for all letters",
        replace(_DISTILLED, objective=DistilObjective(method="first_order", candidates=0, sites=64, share=0.5)),
    ),
    "kjv-distil-few": Named(
        "kjv-masked's network from 200 rows of the text and 16,384 that the teacher writes (--objective.teacher)",
        replace(
            _DISTILLED,
            data=replace(_DISTILLED.data, rows=200),
            objective=DistilObjective(sites=0, samples=16384),
        ),
    ),
}


@settings
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
    reward: RewardName = "testament"
    form: Literal["sites", "weights"] = "sites"
    sites: int = 8
    budget: float = 1.0
    pool: int = 2048
    pool_steps: int = 64
    penalty: float = 0.1

    def __post_init__(self) -> None:
        at_least(self, "objective", pool=64, pool_steps=1, sites=1)
        if not (math.isfinite(self.budget) and self.budget > 0):
            raise UsageError(f"objective.budget is {self.budget}; give a positive number of nats")
        if not self.penalty > 0:
            raise UsageError(f"objective.penalty is {self.penalty}; it must be positive")


@settings
class RewardRecipe(SteeringRecipe):
    """A masked model tuned towards a reward."""

    system: ClassVar[str] = "discrete-reward"
    objective: RewardObjective = field(default_factory=RewardObjective)


REWARD: dict[str, Named] = {
    "kjv-reward": Named(
        "a masked model (--objective.start) tuned towards the New Testament's style within a nat",
        RewardRecipe(),
    ),
    "kjv-reward-weights": Named(
        "the same by the cross entropy of samples drawn by their weights",
        RewardRecipe(objective=RewardObjective(form="weights", penalty=0.3)),
    ),
}


@settings
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
    reward: RewardName = "testament"
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
        at_least(self, "objective", prompt=0, group=2, chain_steps=1, inner=1, noises=1)
        if self.policy < 0 or self.reference < 0 or not self.policy + self.reference > 0:
            raise UsageError(
                f"objective.policy is {self.policy} and objective.reference {self.reference}; give two numbers of at "
                "least 0 with a positive sum"
            )
        if not self.clip > 0:
            raise UsageError(f"objective.clip is {self.clip}; give a positive number of nats")


@settings
class GroupRecipe(SteeringRecipe):
    """A masked model tuned by groups of completions."""

    system: ClassVar[str] = "discrete-groups"
    objective: GroupObjective = field(default_factory=GroupObjective)
    train: TrainingConfig = field(default_factory=lambda: replace(TUNING, steps=100, batch_size=4, learning_rate=1e-4))


GROUPS: dict[str, Named] = {
    "kjv-groups": Named(
        "the same by groups of completions of a prompt, drawn in every step, their weights signed",
        GroupRecipe(),
    ),
}


@settings
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
    reward: RewardName = "testament"
    beta: float = 0.5
    noises: int = 4
    pool: int = 2048
    pool_steps: int = 64

    def __post_init__(self) -> None:
        at_least(self, "objective", pool=64, pool_steps=1, noises=1)
        if not self.beta > 0:
            raise UsageError(f"objective.beta is {self.beta}; it must be positive")


@settings
class PreferenceRecipe(SteeringRecipe):
    """A masked model tuned on pairs."""

    system: ClassVar[str] = "discrete-preference"
    objective: PreferenceObjective = field(default_factory=PreferenceObjective)
    train: TrainingConfig = field(default_factory=lambda: replace(TUNING, batch_size=16))


PREFERENCE: dict[str, Named] = {
    "kjv-preference": Named(
        "the same model tuned on pairs of its samples, of which the New Testament's style wins",
        PreferenceRecipe(),
    ),
}


@settings
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
        at_least(self, "objective", draws=1)


@settings
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
        at_least(self, "evaluation", rows=2, batch=1)


@settings
class RatioSampling(DiffusionSampling):
    """Options of ``tenfold sample`` for a density ratio: those of the model that it corrects; ``candidates`` texts are
    drawn at each step, of which the ratio chooses one, and 1 is the plain chain."""

    candidates: int = 4


_RATIO_TRAIN = replace(MASKED.train, learning_rate=1e-3, validate_every=500)


@settings
class RatioRecipe(SteeringRecipe):
    """A density ratio that corrects a masked model."""

    system: ClassVar[str] = "discrete-ratio"
    objective: RatioObjective = field(default_factory=RatioObjective)
    train: TrainingConfig = _RATIO_TRAIN
    evaluation: RatioEvaluation = field(default_factory=RatioEvaluation)


_RATIO = RatioRecipe()
RATIO: dict[str, Named] = {
    "kjv-ratio": Named("a density ratio between the text and a masked model's draws, logistic", _RATIO),
    "kjv-ratio-lsif": Named(
        "the same by least squares",
        replace(_RATIO, objective=RatioObjective(loss="lsif", cap=2.0)),
    ),
    "kjv-ratio-kl": Named(
        "the same by the generalised KL divergence",
        replace(_RATIO, objective=RatioObjective(loss="generalised_kl", cap=4.0)),
    ),
}
