"""``tenfold data``: labels of oriented boxes, looked over and converted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.detection.data.options import LabelReading
from tenfold.errors import UsageError, suggest
from tenfold.files import check_writable
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

if TYPE_CHECKING:
    from tenfold.detection.data.checking import LabelStatistics
    from tenfold.detection.data.reading import ReadLabels

ACTIONS = ("check", "convert")
TARGETS = ("dota", "yolo", "coco", "geojson")
SUMMARY = (
    "Look over labels of oriented boxes (check): counts, sizes, angles, and every odd, duplicate or dropped one. Or "
    "write them in another format (convert). LABELS is a folder in the layout of AI-TOD-R, DOTA, DIOR-R or YOLO-OBB, "
    "or a file of COCO or GeoJSON."
)
EXAMPLES = """\
  tenfold data check AI-TOD-R --split trainval
  tenfold data check labels.json --json
  tenfold data convert DOTA/train --to coco --out train.json
"""


def run_data(argv: list[str]) -> int:
    """Read a line, check or convert, print."""
    parser = CommandParser("data", "check|convert LABELS [options]", SUMMARY, EXAMPLES)
    parser.add_argument("action", metavar="ACTION", help="check or convert")
    parser.add_argument("labels", metavar="LABELS", help="folder of a data set, or a file of COCO or GeoJSON")
    parser.switch("--json", "print JSON")
    parser.add_option("--to", str | None, None, help=f"convert: {', '.join(TARGETS)}")
    parser.add_option("--out", str | None, None, help="convert: a folder (dota, yolo) or a file (coco, geojson)")
    parser.add_options(LabelReading)
    given = parser.parse_args(argv)
    if given.action not in ACTIONS:
        raise UsageError(f"action is {given.action!r}{suggest(given.action, ACTIONS)}")
    if given.action == "check":
        for name in ("to", "out"):
            if given[name] is not None:
                raise UsageError(f"check does not use --{name}; leave it away, or use 'tenfold data convert'")
    else:
        if given.to not in TARGETS:
            raise UsageError(f"--to is {given.to!r}; choose one of {', '.join(TARGETS)}")
        if given.out is None:
            raise UsageError("--out is missing; give the folder or the file to write")
        check_writable(given.out, "labels", folder=given.to in ("dota", "yolo"))
    reading = LabelReading(**given.options(LabelReading))

    from tenfold.detection.data.checking import statistics
    from tenfold.detection.data.reading import read_labels

    with show.busy(f"data {given.action}"):
        read = read_labels(given.labels, reading)
        if given.action == "convert":
            _write(read, given.to, Path(given.out))
    facts = {"pictures": len(read.labels.images), "objects": len(read.labels)}
    if given.action == "convert":
        facts |= {"out": given.out}
    found = statistics(read.labels)
    if given.json:
        odd = [item._asdict() for item in read.findings]
        show.as_json({**facts, "format": read.kind, **(found._asdict() if given.action == "check" else {}), "odd": odd})
        return 0
    print(", ".join(f"{count} {name}" for name, count in facts.items() if name != "out") + f" ({read.kind})")
    if given.action == "check":
        _print(found)
    for item in read.findings:
        print(f"{item.number} × {item.kind}: {', '.join(item.examples)}{', ...' if item.number > 3 else ''}")
    if given.action == "convert":
        print(given.out)
    elif not read.findings:
        print("nothing odd was found")
    return 0


def _write(read: ReadLabels, to: str, out: Path) -> None:
    from tenfold.detection.data.coco import write_coco_labels
    from tenfold.detection.data.dota import write_dota_labels
    from tenfold.detection.data.geojson import write_geojson
    from tenfold.detection.data.yolo import write_yolo_labels

    if to == "dota":
        write_dota_labels(read.labels, out)
    elif to == "yolo":
        write_yolo_labels(read.labels, out, read.sizes)
    elif to == "coco":
        write_coco_labels(read.labels, out, read.sizes)
    else:
        write_geojson(read.labels, out)


def _print(found: LabelStatistics) -> None:
    print("by class: " + ", ".join(f"{name} {count}" for name, count in found.by_class.items()))
    print(f"mean size (√area): {found.mean_size:.1f} px")
    histograms = (("√area, px", found.by_size), ("angle, degrees modulo 90", found.by_angle),
                  ("pictures by objects", found.by_crowd))  # fmt: skip
    for title, rows in histograms:
        print(title)
        most = max((count for *_, count in rows), default=0)
        for low, high, count in rows:
            if count:
                print(f"  {low:>4g} to {high:<4g} {count:>8} {'█' * max(1, round(40 * count / most))}")
