"""``tenfold evaluate``."""

from tenfold import api, progress
from tenfold.cli.options import bare_settings
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold evaluate runs/a
  tenfold evaluate runs/a --evaluation.draws 64 --json
"""


def run(argv: list[str]) -> int:
    """Measure a run and print the table."""
    parser = CommandParser(
        "evaluate",
        "RUN [--json] [--evaluation.SETTING VALUE ...]",
        "Measure a run's model and its baselines into evaluation.json.",
        EXAMPLES,
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.switch("--json", "print JSON")
    named, _ = parser.peek(argv, bare_settings())
    found = api.open_run(named[0]) if named else None
    settings = found and api.main_stage(found).recipe.evaluation
    if found:
        parser.add_settings(settings, "evaluation")
    given = parser.parse_args(argv)
    if found is None:
        raise UsageError("name a run to evaluate, as in 'tenfold evaluate runs/a'")
    with progress.shown("evaluating"):
        rows = api.evaluate(found, **given.evaluation.as_dict())
    if given.json:
        show.as_json({"run": str(found.path), "metrics": show.rows_as_json(rows)})
    else:
        show.measurements(str(found.path), rows, [found.name])
    return 0
