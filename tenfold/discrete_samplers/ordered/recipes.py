"""Recipes of samplers in an order."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.discrete_samplers.ordered.config import OrderedConfig, OrderedEvaluation, OrderedObjective
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig

_TRAIN = TrainingConfig(
    steps=1500,
    batch_size=256,
    learning_rate=2e-3,
    weight_decay=1e-4,
    ema=0.99,
    validate_every=0,
    checkpoint_every=500,
)


@settings
class OrderedRecipe(Recipe):
    """Everything a run is made of."""

    system: ClassVar[str] = "ordered-sampler"
    model: OrderedConfig = field(default_factory=OrderedConfig)
    objective: OrderedObjective = field(default_factory=OrderedObjective)
    train: TrainingConfig = field(default_factory=lambda: _TRAIN)
    evaluation: OrderedEvaluation = field(default_factory=OrderedEvaluation)

    def __post_init__(self) -> None:
        if (self.objective.loss == "free-energy") != (self.model.order == "raster"):
            raise UsageError(
                f"objective.loss is {self.objective.loss} and model.order {self.model.order}; free-energy is for the "
                "raster order, cross-entropy and log-variance are for any"
            )
        if self.objective.loss == "log-variance" and self.train.batch_size // self.train.accumulate < 2:
            raise UsageError(
                f"train.batch_size is {self.train.batch_size} in {self.train.accumulate} rounds; a variance takes at "
                "least 2 samples a round"
            )


_MASKED = OrderedRecipe()
_RASTER = OrderedRecipe(
    model=OrderedConfig(order="raster"),
    objective=OrderedObjective(loss="free-energy"),
    train=replace(_TRAIN, steps=1000, batch_size=128),
)
_LARGE = OrderedRecipe(
    model=OrderedConfig(height=10, width=10, hidden=64, layers=3),
    objective=OrderedObjective(curriculum=0.5, samples=256, inner=20),
    train=replace(_TRAIN, steps=4000, batch_size=512),
)

RECIPES = {
    "ising-4x4-masked": Named("spins on 4 x 4 at beta 0.2, revealed in any order", _MASKED),
    "ising-4x4-autoregressive": Named("the same, row by row", _RASTER),
    "ising-10x10-masked": Named("spins on 10 x 10 at beta 0.2, in any order, hours on a CPU", _LARGE),
}
