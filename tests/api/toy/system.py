"""What the toy is. Imports nothing heavy."""

from dataclasses import dataclass, field
from typing import ClassVar

from tenfold.toy.config import (  # type: ignore[import-not-found]
    Greeting,
    LineAnalysis,
    LineConfig,
    LineEvaluation,
    LineSampling,
    LineScoring,
    PointData,
)

from tenfold import toy  # type: ignore[attr-defined]
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Example, Named, System, Verb
from tenfold.training.config import TrainingConfig


@dataclass(frozen=True)
class LineRecipe(Recipe):
    """A line."""

    system: ClassVar[str] = "toy"
    model: LineConfig = field(default_factory=LineConfig)
    data: PointData = field(default_factory=PointData)
    train: TrainingConfig = field(default_factory=lambda: TrainingConfig(steps=6, batch_size=8, threads=1))
    evaluation: LineEvaluation = field(default_factory=LineEvaluation)


SYSTEMS = (
    System(
        name="toy",
        title="A line through points",
        paper="arXiv:0000.00000",
        task=lambda: toy.LineTask,
        model=lambda: toy.Line,
        published=lambda: toy.read_published,
        options={"sample": LineSampling, "score": LineScoring, "analyse": LineAnalysis},
        verbs={"greet": Verb("say something to a file", Greeting, "FILE", "  tenfold greet runs/a names.txt\n")},
        recipes={"toy-line": Named("a line through 64 points, a second", LineRecipe())},
        plain=LineRecipe(),
        examples={"toy-tour": Example("analyse", "what the toy can do", lambda: toy.worked)},
    ),
)
