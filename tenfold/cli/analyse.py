"""``tenfold analyse``."""

from tenfold import api, progress
from tenfold.api.examples import EXAMPLES as WORKED
from tenfold.api.examples import run_example
from tenfold.cli.options import bare_options, systems_with
from tenfold.errors import UsageError, suggest
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser, Given

SUMMARY = (
    "Look at how a model works: how near its order of decoding is to left-to-right, where it is sure, how well it "
    "fills in holes; how good samples are by the number of steps. Numbers, figures and a self-contained page."
)
EXAMPLES = """\
  tenfold analyse runs/a
  tenfold analyse runs/a --temperatures 0,0.2,1 --holes 200 --autoregressive runs/ar --out runs/a-order --json
  tenfold analyse runs/kjv-masked --judge runs/kjv-ar --steps [4,16,64]
  tenfold analyse --example tcsm-worlds --out runs/tcsm-worlds
"""


def run(argv: list[str]) -> int:
    """Write an analysis into a folder, and print its numbers."""
    parser = CommandParser("analyse", "RUN [--out DIR] [options] | --example NAME --out DIR", SUMMARY, EXAMPLES)
    parser.add_argument("source", metavar="RUN", nargs="?", help="run folder, model folder or hub id")
    parser.add_option("--out", str | None, None, "a new folder (default: analysis/ of the run)")
    parser.switch("--json", "print JSON")
    parser.switch("--quick", "small sizes of an example")
    parser.add_option("--example", str | None, None, f"instead of a run: {_shown()}")
    named, options = parser.peek(argv, bare_options("analysis"))
    example = "example" in options
    if not named and not example and "help" not in options:
        raise UsageError("name a run, a model folder or a hub id to analyse, as in 'tenfold analyse runs/a'")
    systems = [api.system_of(named[0])] if named else [] if example else systems_with("analysis")
    for system in systems:
        parser.add_options(api.part(system, "analysis"))
    given = parser.parse_args(argv)
    if example:
        return _example(given)
    if given.quick:
        raise UsageError("--quick belongs to --example")
    with progress.shown("analysing"):
        page, rows = api.analyse(given.source, given.out, **given.options(api.part(systems[0], "analysis")))
    if given.json:
        show.as_json({"report": str(page), "metrics": show.rows_as_json(rows)})
    else:
        show.measurements(str(given.source), rows)
        print(page)
    return 0


def _mine() -> dict[str, str]:
    return {name: about for name, (verb, _, about) in WORKED.items() if verb == "analyse"}


def _shown() -> str:
    return "; ".join(f"{name}: {about}" for name, about in _mine().items())


def _example(given: Given) -> int:
    if given.source is not None:
        raise UsageError(f"give a run or --example, not both ({given.source!r} and {given.example!r})")
    if given.example not in _mine():
        raise UsageError(f"there is no example {given.example!r}{suggest(given.example, _mine())}")
    if given.out is None:
        raise UsageError(
            f"an example writes a folder; name it, as in --example {given.example} --out runs/{given.example}"
        )
    with show.progress(f"example {given.example}") as done:
        page, rows = run_example(given.example, given.out, given.quick, done)
    show.example(given.example, given.out, page, rows, given.json)
    return 0
