"""``tenfold report``."""

from tenfold import api, progress
from tenfold.cli import options
from tenfold.errors import UsageError
from tenfold.files import check_writable
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold report runs/a
  tenfold report runs/a runs/b --out both.html
"""


def run(argv: list[str]) -> int:
    """Write the report of one run, or one page about several."""
    parser = CommandParser(
        "report",
        "RUN [RUN ...] [--out FILE] [--json]",
        "Draw a run's figures and write report.html, one self-contained page; several runs share a page.",
        EXAMPLES,
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders")
    parser.add_argument("--out", metavar="FILE", help="the page about several runs")
    parser.add_argument("--title", metavar="TEXT", help="its title (default: tenfold)")
    parser.switch("--json", "print JSON")
    options.add_device(parser)
    given = parser.parse_args(argv)
    if given.title and not given.out:
        raise UsageError("--title belongs to the page about several runs; name it with --out")
    if given.out:
        check_writable(given.out, "the page")
    found = [api.open_run(folder, given.device) for folder in given.runs]
    with progress.shown("writing the report"):
        # A joint page shows the pictures that the runs have; one that was never drawn is drawn first.
        pages = [api.report(run) for run in found if not given.out or not run.folder.figures.is_dir()]
        if given.out:
            pages = [api.joint_report(found, given.out, given.title or "tenfold")]
    if given.json:
        show.as_json({"reports": [str(p) for p in pages]})
    else:
        print("\n".join(str(p) for p in pages))
    return 0
