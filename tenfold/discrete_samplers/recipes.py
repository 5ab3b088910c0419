"""Recipes of neural samplers of lattices (arXiv 2505.17741)."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.discrete_samplers.config import LatticeEvaluation, LatticeFlowConfig, ResidualObjective
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig

_TRAIN = TrainingConfig(
    steps=1000,
    batch_size=256,
    learning_rate=3e-3,
    weight_decay=1e-4,
    clip=10.0,
    ema=0.99,
    validate_every=0,
    checkpoint_every=500,
)


@settings
class LatticeFlowRecipe(Recipe):
    """Everything a run is made of."""

    system: ClassVar[str] = "dnfs"
    model: LatticeFlowConfig = field(default_factory=LatticeFlowConfig)
    objective: ResidualObjective = field(default_factory=ResidualObjective)
    train: TrainingConfig = field(default_factory=lambda: _TRAIN)
    evaluation: LatticeEvaluation = field(default_factory=LatticeEvaluation)

    def __post_init__(self) -> None:
        sites = self.model.height * self.model.width
        if self.evaluation.distances and self.model.states**sites > 2**16:
            raise UsageError(
                f"evaluation.distances is {self.evaluation.distances} on {self.model.states}^{sites} states; up to "
                "2^16 are counted, set it to 0"
            )


_SMALL = LatticeFlowRecipe(evaluation=LatticeEvaluation(samples=20000, steps=32))
_CRITICAL = LatticeFlowRecipe(
    model=LatticeFlowConfig(height=3, width=3, beta=0.4461),
    evaluation=LatticeEvaluation(samples=20000, steps=32, apart=2),
)
_FIELD = LatticeFlowRecipe(
    model=LatticeFlowConfig(beta=0.6, field=0.06),
    objective=ResidualObjective(curriculum=0.5, start=0.3),
    train=replace(_TRAIN, steps=3000, ema=0.995),
    evaluation=LatticeEvaluation(samples=8192, steps=64, distances=2**15),
)
_LARGE = LatticeFlowRecipe(
    model=LatticeFlowConfig(height=10, width=10),
    objective=ResidualObjective(steps=64, trajectories=64, buffer=256),
    train=replace(_TRAIN, steps=1500),
    evaluation=LatticeEvaluation(samples=2048, apart=2),
)
_LARGE_CRITICAL = LatticeFlowRecipe(
    model=LatticeFlowConfig(height=10, width=10, beta=0.4461),
    objective=ResidualObjective(steps=64, trajectories=64, inner=20, buffer=256, curriculum=0.6, start=0.45),
    train=replace(_TRAIN, steps=9000, ema=0.998),
    evaluation=LatticeEvaluation(samples=1024, steps=128, grid="adapted", apart=3),
)
_POTTS = LatticeFlowRecipe(
    model=LatticeFlowConfig(target="potts", states=3, beta=0.5, network="convolution"),
    train=replace(_TRAIN, steps=1500),
)
_TRANSFORMER = LatticeFlowRecipe(
    model=LatticeFlowConfig(network="transformer", hidden=32, head=8, blocks=1, conditional=None),
    objective=ResidualObjective(clamp=5.0),
    train=replace(_TRAIN, steps=1500),
)

RECIPES = {
    "ising-4x4": Named("spins on 4 x 4 at beta 0.2, minutes on a CPU", _SMALL),
    "ising-3x3-critical": Named("spins on 3 x 3 at beta 0.4461, minutes on a CPU", _CRITICAL),
    "ising-4x4-field": Named("spins on 4 x 4 at beta 0.6 in a field, and distances from the exact law", _FIELD),
    "ising-4x4-transformer": Named("the same by the published transformer alone", _TRANSFORMER),
    "ising-10x10": Named("spins on 10 x 10 at beta 0.2, the published size", _LARGE),
    "ising-10x10-critical": Named("spins on 10 x 10 at beta 0.4461, by a growing coupling", _LARGE_CRITICAL),
    "potts-4x4": Named("three colours on 4 x 4 at beta 0.5", _POTTS),
}
