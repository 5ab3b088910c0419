"""``tenfold evaluate``."""

from tenfold import api
from tenfold.cli import show
from tenfold.cli.parser import CommandParser

EXAMPLES = """\
  tenfold evaluate runs/a
  tenfold evaluate runs/a --json
"""


def run(argv: list[str]) -> int:
    """Measure a run and print the table."""
    parser = CommandParser(
        "evaluate", "RUN [--json]", "Measure a run's model and its baselines into evaluation.json.", EXAMPLES
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.switch("--json", "print JSON")
    given = parser.parse_args(argv)
    found = api.open_run(given.run)
    with show.busy("evaluating"):
        rows = api.evaluate(found)
    if given.json:
        show.as_json({"run": str(found.path), "metrics": show.rows_as_json(rows)})
    else:
        show.measurements(str(found.path), rows)
    return 0
