"""What the system is, and its parts by what is read. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import replace

from tenfold import ordering
from tenfold.ordering import commands
from tenfold.ordering.options import SetsAnalysis
from tenfold.ordering.recipes import ARITHMETIC_RECIPES, CONTINUED_RECIPES, RECIPES, TOKEN_RECIPES, OrderRecipe
from tenfold.ordering.results import JOBS
from tenfold.runs.system import Command, Example, Named, System

_ORDERING = System(
    name="ordering",
    title="Right-to-left factorization and multiple choice",
    paper="arXiv:2502.18435",
    state="works; SmolLM2's rules alone are recorded, no trained orders",
    task=lambda: ordering.OrderTask,
    model=lambda: ordering.OrderLM,
    recipes=RECIPES,
    plain=OrderRecipe(),
    jobs=JOBS,
    benchmarks=("ordering",),
    examples={
        "smollm2-choices": Example(
            "analyse",
            "SmolLM2-135M on LogiQA and on sets of BIG-bench, by every rule",
            lambda: ordering.smollm2_choices,
        )
    },
    commands={
        "score-choices": Command(
            "multiple-choice items under any model of texts, by every rule",
            lambda argv: commands.run_score_choices(argv),
        ),
        "entropy": Command(
            "how uncertain a causal model is of answers given questions, and the other way round",
            lambda argv: commands.run_entropy(argv),
        ),
    },
)


def _part(name: str, title: str, recipes: Mapping[str, Named]) -> System:
    """What trains the same models on other texts."""
    paper, task = _ORDERING.paper, _ORDERING.task
    return System(name, title, paper, "a part of ordering", "ordering", task=task, recipes=recipes)


SYSTEMS = (
    _ORDERING,
    _part("ordering-tokens", "Models in an order of a tokenizer's tokens", TOKEN_RECIPES),
    replace(
        _part("ordering-continued", "Published models trained on in another order", CONTINUED_RECIPES),
        options={"analyse": SetsAnalysis},
    ),
    _part("ordering-arithmetic", "Models in an order of equations", ARITHMETIC_RECIPES),
)
