"""Labels and detections from whatever files they are in, as tables, with an account of what was odd or left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.detection.data.checking import Finding, finding, odd_labels
from tenfold.detection.data.coco import read_coco_labels, read_coco_results
from tenfold.detection.data.dior import read_dior_file
from tenfold.detection.data.dota import read_dota_file, read_dota_results
from tenfold.detection.data.geojson import read_geojson
from tenfold.detection.data.layout import find_files, sizes_of
from tenfold.detection.data.options import AITODR_CLASSES, LabelReading
from tenfold.detection.data.rows import QuadRow, RawLabels, Size
from tenfold.detection.data.yolo import looks_like_yolo, read_class_names, read_yolo_file
from tenfold.detection.geometry.quads import crossing, from_quads, ring_order, skew
from tenfold.detection.tables import Detections, Labels
from tenfold.errors import UsageError, suggest
from tenfold.files import read_json

_SKEW = 0.05


class ReadLabels(NamedTuple):
    """Labels, their format, the place of each object in the files, what was odd, and the sizes of the pictures that
    are known."""

    labels: Labels
    kind: str
    places: list[str]
    findings: list[Finding]
    sizes: dict[str, Size]


def read_labels(path: str | Path, reading: LabelReading | None = None) -> ReadLabels:
    """Labels in a folder of text (AI-TOD-R, DOTA, YOLO-OBB) or XML (DIOR-R), or in one file of JSON (COCO, GeoJSON).

    Pictures without objects are kept. Corners in an order whose edges cross are put into ring order, and what else is
    odd is counted; nothing is left out but objects with sides below ``reading.min_side``.

    Raises UsageError for files that are none, with file and line, and for classes that are not among
    ``reading.classes``. Classes in no given order are the names that occur, sorted; in the folders of AI-TOD-R its own.
    """
    path, reading = Path(path), reading or LabelReading()
    kind = reading.format if reading.format != "auto" else _kind(path, reading.split)
    raw, findings = _raw(path, kind, reading)
    occurring = {row.name for row in raw.rows}
    classes = reading.classes or raw.classes or tuple(sorted(occurring))
    if not reading.classes and kind == "dota" and _is_aitodr(raw.rows) and occurring <= set(AITODR_CLASSES):
        classes = AITODR_CLASSES
    rows = raw.rows
    _check_classes(rows, classes)
    boxes, odd, kept = _boxes(rows, reading)
    findings += odd
    rows = [rows[k] for k in kept]
    labels = Labels(tuple(raw.images), classes, *_numbers(rows, raw.images, classes), boxes,
                    torch.tensor([row.difficult for row in rows], dtype=torch.bool))  # fmt: skip
    places = [row.place for row in rows]
    findings += odd_labels(labels, places, raw.sizes)
    bare = set(range(len(raw.images))) - set(labels.image.tolist())
    findings += finding("picture without objects", [raw.images[k] for k in sorted(bare)])
    return ReadLabels(labels, kind, places, findings, raw.sizes)


def _kind(path: Path, split: str) -> str:
    if path.suffix.lower() in (".json", ".geojson"):
        content = read_json(path)
        return "geojson" if isinstance(content, dict) and "features" in content else "coco"
    if path.is_file():
        raise UsageError(f"{path} is one file; give a folder of labels, or a file of JSON")
    found = find_files(path, split, (".txt", ".xml")).labels
    if found[0].suffix.lower() == ".xml":
        return "dior"
    first = next((file for file in found if file.stat().st_size > 3), found[0])
    return "yolo" if looks_like_yolo(first) else "dota"


def _raw(path: Path, kind: str, reading: LabelReading) -> tuple[RawLabels, list[Finding]]:
    if kind in ("coco", "geojson"):
        if reading.split:
            raise UsageError(f"split is {reading.split!r}, but {path} is one file; leave it away")
        return (read_coco_labels(path) if kind == "coco" else read_geojson(path)), []
    files, pictures = find_files(path, reading.split, (".xml",) if kind == "dior" else (".txt",))
    sizes = sizes_of(pictures)
    classes: tuple[str, ...] = ()
    if kind == "yolo":
        classes = reading.classes or read_class_names(files[0].parent)
        missing = [file for file in files if file.stem not in sizes]
        if not classes or missing:
            what = "classes.txt" if not classes else f"the picture of {missing[0].name}"
            raise UsageError(f"{path} lacks {what}, and YOLO's labels are numbers of classes and shares of pictures")
    rows: list[QuadRow] = []
    for file in progress.track(files, "labels", unit="files"):
        if kind == "yolo":
            rows += read_yolo_file(file, sizes[file.stem], classes)
        else:
            rows += read_dior_file(file) if kind == "dior" else read_dota_file(file)
    named = {file.stem for file in files}
    findings = finding("picture without a file of labels", sorted(set(pictures) - named))
    if pictures:
        findings += finding("file of labels without a picture", sorted(named - set(pictures)))
    return RawLabels(rows, sorted(named | set(pictures)), sizes, classes), findings


def _is_aitodr(rows: Sequence[QuadRow]) -> bool:
    return bool(rows) and "labels_v1" in Path(rows[0].place).parts


def _check_classes(rows: Sequence[QuadRow], classes: Sequence[str]) -> None:
    known = set(classes)
    strange = next((row for row in rows if row.name not in known), None)
    if strange is not None:
        raise UsageError(f"{strange.place}: the class {strange.name!r} is not known{suggest(strange.name, classes)}")


def _boxes(rows: Sequence[QuadRow], reading: LabelReading) -> tuple[Float[Tensor, "n 5"], list[Finding], list[int]]:
    """Boxes of the rows that are kept, what is odd about corners, and the numbers of these rows."""
    quads = torch.tensor([row.corners for row in rows], dtype=torch.float64).reshape(-1, 8)
    crossed = crossing(quads)
    quads = torch.where(crossed[:, None], ring_order(quads), quads)
    boxes = from_quads(quads, "le135", reading.method)
    kept = boxes[:, 2:4].amin(1) >= reading.min_side

    def at(mask: Tensor) -> list[str]:
        return [rows[k].place for k in mask.nonzero()[:, 0].tolist()]

    findings = finding("edges that cross, put into order", at(crossed))
    findings += finding(f"not a rectangle by more than {_SKEW:.0%} of its area", at(skew(quads) > _SKEW))
    findings += finding(f"left out, a side is below {reading.min_side:g} pixels", at(~kept))
    return boxes[kept], findings, kept.nonzero()[:, 0].tolist()


def _numbers(rows: Sequence[QuadRow], images: Sequence[str], classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    image_number = {name: k for k, name in enumerate(images)}
    class_number = {name: k for k, name in enumerate(classes)}
    numbers = [(image_number[row.image], class_number[row.name]) for row in rows]
    image, label = torch.tensor(numbers, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return image, label


def read_detections(path: str | Path, labels: Labels, coco_labels: str | Path | None = None) -> Detections:
    """Detections in the pictures of labels: a folder of DOTA's task-1 files, or COCO's list of results in JSON.

    Args:
        coco_labels: the file of COCO that the labels are from, whose numbers results refer to.

    Raises:
        UsageError: with file and line, for what is no detection, and for pictures and classes that the labels do not
            have.
    """
    path = Path(path)
    if path.is_dir():
        rows = read_dota_results(path)
    elif path.suffix.lower() == ".json":
        rows = read_coco_results(path, labels, None if coco_labels is None else Path(coco_labels))
    else:
        there = "is one file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {there}; give a folder of Task1_CLASS.txt, or COCO's results in .json")
    _check_classes(rows, labels.classes)
    known = set(labels.images)
    strange = next((row for row in rows if row.image not in known), None)
    if strange is not None:
        raise UsageError(f"{strange.place}: no picture of the labels is named {strange.image!r}")
    boxes, _, kept = _boxes(rows, LabelReading())
    rows = [rows[k] for k in kept]
    scores = torch.tensor([row.score for row in rows], dtype=torch.float64)
    return Detections(labels.images, labels.classes, *_numbers(rows, labels.images, labels.classes), boxes, scores)
