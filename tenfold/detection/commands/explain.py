"""``tenfold explain-assignment``: which objects get positive priors, and which get none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenfold.detection.data.options import LabelReading
from tenfold.detection.options import AssignmentExplaining
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

if TYPE_CHECKING:
    from tenfold.detection.assign.audit import AssignmentAudit

SUMMARY = (
    "Show what an assigner gives to the objects of labels before anything is trained: positive priors per object and "
    "the share without any, by size, angle and crowd; the distance from priors to objects, and the levels in use. "
    "LABELS is a folder in the layout of AI-TOD-R, DOTA, DIOR-R or YOLO-OBB, or a file of COCO or GeoJSON."
)
EXAMPLES = """\
  tenfold explain-assignment AI-TOD-R --split trainval
  tenfold explain-assignment labels.json --assigner max-iou
  tenfold explain-assignment DOTA/train --strides 4,8,16,32,64 --min-positives 0 --json
"""


def run_explain_assignment(argv: list[str]) -> int:
    """Read a line, assign, print."""
    parser = CommandParser("explain-assignment", "LABELS [options]", SUMMARY, EXAMPLES)
    parser.add_argument("labels", metavar="LABELS", help="folder of a data set, or a file of COCO or GeoJSON")
    parser.switch("--json", "print JSON")
    parser.add_options(AssignmentExplaining)
    parser.add_options(LabelReading)
    given = parser.parse_args(argv)
    options = AssignmentExplaining(**given.options(AssignmentExplaining))
    reading = LabelReading(**given.options(LabelReading))
    if "min_positives" in parser.peek(argv, ["--json"])[1] and options.assigner != "dcfl":
        raise UsageError(f"the assigner {options.assigner} does not use --min-positives; leave it away")

    from tenfold.detection.data.reading import read_labels
    from tenfold.detection.explaining import explain_assignment

    with show.busy("explain assignment"):
        read = read_labels(given.labels, reading)
        found = explain_assignment(read.labels, read.sizes, options)
    if given.json:
        tables = {name: [row._asdict() for row in getattr(found, name)] for name in ("by_size", "by_angle", "by_crowd")}
        facts = {"total": found.total._asdict(), **tables, "distance": found.distance, "levels": found.levels}
        show.as_json({"assigner": options.assigner, "strides": options.strides, **facts})
    else:
        _print(found, options)
    return 0


def _print(found: AssignmentAudit, options: AssignmentExplaining) -> None:
    from rich.table import Table

    total = found.total
    print(f"{options.assigner}: {total.objects} objects, {total.positives:.2f} positives per object, "
          f"{100 * total.without:.1f} % without any")  # fmt: skip
    table = Table(title_justify="left")
    for name in ("", "from", "below", "objects", "positives", "without any"):
        table.add_column(name, justify="right" if name else "left")
    groups = (("√area, px", found.by_size), ("angle, °", found.by_angle), ("objects of the picture", found.by_crowd))
    for title, rows in groups:
        for row in rows:
            if row.objects:
                table.add_row(title, f"{row.low:g}", f"{row.high:g}", f"{row.objects}", f"{row.positives:.2f}",
                              f"{100 * row.without:.1f} %")  # fmt: skip
                title = ""
    show.console().print(table)
    shares = zip(options.strides, found.levels, strict=True)
    print("positives by stride: " + ", ".join(f"{stride}: {100 * share:.1f} %" for stride, share in shares))
    print(f"mean distance from a positive prior to its object: {found.distance:.1f} px")
