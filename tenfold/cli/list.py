"""``tenfold list``."""

from rich.table import Table

from tenfold.recipes import RECIPES, SYSTEMS
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold list
  tenfold list --json
"""


def run(argv: list[str]) -> int:
    """Print the systems and the recipes."""
    parser = CommandParser("list", "[--json]", "The ten systems, their state, and the recipes to train.", EXAMPLES)
    parser.switch("--json", "print JSON")
    if parser.parse_args(argv).json:
        show.as_json(
            {
                "systems": [
                    {"name": name, "title": s.title, "paper": s.paper, "state": s.state} for name, s in SYSTEMS.items()
                ],
                "recipes": [
                    {"name": name, "system": recipe.system, "summary": summary}
                    for name, (summary, recipe) in RECIPES.items()
                ],
            }
        )
        return 0
    systems = Table("system", "what it is", "paper", "state", title="systems", title_justify="left")
    for name, s in SYSTEMS.items():
        systems.add_row(name, s.title, s.paper, s.state)
    recipes = Table("recipe", "what it trains", title="recipes", title_justify="left")
    for name, (summary, _) in RECIPES.items():
        recipes.add_row(name, summary)
    out = show.console()
    out.print(systems)
    out.print(recipes)
    out.print("tenfold train RECIPE trains one; tenfold train RECIPE --help lists its settings", markup=False)
    return 0
