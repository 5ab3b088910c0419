"""``tenfold evaluate``."""

from tenfold import api, progress
from tenfold.cli import options
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
    options.add_device(parser)
    named, _ = parser.peek(argv, options.bare_settings())
    found = api.open_run(named[0]) if named else None
    if found:
        parser.add_settings(found.main.recipe.evaluation, "evaluation")  # type: ignore[attr-defined]
    given = parser.parse_args(argv)
    if found is None:
        raise UsageError("name a run to evaluate, as in 'tenfold evaluate runs/a'")
    found.place(given.device)
    with progress.shown("evaluating"):
        rows = api.evaluate(found, **given.evaluation.as_dict())
    if given.json:
        show.as_json({"run": str(found.path), "metrics": show.rows_as_json(rows)})
    else:
        show.measurements(str(found.path), rows, [found.name])
    return 0
