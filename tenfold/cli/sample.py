"""``tenfold sample``."""

from tenfold import api, progress
from tenfold.cli.options import bare_options, systems_with
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

SUMMARY = "Draw samples from a run, a model folder or a hub id: a picture, the numbers, and how they were made."
EXAMPLES = """\
  tenfold sample runs/a --num 64 --out samples
  tenfold sample runs/a --num 64 --class 3 --guidance 1.5 --denoise --json
"""


def run(argv: list[str]) -> int:
    """Write samples into a folder."""
    parser = CommandParser("sample", "RUN [--num N] [--out DIR] [options]", SUMMARY, EXAMPLES)
    parser.add_argument("source", metavar="RUN", help="run folder, model folder or hub id")
    parser.add_argument("--out", metavar="DIR", help="where the files go (default: samples/ of the run)")
    parser.switch("--json", "print JSON")
    named, options = parser.peek(argv, bare_options("sampling"))
    if not named and "help" not in options:
        raise UsageError("name a run, a model folder or a hub id to sample from, as in 'tenfold sample runs/a'")
    systems = [api.system_of(named[0])] if named else systems_with("sampling")
    for system in systems:
        parser.add_options(api.part(system, "sampling"))
    given = parser.parse_args(argv)
    with progress.shown("sampling"):
        written = api.sample(given.source, given.out, **given.options(api.part(systems[0], "sampling")))
    if given.json:
        show.as_json({"files": [str(path) for path in written]})
    else:
        print("\n".join(str(path) for path in written))
    return 0
