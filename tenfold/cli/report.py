"""``tenfold report``."""

from pathlib import Path
from typing import Any

from tenfold import api, progress, reports
from tenfold.cli import options
from tenfold.errors import UsageError
from tenfold.files import check_writable
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold report runs/a
  tenfold report runs/a runs/b
  tenfold report runs/a runs/b --out both.html
"""


def run(argv: list[str]) -> int:
    """Write the report of one run, or one page about several."""
    parser = CommandParser(
        "report",
        "RUN [RUN ...] [--out FILE] [--json]",
        "Draw a run's figures and write report.html, one self-contained page. Several runs are compared: what was "
        "measured of each, the difference of the last from the first, and the settings in which they differ; with "
        "--out they share a page. Folders of worked examples and analyses are reported too.",
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
    found = [Path(folder) if api.holds_outcome(folder) else api.open_run(folder, given.device) for folder in given.runs]
    with progress.shown("writing the report"):
        # A joint page shows the pictures that the runs have; one that was never drawn is drawn first.
        pages = [api.report(run) for run in found if not given.out or not (_path(run) / "figures").is_dir()]
        if given.out:
            pages = [api.joint_report(found, given.out, given.title or "tenfold")]
    sides = [reports.side_of(_path(run)) for run in found] if len(found) > 1 else []
    if given.json:
        told: dict[str, Any] = {"reports": [str(p) for p in pages]}
        show.as_json(told | (_compared(sides) if sides else {}))
        return 0
    for table in reports.comparison_tables(sides) if sides else []:
        show.console().print(table)
    print("\n".join(str(p) for p in pages))
    return 0


def _path(run: api.Run | Path) -> Path:
    return run if isinstance(run, Path) else run.path


def _compared(sides: list[Any]) -> dict[str, Any]:
    measures = [
        {
            "name": line.measure,
            "split": line.split,
            "unit": line.unit,
            "runs": [None if row is None else row.to_dict() for row in line.rows],
            "difference": line.difference,
        }
        for line in reports.common_measures(sides)
    ]
    settings = {name: list(values) for name, values in reports.settings_that_differ(sides).items()}
    return {"runs": [side.name for side in sides], "measures": measures, "settings": settings}
