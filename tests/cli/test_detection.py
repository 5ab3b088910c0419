"""``tenfold score-detections`` and ``tenfold data``: what they print and write, and the lines that they refuse."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tenfold.detection import Detector, DetectorConfig

BOX = "{0} 10 {1} 10 {1} 14 {0} 14"


def line(left: int) -> str:
    return BOX.format(left, left + 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three ships and a vehicle in two pictures; a ship found twice, the vehicle as a ship, and one thing too many."""
    labels, found = tmp_path / "set" / "labels_v1" / "test", tmp_path / "found"
    labels.mkdir(parents=True)
    found.mkdir()
    (labels / "a.txt").write_text("".join(f"{line(k)} ship 0\n" for k in (10, 40, 70)))
    (labels / "b.txt").write_text(f"{line(10)} vehicle 0\n")
    (labels / "c.txt").write_text("")
    rows = [f"a 0.9 {line(10)}", f"a 0.8 {line(11)}", f"a 0.7 {line(40)}", f"b 0.6 {line(10)}", f"c 0.5 {line(10)}"]
    (found / "Task1_ship.txt").write_text("\n".join(rows))
    return tmp_path


def as_json(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize("verb", ["score-detections", "explain-assignment", "data"])
def test_help_has_examples(tenfold, verb):
    done = tenfold(verb, "--help")
    assert done.code == 0
    assert f"tenfold {verb}" in done.out.split("examples:")[1]


def test_scores(tenfold, folder):
    line = ("score-detections", folder / "set", folder / "found", "--split", "test")
    found = as_json(tenfold(*line, "--json"))
    assert (found["pictures"], found["objects"], found["detections"]) == (3, 4, 5)
    # Of three ships two are found, with one false detection between: precision 1 up to a third, 2/3 up to two thirds.
    ship = (34 + 33 * 2 / 3) / 101
    assert found["by_class"]["ship"] == {"objects": 3, "AP": pytest.approx(ship), "AP50": pytest.approx(ship)}
    assert found["summary"]["AP"] == pytest.approx(ship / 2)
    assert found["missed"] == {"found": 2, "suppressed": 0, "low score": 0, "class": 1, "angle": 0, "localisation": 0,
                               "background": 1}  # fmt: skip
    assert found["false"] == {"true": 2, "duplicate": 1, "class": 1, "angle": 0, "localisation": 0, "background": 1}
    shown = tenfold(*line).out
    assert "3 pictures, 4 objects, 5 detections" in shown
    assert "detections: 2 true, 1 duplicate, 1 class, 1 background" in shown
    assert "labels: 1 × picture without objects; first c" in shown
    with_intervals = as_json(tenfold(*line, "--bootstrap", 5, "--json"))
    assert set(with_intervals["intervals"]) == set(found["summary"])
    assert "95 % interval" in tenfold(*line, "--bootstrap", 5).out


def test_other_metrics(tenfold, folder):
    line = ("score-detections", folder / "set", folder / "found", "--split", "test", "--json")
    voc = as_json(tenfold(*line, "--metric", "voc", "--points", 11, "--threshold", 0.75))
    assert voc["summary"] == {"mAP": pytest.approx((4 + 3 * 2 / 3) / 11 / 2)}
    coco = as_json(tenfold(*line, "--metric", "coco", "--max-detections", 1))
    assert list(coco["summary"])[3:6] == ["APs", "APm", "APl"]
    assert coco["left_out"] == 2
    flawed = as_json(tenfold(*line, "--compat", "reference"))
    assert flawed["summary"]["AP"] < as_json(tenfold(*line))["summary"]["AP"]


def test_check(tenfold, folder):
    found = as_json(tenfold("data", "check", folder / "set", "--split", "test", "--json"))
    assert found["by_class"]["ship"] == 3
    assert found["odd"] == [{"kind": "picture without objects", "number": 1, "examples": ["c"]}]
    shown = tenfold("data", "check", folder / "set", "--split", "test").out
    assert "3 pictures, 4 objects (dota)" in shown
    assert "ship 3" in shown
    assert "1 × picture without objects: c" in shown


@pytest.mark.parametrize("to", ["coco", "geojson", "dota"])
def test_convert(tenfold, folder, to):
    out = folder / ("new" if to == "dota" else f"new.{'json' if to == 'coco' else to}")
    done = tenfold("data", "convert", folder / "set", "--split", "test", "--to", to, "--out", out)
    assert done.code == 0, done.err
    assert done.out.strip().endswith(str(out))
    assert as_json(tenfold("data", "check", out, "--json"))["objects"] == 4


def test_explain(tenfold, folder):
    line = ("explain-assignment", folder / "set", "--split", "test", "--strides", "8,16")
    found = as_json(tenfold(*line, "--json"))
    assert found["total"]["objects"] == 4
    assert found["total"]["without"] == 0
    assert sum(found["levels"]) == pytest.approx(1)
    published = as_json(tenfold(*line, "--min-positives", 0, "--json"))
    assert published["total"]["positives"] <= found["total"]["positives"]
    shown = tenfold(*line, "--assigner", "max-iou").out
    assert "max-iou: 4 objects" in shown
    assert "positives by stride: 8: " in shown
    for assigner in ("atss", "tal", "gaussians", "wasserstein"):
        assert as_json(tenfold(*line, "--assigner", assigner, "--json"))["assigner"] == assigner


def test_render(tenfold, tmp_path):
    words = ("--size", 64, "--pictures", 2, "--objects", 600)
    found = as_json(tenfold("data", "render", tmp_path / "made", *words, "--json"))
    checked = as_json(tenfold("data", "check", tmp_path / "made", "--split", "train", "--json"))
    assert checked["pictures"] == found["pictures"] == 2
    assert checked["objects"] == found["objects"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "chek", "x"], "action is 'chek'; did you mean 'check'"),
        (["data", "check", "x", "--to", "coco"], "check does not use --to"),
        (["data", "convert", "x", "--to", "voc"], "--to is 'voc'; choose one of dota"),
        (["data", "convert", "x", "--to", "coco"], "--out is missing"),
        (["data", "render", "x", "--method", "edges"], "render does not use --method"),
        (["data", "render", "x", "--size", "10"], "size"),
        (["data", "check", "nowhere"], "nowhere is no folder"),
        (["score-detections", "x", "y", "--metric", "dota"], "metric is 'dota'"),
        (["score-detections", "x", "y", "--threshold", "0.5"], "the metric aitod does not use --threshold"),
        (["score-detections", "x", "y", "--metric", "voc", "--bootstrap", "9"], "metric voc has no intervals"),
        (["score-detections", "x", "y", "--metric", "coco", "--compat", "ids"], "of the metric aitod"),
        (["score-detections", "x", "y", "--bootstrap", "1"], "bootstrap is 1"),
        (["score-detections", "x"], "missing DETECTIONS"),
        (["explain-assignment", "x", "--assigner", "dcfl2"], "assigner is 'dcfl2'; did you mean 'dcfl'"),
        (["explain-assignment", "x", "--assigner", "atss", "--min-positives", "2"], "does not use --min-positives"),
        (["explain-assignment", "x", "--strides", "0"], "strides are (0,)"),
    ],
)
def test_refused_lines(refused, words, message):
    assert message in refused(*words)


def test_a_detector_from_training_to_files(tenfold, tmp_path):
    small = ("--data.aerotiny.size", 64, "--data.aerotiny.objects", 500,
             "--data.aerotiny.pictures", 6, "--data.validation", 2, "--data.test", 2,
             "--data.cache", tmp_path / "cache", "--model.width", 8, "--model.channels", 8, "--evaluation.score", 0.005,
             "--train.steps", 2, "--train.tracker", "none", "--train.batch_size", 4)  # fmt: skip
    run = tmp_path / "run"
    done = tenfold("train", "aerotiny", "--out", run, *small)
    assert done.code == 0, done.err
    rows = {row["name"]: row for row in as_json(tenfold("evaluate", run, "--json"))["metrics"]}
    assert rows["without_positive"]["value"] == 0  # an object keeps one at least
    assert 0 <= rows["AP50"]["value"] <= 1
    assert (run / "report.html").exists()
    assert len(list((run / "figures").glob("found-*.png"))) == 2

    photos, out = tmp_path / "photos", tmp_path / "found"
    photos.mkdir()
    Image.new("RGB", (100, 70), (90, 100, 80)).save(photos / "a.png")
    Image.new("RGB", (40, 130), (90, 100, 80)).save(photos / "b.jpg")
    (photos / "a.pgw").write_text("2\n0\n0\n-2\n1001\n1999\n")
    line = ("detect", run, photos, "--out", out, "--tile", 64, "--halo", 16, "--score", 0.009)
    assert "Objects" in tenfold(*line).out
    found = json.loads((out / "detections.json").read_text())
    assert {row["image_id"] for row in found} <= {1, 2}
    assert sum(len(file.read_text().splitlines()) for file in (out / "Task1").glob("*.txt")) == len(found)
    features = json.loads((out / "a.geojson").read_text())["features"]
    assert len(features) == sum(row["image_id"] == 1 for row in found) > 0
    for (left, top), box in zip((f["geometry"]["coordinates"][0][0] for f in features), found, strict=False):
        assert (left, top) == pytest.approx(
            (1000 + 2 * box["segmentation"][0][0], 2000 - 2 * box["segmentation"][0][1])
        )
    assert not (out / "b.geojson").exists()
    assert (out / "figures" / "a.png").exists()
    assert (out / "report.html").exists()


def test_a_folder_in_the_layout_of_aitodr(tenfold, tmp_path):
    """Written by the renderer, trained and evaluated by the lines that the real data set takes."""
    root, run = tmp_path / "AI-TOD-R", tmp_path / "run"
    for split, number in (("trainval", 3), ("test", 2)):
        line = ("data", "render", root, "--split", split, "--pictures", number, "--size", 64, "--objects", 500)
        assert tenfold(*line).code == 0
    small = ("--model.backbone", "small", "--model.width", 8, "--model.channels", 8, "--train.steps", 1,
             "--train.tracker", "none", "--train.batch_size", 2, "--evaluation.score", 0.005)  # fmt: skip
    done = tenfold("train", "aitodr", "--data.root", root, "--out", run, *small)
    assert done.code == 0, done.err
    rows = {row["name"]: row["value"] for row in as_json(tenfold("evaluate", run, "--json"))["metrics"]}
    assert 0 <= rows["AP50"] <= 1
    missed = [value for name, value in rows.items() if name.startswith("missed_")]
    assert len(missed) == 6
    assert 0 <= sum(missed) <= 1
    assert rows["without_positive"] >= 0


def test_detect_refuses(refused, tenfold, tmp_path):
    model = tmp_path / "model"
    Detector(DetectorConfig(width=8, channels=8)).save_pretrained(model)
    assert "does not exist; give a picture" in refused("detect", model, tmp_path / "photos")
    assert "holds no pictures" in refused("detect", model, model)
    assert "halo is 64 pixels" in refused("detect", model, tmp_path, "--tile", 64)
    assert not (tmp_path / "detect").exists()
    assert "--data.root" in refused("train", "aitodr", "--out", tmp_path / "run")
    done = tenfold("train", "aitodr", "--dry-run", "--json")
    assert as_json(done)["parameters"] == 36_317_288
