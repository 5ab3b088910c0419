"""``tenfold list``."""

from rich.table import Table

from tenfold.api import catalogue
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
    ten = catalogue.ten().values()
    if parser.parse_args(argv).json:
        show.as_json(
            {
                "systems": [{"name": s.name, "title": s.title, "paper": s.paper, "state": s.state} for s in ten],
                "recipes": [
                    {"name": name, "system": recipe.system, "summary": summary}
                    for name, (summary, recipe) in catalogue.recipes().items()
                ],
            }
        )
        return 0
    systems = Table("system", "what it is", "paper", "state", title="systems", title_justify="left")
    for s in ten:
        systems.add_row(s.name, s.title, s.paper, s.state)
    recipes = Table("recipe", "what it trains", title="recipes", title_justify="left")
    for name, (summary, _) in catalogue.recipes().items():
        recipes.add_row(name, summary)
    out = show.console()
    out.print(systems)
    out.print(recipes)
    out.print("tenfold train RECIPE trains one; tenfold train RECIPE --help lists its settings", markup=False)
    return 0
