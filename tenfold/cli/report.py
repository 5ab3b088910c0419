"""``tenfold report``."""

from tenfold import api, progress
from tenfold.cli import show
from tenfold.cli.parser import CommandParser

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
    parser.add_argument("--title", default="tenfold", help="its title")
    parser.switch("--json", "print JSON")
    given = parser.parse_args(argv)
    found = [api.open_run(folder) for folder in given.runs]
    with progress.shown("writing the report"):
        page = api.joint_report(found, given.out, given.title) if given.out else [api.report(r) for r in found][-1]
    pages = [page] if given.out else [r.folder.report for r in found]
    if given.json:
        show.as_json({"reports": [str(p) for p in pages]})
    else:
        print("\n".join(str(p) for p in pages))
    return 0
