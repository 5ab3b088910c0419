"""Labels in every format: written and read again; what is odd is counted, and what is none refused by its place."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from tenfold.detection import geometry
from tenfold.detection.data import (
    AITODR_CLASSES,
    LabelReading,
    read_detections,
    read_labels,
    statistics,
    write_coco_labels,
    write_coco_results,
    write_dota_labels,
    write_dota_results,
    write_geojson,
    write_yolo_labels,
)
from tenfold.detection.data.geojson import read_geojson
from tenfold.detection.tables import Detections, Labels
from tenfold.errors import UsageError

BOX = "10 10 20 10 20 14 10 14"


def picture(file: Path, size: tuple[int, int] = (100, 80)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(file)


def text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode())
    return file


@pytest.fixture(scope="module")
def labels() -> Labels:
    boxes = torch.tensor([[20, 20, 12, 5, 0.4], [70, 30, 8, 3, 2.0], [50, 40, 9, 9, 0], [30, 60, 30, 4, -0.7]])
    boxes, image, label = geometry.to_convention(boxes.double(), "le135"), [0, 0, 2, 2], [0, 1, 1, 0]
    difficult = torch.tensor([False, True, False, False])
    return Labels(("a", "b", "c"), ("ship", "vehicle"), torch.tensor(image), torch.tensor(label), boxes, difficult)


@pytest.fixture(scope="module")
def detections(labels: Labels) -> Detections:
    scores = torch.tensor([0.9, 0.25, 0.5, 0.125], dtype=torch.float64)
    return Detections(labels.images, labels.classes, labels.image, labels.label, labels.boxes, scores)


SIZES = {"a": (100, 80), "b": (100, 80), "c": (100, 80)}


def written(labels: Labels, kind: str, folder: Path) -> Path:
    for name in labels.images:
        picture(folder / "images" / f"{name}.png")
    if kind == "dota":
        write_dota_labels(labels, folder / "labelTxt")
    elif kind == "yolo":
        write_yolo_labels(labels, folder / "labels", SIZES)
    elif kind == "coco":
        write_coco_labels(labels, folder / "labels.json", SIZES)
        return folder / "labels.json"
    else:
        write_geojson(labels, folder / "labels.geojson")
        return folder / "labels.geojson"
    return folder


def apart(one: Tensor, other: Tensor) -> float:
    return float(1 - geometry.paired_iou(one, other).min())


@pytest.mark.parametrize("kind", ["dota", "yolo", "coco", "geojson"])
def test_what_is_written_is_read_again(labels: Labels, kind: str, tmp_path: Path) -> None:
    read = read_labels(written(labels, kind, tmp_path))
    assert read.kind == kind
    again = read.labels
    assert again.classes == labels.classes
    assert apart(again.boxes, labels.boxes) < 1e-4
    assert again.label.tolist() == labels.label.tolist()
    pictures = ("a", "c") if kind == "geojson" else ("a", "b", "c")
    assert again.images == pictures
    assert [again.images[k] for k in again.image] == [labels.images[k] for k in labels.image]
    assert again.difficult.tolist() == ([False] * 4 if kind == "yolo" else labels.difficult.tolist())
    assert [f.kind for f in read.findings] == ([] if kind == "geojson" else ["picture without objects"])
    assert read.sizes == ({} if kind == "geojson" else SIZES)


def test_layout_of_aitodr(tmp_path: Path) -> None:
    for split in ("trainval", "test"):
        for name in ("1", "2"):
            picture(tmp_path / "images" / split / f"{name}.png")
    text(tmp_path / "labels_v1" / "test" / "1.txt", f"{BOX} vehicle 0\n{BOX.replace('1', '3')} ship 2\n")
    text(tmp_path / "labels_v1" / "test" / "2.txt", "")
    read = read_labels(tmp_path, LabelReading(split="test"))
    assert read.labels.classes == AITODR_CLASSES
    assert read.labels.images == ("1", "2")
    assert read.labels.label.tolist() == [5, 3]
    assert read.labels.boxes[0].tolist() == [15, 12, 10, 4, 0]
    assert read.labels.difficult.tolist() == [False, True]
    with pytest.raises(UsageError, match="choose a split of test"):
        read_labels(tmp_path)
    with pytest.raises(UsageError, match=r"no labels .*labels_v1/trainval"):
        read_labels(tmp_path, LabelReading(split="trainval"))


def test_lines_as_people_write_them(tmp_path: Path) -> None:
    lines = [
        "\ufeffimagesource:GoogleEarth",
        "gsd:0.15",
        "",
        f"{BOX} plane",
        BOX.replace(" ", ",") + ",small-car,1",
        "",
    ]
    text(tmp_path / "x.txt", "\r\n".join(lines))
    read = read_labels(tmp_path)
    assert read.labels.classes == ("plane", "small-car")
    assert read.labels.difficult.tolist() == [False, True]
    assert torch.equal(read.labels.boxes[0], read.labels.boxes[1])


def test_dior(tmp_path: Path) -> None:
    corners = dict(zip(("x_left_top", "y_left_top", "x_right_top", "y_right_top", "x_right_bottom", "y_right_bottom",
                        "x_left_bottom", "y_left_bottom"), BOX.split(), strict=True))  # fmt: skip
    box = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
    item = f"<object><name>dam</name><difficult>1</difficult><robndbox>{box}</robndbox></object>"
    place = tmp_path / "Annotations" / "Oriented Bounding Boxes"
    text(place / "7.xml", f"<annotation>{item}</annotation>")
    read = read_labels(tmp_path)
    assert read.kind == "dior"
    assert read.labels.boxes.tolist() == [[15, 12, 10, 4, 0]]
    assert (read.labels.classes, read.labels.difficult.tolist()) == (("dam",), [True])
    text(place / "8.xml", "<annotation><object><name>dam</name></object></annotation>")
    with pytest.raises(UsageError, match=r"8\.xml, object 1: it has no robndbox"):
        read_labels(tmp_path)
    text(place / "8.xml", "<annotation>")
    with pytest.raises(UsageError, match=r"8.xml is no XML"):
        read_labels(tmp_path)


def test_what_is_odd_is_counted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / "images" / f"{name}.png")
    lines = [
        BOX, BOX, "10 10 20 14 20 10 10 14", "50 50 60 50 60 60 50 52", "30 30 30 30 34 30 34 30",
        "95 10 105 10 105 14 95 14", "-50 10 -40 10 -40 14 -50 14", "70 70 71.5 70 71.5 74 70 74",
    ]  # fmt: skip
    text(tmp_path / "labelTxt" / "a.txt", "".join(f"{line} ship 0\n" for line in lines))
    text(tmp_path / "labelTxt" / "b.txt", "")
    text(tmp_path / "labelTxt" / "d.txt", "")
    read = read_labels(tmp_path)
    assert {found.kind: found.number for found in read.findings} == {
        "edges that cross, put into order": 1, "not a rectangle by more than 5% of its area": 1, "without area": 1,
        "duplicate of another object": 2, "centre outside the picture": 1, "partly outside the picture": 1,
        "picture without a file of labels": 1, "file of labels without a picture": 1, "picture without objects": 3,
    }  # fmt: skip
    assert next(f for f in read.findings if f.kind == "without area").examples[0].endswith("a.txt, line 5")
    assert torch.equal(read.labels.boxes[2], read.labels.boxes[0])
    fewer = read_labels(tmp_path, LabelReading(min_side=2))
    assert len(fewer.labels) == len(read.labels) - 2
    assert ("left out, a side is below 2 pixels", 2) in [found[:2] for found in fewer.findings]
    around = read_labels(tmp_path, LabelReading(method="min_area"))
    assert geometry.areas(around.labels.boxes)[3] == 100


def test_statistics(labels: Labels) -> None:
    found = statistics(labels)
    assert found.by_class == {"ship": 2, "vehicle": 2}
    assert sum(count for *_, count in found.by_size) == 4
    assert sum(count for *_, count in found.by_angle) == 3  # one is a square
    assert found.by_crowd[:2] == [(0, 1, 1), (1, 5, 2)]
    assert found.mean_size == pytest.approx(sum(math.sqrt(w * h) for w, h in ((12, 5), (8, 3), (9, 9), (30, 4))) / 4)
    assert math.isnan(statistics(labels.chosen(torch.zeros(4, dtype=torch.bool))).mean_size)


def test_detections(labels: Labels, detections: Detections, tmp_path: Path) -> None:
    write_dota_results(detections, tmp_path / "dota")
    write_coco_labels(labels, tmp_path / "labels.json")
    write_coco_results(detections, tmp_path / "found.json")
    by_name = json.loads((tmp_path / "found.json").read_text())
    for row in by_name:
        row["image_id"], row["category_id"] = labels.images[row["image_id"] - 1], labels.classes[row["category_id"] - 1]
    text(tmp_path / "named.json", json.dumps(by_name))
    for read in (
        read_detections(tmp_path / "dota", labels),
        read_detections(tmp_path / "found.json", labels, tmp_path / "labels.json"),
        read_detections(tmp_path / "named.json", labels),
    ):
        order = read.scores.argsort(descending=True)
        want = detections.scores.argsort(descending=True)
        assert torch.allclose(read.scores[order], detections.scores[want], atol=1e-6)
        assert torch.equal(read.label[order], detections.label[want])
        assert torch.equal(read.image[order], detections.image[want])
        assert apart(read.boxes[order], detections.boxes[want]) < 1e-4
    with pytest.raises(UsageError, match=r"found.json, result 1: image_id is 1, which is not known; the first is 'a'"):
        read_detections(tmp_path / "found.json", labels)


def test_coordinates_of_a_map(labels: Labels, detections: Detections, tmp_path: Path) -> None:
    affine = (0.3, 0.0, 400_000.0, 0.0, -0.3, 5_000_000.0)
    write_geojson(detections, tmp_path / "x.geojson", affine)
    content = json.loads((tmp_path / "x.geojson").read_text())
    east, north = content["features"][0]["geometry"]["coordinates"][0][0]
    corner = geometry.to_quads(labels.boxes)[0, :2]
    assert (east, north) == pytest.approx((400_000 + 0.3 * float(corner[0]), 5_000_000 - 0.3 * float(corner[1])))
    assert content["features"][0]["properties"] == {"image": "a", "class": "ship", "score": 0.9}
    rows = read_geojson(tmp_path / "x.geojson", affine).rows
    back = geometry.from_quads(torch.tensor([row.corners for row in rows], dtype=torch.float64))
    assert apart(back, labels.boxes) < 1e-6
    with pytest.raises(UsageError, match="has no inverse"):
        write_geojson(labels, tmp_path / "y.geojson", (1.0, 2.0, 0.0, 2.0, 4.0, 0.0))


def test_horizontal_boxes_of_coco(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 4, "file_name": "tiles/a.png"}], "categories": [{"id": 9, "name": "ship"}],
        "annotations": [{"image_id": 4, "category_id": 9, "bbox": [10, 10, 10, 4]},
                        {"image_id": 4, "category_id": 9, "bbox": [15, 12, 10, 4, 0.0]}],
    }  # fmt: skip
    read = read_labels(text(tmp_path / "x.json", json.dumps(content))).labels
    assert read.boxes.tolist() == [[15, 12, 10, 4, 0]] * 2
    assert read.images == ("a",)
    content["annotations"][1]["bbox"][4] = 45
    with pytest.raises(UsageError, match=r"annotation 2: bbox\[0\] has the angle 45; angles are in radians"):
        read_labels(text(tmp_path / "x.json", json.dumps(content)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{BOX}", "x.txt, line 2: there are 8 words; a line is x1 y1"),
        (f"{BOX} ship 0 1", "there are 11 words"),
        ("1 2 3 4 5 6 seven 8 ship", "line 2: 'seven' is no number"),
        ("1 2 3 4 5 6 nan 8 ship", "line 2: there is NaN or infinity"),
        (f"{BOX} shop", "line 2: the class 'shop' is not known; did you mean 'ship'"),
    ],
)
def test_lines_that_are_none(line: str, message: str, tmp_path: Path) -> None:
    text(tmp_path / "x.txt", f"{BOX} ship 0\n{line}\n")
    with pytest.raises(UsageError, match=message):
        read_labels(tmp_path, LabelReading(format="dota", classes=("ship", "vehicle")))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"b 1.5 {BOX}", "Task1_ship.txt, line 1: the score is 1.5"),
        (f"z 0.5 {BOX}", "line 1: no picture of the labels is named 'z'"),
        (f"b 0.5 {BOX} 3", "line 1: there are 11 words; a line is image score"),
        (f"b high {BOX}", "line 1: 'high' is no number; a score is expected"),
    ],
)
def test_detections_that_are_none(labels: Labels, line: str, message: str, tmp_path: Path) -> None:
    text(tmp_path / "Task1_ship.txt", line)
    with pytest.raises(UsageError, match=message):
        read_detections(tmp_path, labels)


def test_files_that_are_none(labels: Labels, tmp_path: Path) -> None:
    text(tmp_path / "c" / "Task1_car.txt", f"a 0.5 {BOX}")
    with pytest.raises(UsageError, match=r"Task1_car.txt, line 1: the class 'car' is not known; choose one of ship"):
        read_detections(tmp_path / "c", labels)
    with pytest.raises(UsageError, match="does not exist; give a folder of Task1_CLASS"):
        read_detections(tmp_path / "none", labels)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no results"):
        read_detections(tmp_path / "empty", labels)
    with pytest.raises(UsageError, match="is no folder"):
        read_labels(tmp_path / "none")
    for content, message in (("[]", "is no data set of COCO"), ('{"features": 3}', "is no collection of features"),
                             ("{", "is not valid JSON")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            read_labels(text(tmp_path / "x.json", content))
    text(tmp_path / "yolo" / "a.txt", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2")
    with pytest.raises(UsageError, match=r"lacks classes.txt"):
        read_labels(tmp_path / "yolo")
    with pytest.raises(UsageError, match=r"lacks the picture of a.txt"):
        read_labels(tmp_path / "yolo", LabelReading(classes=("ship",)))
    text(tmp_path / "bad" / "images" / "a.png", "no picture")
    text(tmp_path / "bad" / "labelTxt" / "a.txt", f"{BOX} ship 0")
    with pytest.raises(UsageError, match=r"a.png cannot be read: it is no picture"):
        read_labels(tmp_path / "bad")
    with pytest.raises(UsageError, match="the size of a is not known"):
        write_yolo_labels(labels, tmp_path / "y", {})
    for options, message in (
        ({"format": "voc"}, "format is 'voc'"),
        ({"method": "edge"}, "did you mean 'edges'"),
        ({"classes": ("a", "a")}, "name each of them once"),
        ({"min_side": -1}, "min_side"),
    ):
        with pytest.raises(UsageError, match=message):
            LabelReading(**options)
