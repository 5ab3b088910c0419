"""What the system is, and its parts by what is read. Imports nothing heavy."""

from dataclasses import replace

from tenfold import ordering
from tenfold.ordering import commands
from tenfold.ordering.recipes import ARITHMETIC_RECIPES, RECIPES, TOKEN_RECIPES, OrderRecipe
from tenfold.runs.system import Command, System

_ORDERING = System(
    name="ordering",
    title="Right-to-left factorization and multiple choice",
    paper="arXiv:2502.18435",
    state="scores choices and trains in every order; recorded results and a guide are missing",
    task=lambda: ordering.OrderTask,
    model=lambda: ordering.OrderLM,
    recipes=RECIPES,
    plain=OrderRecipe(),
    commands={
        "score-choices": Command(
            "multiple-choice items under any model of texts, by every rule",
            lambda argv: commands.run_score_choices(argv),
        ),
    },
)
_PART = replace(_ORDERING, state="a part of ordering", part_of="ordering", model=None, plain=None, commands={})

SYSTEMS = (
    _ORDERING,
    replace(_PART, name="ordering-tokens", title="The same of a tokenizer's tokens", recipes=TOKEN_RECIPES),
    replace(_PART, name="ordering-arithmetic", title="The same of equations", recipes=ARITHMETIC_RECIPES),
)
