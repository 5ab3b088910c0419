"""``tenfold data``: labels of oriented boxes, looked over and converted, and pictures with labels, rendered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.detection.data.options import LabelReading
from tenfold.errors import UsageError, suggest
from tenfold.files import check_writable, disk_errors
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser, Given
from tenfold.settings.options import options_of

if TYPE_CHECKING:
    from tenfold.detection.data.checking import LabelStatistics
    from tenfold.detection.data.reading import ReadLabels

TARGETS = ("dota", "yolo", "coco", "geojson")
SUMMARY = (
    "Look over labels of oriented boxes (check): counts, sizes, angles, and every odd, duplicate or dropped one. Write "
    "them in another format (convert). Or render pictures from above with exact labels, AeroTiny, into a folder in "
    "AI-TOD-R's layout (render). PLACE is a folder in the layout of AI-TOD-R, DOTA, DIOR-R or YOLO-OBB, or a file of "
    "COCO or GeoJSON; or the folder to render into."
)
EXAMPLES = """\
  tenfold data check AI-TOD-R --split trainval
  tenfold data check labels.json --json
  tenfold data convert DOTA/train --to coco --out train.json
  tenfold data render aerotiny --split train --pictures 400 --size 256
"""
_READING, _RENDERING = (tuple(options_of(kind)) for kind in (LabelReading, AeroTinyConfig))
ACTIONS = {"check": _READING, "convert": (*_READING, "to", "out"), "render": _RENDERING}


def run_data(argv: list[str]) -> int:
    """Read a line, check, convert or render, print."""
    parser = CommandParser("data", "check|convert|render PLACE [options]", SUMMARY, EXAMPLES)
    parser.add_argument("action", metavar="ACTION", help="check, convert or render")
    parser.add_argument("place", metavar="PLACE", help="folder of a data set, or a file of COCO or GeoJSON")
    parser.switch("--json", "print JSON")
    parser.add_option("--to", str | None, None, help=f"convert: {', '.join(TARGETS)}")
    parser.add_option("--out", str | None, None, help="convert: a folder (dota, yolo) or a file (coco, geojson)")
    parser.add_options(LabelReading)
    parser.add_options(AeroTinyConfig)
    given = parser.parse_args(argv)
    if given.action not in ACTIONS:
        raise UsageError(f"action is {given.action!r}{suggest(given.action, ACTIONS)}")
    for name in parser.peek(argv, ["--json"])[1]:
        if name not in (*ACTIONS[given.action], "json"):
            raise UsageError(f"{given.action} does not use --{name.replace('_', '-')}; leave it away")
    return {"check": _check, "convert": _convert, "render": _render}[given.action](given)


def _check(given: Given) -> int:
    reading = LabelReading(**given.options(LabelReading))

    from tenfold.detection.data.checking import statistics
    from tenfold.detection.data.reading import read_labels

    with show.busy("data check"):
        read = read_labels(given.place, reading)
    found = statistics(read.labels)
    if given.json:
        show.as_json({**_facts(read), **found._asdict(), "odd": [item._asdict() for item in read.findings]})
        return 0
    _tell(read)
    _print(found)
    if not read.findings:
        print("nothing odd was found")
    return 0


def _convert(given: Given) -> int:
    if given.to not in TARGETS:
        raise UsageError(f"--to is {given.to!r}; choose one of {', '.join(TARGETS)}")
    if given.out is None:
        raise UsageError("--out is missing; give the folder or the file to write")
    check_writable(given.out, "labels", folder=given.to in ("dota", "yolo"))
    reading = LabelReading(**given.options(LabelReading))

    from tenfold.detection.data.reading import read_labels

    with show.busy("data convert"):
        read = read_labels(given.place, reading)
        _write(read, given.to, Path(given.out))
    if given.json:
        show.as_json({**_facts(read), "out": given.out, "odd": [item._asdict() for item in read.findings]})
        return 0
    _tell(read)
    print(given.out)
    return 0


def _render(given: Given) -> int:
    options = given.options(AeroTinyConfig)
    config = AeroTinyConfig(**{**options, "split": options["split"] or AeroTinyConfig().split})
    check_writable(given.place, "rendered pictures", folder=True)

    from tenfold.detection.data.aerotiny.writing import write_aerotiny

    with show.busy("data render"), disk_errors(given.place):
        labels = write_aerotiny(given.place, config)
    facts = {"pictures": len(labels.images), "objects": len(labels), "out": given.place}
    if given.json:
        show.as_json(facts)
    else:
        print(f"{facts['pictures']} pictures, {facts['objects']} objects")
        print(given.place)
    return 0


def _facts(read: ReadLabels) -> dict[str, Any]:
    return {"pictures": len(read.labels.images), "objects": len(read.labels), "format": read.kind}


def _tell(read: ReadLabels) -> None:
    print(f"{len(read.labels.images)} pictures, {len(read.labels)} objects ({read.kind})")
    for item in read.findings:
        print(f"{item.number} × {item.kind}: {', '.join(item.examples)}{', ...' if item.number > 3 else ''}")


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
