"""``tenfold evaluate``: a run by its own measurements, or any model by a suite of problems."""

from tenfold import api, progress
from tenfold.cli import options
from tenfold.cli.use import Page, opened_and_given, tell_page
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold evaluate runs/a
  tenfold evaluate runs/a --evaluation.draws 64 --json
  tenfold evaluate runs/code --suite humaneval --first 20
  tenfold evaluate models/diffucoder --suite evalplus --path HumanEvalPlus.jsonl --template chat --out he
  tenfold evaluate runs/code --suite mbpp --path mbpp.jsonl --num 10 --k 1,10 --temperature 1.0 --json
"""
SUITE = Page(
    "Give a model a suite of problems with tests, which run in the sandbox: every completion with its verdict, pass@k "
    "with its interval. The same call goes on where it was cut off.",
    "solving",
    EXAMPLES,
    out="a new folder, or one where the same call was cut off (default: one of the suite's name in the run)",
)


def run(argv: list[str]) -> int:
    """Measure a run, or a model by a suite, and print the table."""
    parser = CommandParser(
        "evaluate",
        "RUN [--json] [--evaluation.SETTING VALUE ...] | MODEL --suite NAME [options]",
        "Measure a run's model and its baselines into evaluation.json. With --suite: give a run, a model folder or a "
        "hub id problems with tests.",
        EXAMPLES,
    )
    parser.add_argument("run", metavar="RUN", help="run folder")
    parser.switch("--json", "print JSON")
    options.add_device(parser)
    parser.add_option(
        "--suite", str | None, None, "give problems with tests: humaneval, evalplus, mbpp, bigcodebench …"
    )
    named, given_options = parser.peek(argv, {*options.bare_settings(), *options.bare_options("evaluate")})
    if "suite" in given_options:
        return _suite(argv)
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


def _suite(argv: list[str]) -> int:
    opened, given, changes = opened_and_given("evaluate", SUITE, argv)
    with progress.shown(SUITE.doing):
        page, rows = api.solve(opened, given.out, **changes)
    tell_page(given.source, page, rows, given.json)
    return 0
