"""``tenfold list``."""

from rich.table import Table

from tenfold.api import catalogue
from tenfold.errors import UsageError, suggest
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold list
  tenfold list --system dnfs
  tenfold list --json
"""


def run(argv: list[str]) -> int:
    """Print the systems and the recipes."""
    summary = "The ten systems, their state, and the recipes to train."
    parser = CommandParser("list", "[--system NAME] [--json]", summary, EXAMPLES)
    parser.add_option("--system", str | None, None, "one system and its recipes")
    parser.switch("--json", "print JSON")
    given = parser.parse_args(argv)
    known = catalogue.ten()
    if given.system is not None and given.system not in known:
        raise UsageError(f"there is no system {given.system!r}{suggest(given.system, known)}")
    ten = [system for name, system in known.items() if given.system in (None, name)]
    chosen = {
        name: made for name, made in catalogue.recipes().items() if _owner(made.recipe.system) in {s.name for s in ten}
    }
    if given.json:
        show.as_json(
            {
                "systems": [{"name": s.name, "title": s.title, "paper": s.paper, "state": s.state} for s in ten],
                "recipes": [
                    {"name": name, "system": recipe.system, "summary": summary}
                    for name, (summary, recipe) in chosen.items()
                ],
            }
        )
        return 0
    systems = Table("system", "what it is", "paper", "state", title="systems", title_justify="left")
    for s in ten:
        systems.add_row(s.name, s.title, s.paper, s.state)
    recipes = Table("recipe", "what it trains", title="recipes", title_justify="left")
    for name, (summary, _) in chosen.items():
        recipes.add_row(name, summary)
    out = show.console()
    out.print(systems)
    out.print(recipes)
    out.print("tenfold train RECIPE trains one; tenfold train RECIPE --help lists its settings", markup=False)
    return 0


def _owner(system: str) -> str:
    """The one of the ten that a system is, or is a part of."""
    return catalogue.systems()[system].part_of or system
