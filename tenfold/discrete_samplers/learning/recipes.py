"""Recipes of energies of bits."""

from dataclasses import field
from typing import ClassVar

from tenfold.discrete_samplers.learning.config import (
    DENSITIES,
    DiscreteEnergyConfig,
    EnergyDataSettings,
    LikelihoodEvaluation,
    LikelihoodObjective,
)
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig

_TRAIN = TrainingConfig(
    steps=2000, batch_size=100, learning_rate=1e-2, weight_decay=0.0, ema=0.99, validate_every=0, checkpoint_every=1000
)


@settings
class DiscreteEnergyRecipe(Recipe):
    """Everything a run is made of."""

    system: ClassVar[str] = "discrete-energy"
    model: DiscreteEnergyConfig = field(default_factory=DiscreteEnergyConfig)
    data: EnergyDataSettings = field(default_factory=EnergyDataSettings)
    objective: LikelihoodObjective = field(default_factory=LikelihoodObjective)
    train: TrainingConfig = field(default_factory=lambda: _TRAIN)
    evaluation: LikelihoodEvaluation = field(default_factory=LikelihoodEvaluation)

    def __post_init__(self) -> None:
        if self.model.sites != self.data.sites:
            raise UsageError(
                f"model.sites is {self.model.sites} and {self.data.source} has {self.data.sites} bits; make them equal"
            )
        if self.objective.sparsity and self.model.kind != "couplings":
            raise UsageError(
                f"objective.sparsity is {self.objective.sparsity} and model.kind {self.model.kind}; it is for couplings"
            )


_DIGITS = DiscreteEnergyRecipe()
_COUPLINGS = DiscreteEnergyRecipe(
    model=DiscreteEnergyConfig(sites=25, kind="couplings"), data=EnergyDataSettings(source="ising")
)


def _plane(source: str) -> DiscreteEnergyRecipe:
    return DiscreteEnergyRecipe(
        model=DiscreteEnergyConfig(sites=32, kind="perceptron", hidden=256, layers=3),
        data=EnergyDataSettings(source=source, rows=100_000, test=10_000),  # type: ignore[arg-type]
        objective=LikelihoodObjective(particles=256),
        train=TrainingConfig(
            steps=5000, batch_size=256, learning_rate=2e-3, weight_decay=0.0, ema=0.999, validate_every=0
        ),
        evaluation=LikelihoodEvaluation(samples=4000, steps=100),
    )


RECIPES = {
    "digits-machine": Named("a Boltzmann machine with 16 hidden bits of the 8 x 8 digits, exact log Z", _DIGITS),
    "ising-couplings": Named("the couplings of a 5 x 5 lattice from 2000 draws", _COUPLINGS),
    **{f"plane-{name}": Named(f"the density {name} as 32 Gray-coded bits", _plane(name)) for name in DENSITIES},
}
