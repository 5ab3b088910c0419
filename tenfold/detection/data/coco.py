"""COCO's JSON with rotated boxes: ``bbox`` of five numbers (centre, sides, radians), or ``segmentation`` of four
points; a ``bbox`` of four numbers is a horizontal box by its corner. And its lists of results."""

from pathlib import Path
from typing import Any

import torch

from tenfold.detection.data.rows import QuadRow, RawLabels, Size, numbers, score_of
from tenfold.detection.geometry.checks import require_radians
from tenfold.detection.geometry.quads import to_quads
from tenfold.detection.tables import Detections, Labels, require_table
from tenfold.errors import UsageError
from tenfold.files import json_text, read_json, write_output

_BOX = "bbox is cx, cy, w, h, radians, or x, y, w, h; segmentation is one list of eight numbers"


def read_coco_labels(file: Path) -> RawLabels:
    """Objects, pictures and classes of a file; UsageError, with the annotation's place, for what does not fit."""
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in _LISTS):
        raise UsageError(f"{file} is no data set of COCO; it has the lists {', '.join(_LISTS)}")
    images, classes = _named(content["images"], "file_name", file), _named(content["categories"], "name", file)
    images = {number: Path(name).stem for number, name in images.items()}
    sizes: dict[str, Size] = {
        images[item["id"]]: (int(item["width"]), int(item["height"]))
        for item in content["images"]
        if isinstance(item.get("width"), int) and isinstance(item.get("height"), int)
    }
    rows = [_row(item, f"{file}, annotation {k}", images, classes) for k, item in enumerate(content["annotations"], 1)]
    return RawLabels(rows, list(images.values()), sizes, tuple(classes.values()))


_LISTS = ("images", "categories", "annotations")


def read_coco_results(file: Path, labels: Labels, coco_labels: Path | None) -> list[QuadRow]:
    """Detections of a list of results. Numbers of pictures and classes are those of ``coco_labels``; where the labels
    are of another kind, image_id is the picture's name and category_id the class's."""
    content = read_json(file)
    if not isinstance(content, list):
        raise UsageError(f"{file} is no list of COCO's results; it has image_id, category_id, bbox and score in each")
    if coco_labels is not None:
        truth = read_json(coco_labels)
        images = {n: Path(s).stem for n, s in _named(truth["images"], "file_name", coco_labels).items()}
        classes = _named(truth["categories"], "name", coco_labels)
    else:
        images = {name: name for name in labels.images}
        images |= {int(name): name for name in labels.images if name.isdecimal()}
        classes = {name: name for name in labels.classes}
    return [_row(item, f"{file}, result {k}", images, classes, scored=True) for k, item in enumerate(content, 1)]


def _named(items: list[Any], key: str, file: Path) -> dict[Any, str]:
    for k, item in enumerate(items, 1):
        if not (isinstance(item, dict) and isinstance(item.get("id"), int | str) and isinstance(item.get(key), str)):
            raise UsageError(f"{file}: entry {k} has no id and {key}; every one has")
    return {item["id"]: item[key] for item in items}


def _row(item: Any, place: str, images: dict[Any, str], classes: dict[Any, str], scored: bool = False) -> QuadRow:
    if not isinstance(item, dict):
        raise UsageError(f"{place}: it is no object of JSON")
    for key, known in (("image_id", images), ("category_id", classes)):
        value = item.get(key)
        if not isinstance(value, int | str) or value not in known:
            raise UsageError(
                f"{place}: {key} is {value!r}, which is not known; the first is {next(iter(known), None)!r}"
            )
    score = score_of(item.get("score"), place) if scored else 1.0
    return QuadRow(
        images[item["image_id"]], _corners(item, place), classes[item["category_id"]],
        bool(item.get("difficult", item.get("iscrowd", 0))), place, score,
    )  # fmt: skip


def _corners(item: dict[str, Any], place: str) -> tuple[float, ...]:
    outline = item.get("segmentation")
    if isinstance(outline, list) and len(outline) == 1 and isinstance(outline[0], list) and len(outline[0]) == 8:
        return numbers(outline[0], place, _BOX)
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) not in (4, 5):
        raise UsageError(f"{place}: there is neither a box nor an outline of four corners; {_BOX}")
    values = numbers(box, place, _BOX)
    if min(values[2:4]) < 0:
        raise UsageError(f"{place}: a side is {min(values[2:4]):g}; {_BOX}")
    if len(values) == 4:
        x, y, w, h = values
        return (x, y, x + w, y, x + w, y + h, x, y + h)
    row = torch.tensor([values], dtype=torch.float64)
    require_radians(row, f"{place}: bbox")
    return tuple(to_quads(row)[0].tolist())


def write_coco_labels(labels: Labels, file: str | Path, sizes: dict[str, Size] | None = None) -> None:
    """One file with ``bbox`` of five numbers and the outline of four corners; ids count from 1."""
    require_table(labels, Labels)
    file = Path(file)
    sizes = sizes or {}
    images = [
        {"id": k, "file_name": f"{name}.png"}
        | (dict(zip(("width", "height"), sizes[name], strict=True)) if name in sizes else {})
        for k, name in enumerate(labels.images, 1)
    ]
    columns = labels.image, labels.label, labels.boxes, to_quads(labels.boxes), labels.difficult
    annotations = [
        {"id": k, "image_id": image + 1, "category_id": label + 1, "bbox": box, "segmentation": [corners],
         "area": box[2] * box[3], "iscrowd": 0, "difficult": int(difficult)}
        for k, (image, label, box, corners, difficult) in enumerate(zip(*(c.tolist() for c in columns), strict=True), 1)
    ]  # fmt: skip
    categories = [{"id": k, "name": name} for k, name in enumerate(labels.classes, 1)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    write_output(file, json_text(content) + "\n")


def write_coco_results(detections: Detections, file: str | Path) -> None:
    """A list of results; pictures and classes are counted from 1, as ``write_coco_labels`` does."""
    require_table(detections, Detections, "detections")
    file = Path(file)
    columns = detections.image, detections.label, detections.boxes, to_quads(detections.boxes), detections.scores
    rows = [
        {"image_id": image + 1, "category_id": label + 1, "bbox": box, "segmentation": [corners], "score": score}
        for image, label, box, corners, score in zip(*(column.tolist() for column in columns), strict=True)
    ]
    write_output(file, json_text(rows) + "\n")
