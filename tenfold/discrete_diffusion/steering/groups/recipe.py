"""Rewards by groups of completions of a prompt: settings and recipes. Imports no PyTorch."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.recipes import MASKED
from tenfold.discrete_diffusion.steering.options import TUNING, RewardName, SteeringEvaluation
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import at_least
from tenfold.training.config import TrainingConfig


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


_TRAIN = replace(TUNING, steps=100, batch_size=4, learning_rate=1e-4)


@dataclass(frozen=True)
class GroupRecipe(Recipe):
    """A masked model tuned by groups of completions."""

    system: ClassVar[str] = "discrete-groups"
    model: DiffusionConfig = MASKED.model
    data: CharacterDataConfig = field(default_factory=CharacterDataConfig)
    objective: GroupObjective = field(default_factory=GroupObjective)
    train: TrainingConfig = _TRAIN
    evaluation: SteeringEvaluation = field(default_factory=SteeringEvaluation)


RECIPES: dict[str, Named] = {
    "kjv-groups": Named(
        "the same by groups of completions of a prompt, drawn in every step, their weights signed",
        GroupRecipe(),
    ),
}
