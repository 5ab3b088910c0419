"""``tenfold score-detections``: anybody's detections against labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tenfold.detection.data.options import LabelReading
from tenfold.detection.options import DetectionScoring
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

if TYPE_CHECKING:
    from tenfold.detection.scoring import DetectionScores

SUMMARY = (
    "Score detections against labels: average precision by size and class, recall by size, crowd, angle and shape, and "
    "what became of every object and detection. LABELS is a folder in the layout of AI-TOD-R, DOTA, DIOR-R or "
    "YOLO-OBB, or a file of COCO or GeoJSON; DETECTIONS a folder of DOTA's Task1_CLASS.txt, or COCO's results in JSON."
)
EXAMPLES = """\
  tenfold score-detections AI-TOD-R results/Task1 --split test
  tenfold score-detections labels.json detections.json --metric coco --bootstrap 200
  tenfold score-detections DOTA/val results/Task1 --metric voc --points 11 --json
"""


def run_score_detections(argv: list[str]) -> int:
    """Read a line, score, print."""
    parser = CommandParser("score-detections", "LABELS DETECTIONS [options]", SUMMARY, EXAMPLES)
    parser.add_argument("labels", metavar="LABELS", help="folder of a data set, or a file of COCO or GeoJSON")
    parser.add_argument("detections", metavar="DETECTIONS", help="folder of Task1_CLASS.txt, or COCO's results")
    parser.switch("--json", "print JSON")
    parser.add_options(DetectionScoring)
    parser.add_options(LabelReading)
    given = parser.parse_args(argv)
    said = parser.peek(argv, ["--json"])[1]
    options = DetectionScoring(**given.options(DetectionScoring))
    reading = LabelReading(**given.options(LabelReading))
    for name in ("threshold", "points"):
        if name in said and options.metric != "voc":
            raise UsageError(
                f"the metric {options.metric} does not use --{name}; leave it away, or choose --metric voc"
            )
    if options.compat == "reference" and "min_side" not in said:
        reading = replace(reading, min_side=2.0)

    from tenfold.detection.data.reading import read_detections, read_labels
    from tenfold.detection.scoring import score_detections

    with show.busy("score detections"):
        read = read_labels(given.labels, reading)
        coco = given.labels if read.kind == "coco" else None
        detections = read_detections(given.detections, read.labels, coco)
        scores = score_detections(read.labels, detections, options)
    counts = {"pictures": len(read.labels.images), "objects": len(read.labels), "detections": len(detections)}
    if given.json:
        odd = [found._asdict() for found in read.findings]
        show.as_json({**counts, "options": vars(options), **scores.to_dict(), "labels": odd})
        return 0
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    _print(scores)
    for found in read.findings:
        print(f"labels: {found.number} × {found.kind}; first {found.examples[0]}")
    if scores.left_out:
        print(
            f"{scores.left_out} detections are beyond the number that a class may have in a picture, and do not count"
        )
    return 0


def _print(scores: DetectionScores) -> None:
    from rich.table import Table

    table = Table(title="average precision and recall", title_justify="left")
    for name in ("", "value", *(["95 % interval"] if scores.intervals else [])):
        table.add_column(name, justify="right" if name else "left")
    for name, value in scores.summary.items():
        interval = scores.intervals.get(name)
        row = [name, f"{100 * value:.1f}" if value >= 0 else "no objects"]
        table.add_row(*row, *([f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"] if interval else []))
    show.console().print(table)
    table = Table(title="by class", title_justify="left")
    columns = list(next(iter(scores.by_class.values()), {}))
    for name in ("class", *columns):
        table.add_column(name, justify="left" if name == "class" else "right")
    for name, values in scores.by_class.items():
        numbers = [f"{values['objects']}", *(_percent(values[key]) for key in columns[1:])]
        table.add_row(name, *numbers)
    show.console().print(table)
    for kind, rows in scores.recalls.items():
        told = "  ".join(
            f"{row.low:g}-{row.high:g}: {_percent(row.recall)} of {row.objects}" for row in rows if row.objects
        )
        print(f"recall by {kind:7} {told}")
    for what, causes in (("objects", scores.missed), ("detections", scores.false)):
        print(f"{what}: " + ", ".join(f"{count} {cause}" for cause, count in causes.items() if count))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if value >= 0 else "-"
