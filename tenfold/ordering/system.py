"""What the system is. Imports nothing heavy."""

from tenfold.ordering import commands
from tenfold.runs.system import Command, System

SYSTEMS = (
    System(
        name="ordering",
        title="Right-to-left factorization and multiple choice",
        paper="arXiv:2502.18435",
        state="items are scored by every rule; training in other orders is missing",
        commands={
            "score-choices": Command(
                "multiple-choice items under any model of texts, by every rule",
                lambda argv: commands.run_score_choices(argv),
            ),
        },
    ),
)
