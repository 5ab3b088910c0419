"""``tenfold analyse``."""

from tenfold import api, progress
from tenfold.cli import show
from tenfold.cli.options import add_options, bare_options, changes, systems_with
from tenfold.cli.parser import CommandParser, positionals, wants_help
from tenfold.errors import UsageError

SUMMARY = (
    "Look at how a model decodes: how near its order is to left-to-right, over temperatures, where it is sure, and how "
    "well it fills in holes; numbers, figures and a self-contained page."
)
EXAMPLES = """\
  tenfold analyse runs/a
  tenfold analyse runs/a --temperatures 0,0.2,1 --holes 200 --autoregressive runs/ar --out runs/a-order --json
"""


def run(argv: list[str]) -> int:
    """Write an analysis into a folder, and print its numbers."""
    named = positionals(argv, {"--json", "--help", *bare_options("analysis")})
    if not named and not wants_help(argv):
        raise UsageError("name a run, a model folder or a hub id to analyse, as in 'tenfold analyse runs/a'")
    systems = [api.system_of(named[0])] if named else systems_with("analysis")
    parser = CommandParser("analyse", "RUN [--out DIR] [options]", SUMMARY, EXAMPLES)
    parser.add_argument("source", metavar="RUN", help="run folder, model folder or hub id")
    parser.add_option("--out", str | None, None, "a new folder (default: analysis/ of the run)")
    parser.switch("--json", "print JSON")
    for system in systems:
        add_options(parser, system, "analysis")
    given = parser.parse_args(argv)
    with progress.shown("analysing"):
        page, rows = api.analyse(given.source, given.out, **changes(systems[0], "analysis", given))
    if given.json:
        show.as_json({"report": str(page), "metrics": show.rows_as_json(rows)})
    else:
        show.measurements(str(given.source), rows)
        print(page)
    return 0
