"""Recipes of samplers that are conditioned on graphs."""

from dataclasses import field
from typing import ClassVar

from tenfold.discrete_samplers.graphs.config import GraphEvaluation, GraphFlowConfig, GraphObjective, GraphSetSettings
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig

_TRAIN = TrainingConfig(
    steps=1500,
    batch_size=256,
    learning_rate=1e-3,
    weight_decay=1e-4,
    clip=10.0,
    ema=0.99,
    validate_every=0,
    checkpoint_every=500,
)


@settings
class GraphFlowRecipe(Recipe):
    """Everything a run is made of."""

    system: ClassVar[str] = "graph-flow"
    model: GraphFlowConfig = field(default_factory=GraphFlowConfig)
    data: GraphSetSettings = field(default_factory=GraphSetSettings)
    objective: GraphObjective = field(default_factory=GraphObjective)
    train: TrainingConfig = field(default_factory=lambda: _TRAIN)
    evaluation: GraphEvaluation = field(default_factory=GraphEvaluation)

    def __post_init__(self) -> None:
        if self.data.most > self.model.nodes:
            raise UsageError(
                f"data.most is {self.data.most} and model.nodes {self.model.nodes}; the network needs as many nodes as "
                "the largest graph"
            )


RECIPES = {
    "graphs-mis": Named("independent sets of random graphs of 16 to 20 nodes, minutes on a CPU", GraphFlowRecipe()),
    "graphs-cut": Named(
        "cuts of graphs of preferential attachment, 16 to 20 nodes",
        GraphFlowRecipe(
            model=GraphFlowConfig(problem="cut", inverse_temperature=2.0), data=GraphSetSettings(kind="ba")
        ),
    ),
}
