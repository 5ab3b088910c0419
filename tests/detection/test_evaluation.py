"""Average precision: the reference's numbers, a transcription with loops, pycocotools, and what must hold of any."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold.detection import geometry
from tenfold.detection.evaluation import (
    DetectionMetric,
    bootstrap_intervals,
    error_breakdown,
    match_detections,
    precision_curves,
    recall_tables,
    voc_average_precision,
)
from tenfold.detection.evaluation.recalls import recall_by
from tenfold.detection.tables import Detections, Labels
from tenfold.errors import UsageError

IMAGES, CLASSES = tuple(f"image {k}" for k in range(6)), ("ship", "vehicle", "person")
NAMES = ("AP", "AP50", "AP75", "APvt", "APt", "APs", "APm", "AR", "ARvt", "ARt", "ARs", "ARm")
COLUMNS = ("image", "label", "boxes", "scores")


@pytest.fixture(scope="module")
def known() -> dict[str, np.ndarray]:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "evaluation.npz")
    return {name: file[name] for name in file.files}


def tables(
    objects: np.ndarray, found: np.ndarray, images: tuple[str, ...] = IMAGES, classes: tuple[str, ...] = CLASSES
) -> tuple[Labels, Detections]:
    """From rows (image, class, box) and (image, class, box, score)."""
    g, d = torch.from_numpy(np.asarray(objects, float)), torch.from_numpy(np.asarray(found, float))
    g, d = g.reshape(-1, 7), d.reshape(-1, 8)
    none = torch.zeros(len(g), dtype=torch.bool)
    labels = Labels(images, classes, g[:, 0].long(), g[:, 1].long(), g[:, 2:7], none)
    return labels, Detections(images, classes, d[:, 0].long(), d[:, 1].long(), d[:, 2:7], d[:, 7])


def summary(labels: Labels, detections: Detections, **options: object) -> list[float]:
    return list(precision_curves(match_detections(labels, detections, DetectionMetric(**options))).summary().values())


def test_the_reference(known: dict[str, np.ndarray]) -> None:
    labels, detections = tables(known["gt"], known["det"])
    curves = precision_curves(match_detections(labels, detections))
    assert list(curves.summary()) == [*NAMES]
    assert np.abs(np.array(list(curves.summary().values())) - known["stats_corrected"]).max() < 1e-9
    assert np.abs(curves.precision - known["precision_corrected"][..., 0]).max() < 1e-9
    assert np.abs(curves.recall - known["recall_corrected"][..., 0]).max() < 1e-9
    assert np.abs(np.array(summary(labels, detections, compat="ids")) - known["stats_reference"]).max() < 1e-9
    at_50 = [curves.average_precision(threshold=0.5, label=k) for k in range(3)]
    assert np.mean(at_50) == pytest.approx(curves.summary()["AP50"])


def test_without_angles(known: dict[str, np.ndarray]) -> None:
    objects, found = known["gt"].copy(), known["det"].copy()
    objects[:, 6] = found[:, 6] = 0
    got = precision_curves(match_detections(*tables(objects, found)))
    assert np.abs(np.array(list(got.summary().values())) - known["axis_aligned_stats_corrected"]).max() < 1e-9
    assert got.precision.mean() == pytest.approx(float(known["axis_aligned_precision_pycocotools_mean"][0]), abs=1e-12)


@pytest.mark.parametrize("points", ["11", "area"])
@pytest.mark.parametrize("percent", [50, 75])
def test_voc(known: dict[str, np.ndarray], points: str, percent: int) -> None:
    found = voc_average_precision(*tables(known["gt"], known["det"]), percent / 100, points)
    want = known[f"voc{points}_ap{percent}_per_class"]
    assert np.abs(found.by_class - want).max() < 1e-9
    assert found.mean == pytest.approx(want.mean())


def world(seed: int, pictures: int = 6, objects: int = 60, found: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Crowded pictures: objects in few places, detections near them, scores with ties."""
    draw = np.random.default_rng(seed)
    places = draw.uniform(0, 40, (objects, 2))
    sides = np.exp(draw.uniform(np.log(2), np.log(40), (objects, 2)))
    numbers = draw.integers(0, [pictures, 3], (objects, 2))
    truth = np.concatenate([numbers, places, sides, draw.uniform(-1.5, 1.5, (objects, 1))], 1)
    truth = truth[np.argsort(truth[:, 0], kind="stable")]
    rows = truth[draw.integers(0, objects, found)]
    rows[:, 2:4] += draw.normal(0, 1, (found, 2))
    rows[:, 4:6] *= np.exp(draw.normal(0, 0.2, (found, 2)))
    rows[:, 6] += draw.normal(0, 0.2, found)
    rows[::7, 1] = (rows[::7, 1] + 1) % 3
    return truth, np.concatenate([rows, draw.integers(1, 20, (found, 1)) / 20], 1)


def with_loops(labels: Labels, detections: Detections, metric: DetectionMetric) -> np.ndarray:
    """Precision (t, r, k, a) as the COCO rules tell it: one picture, class, bin, threshold and detection after the
    other."""
    found = np.full((10, 101, len(labels.classes), len(metric.size_bins)), -1.0)
    for k in range(len(labels.classes)):
        for a, size in enumerate(metric.size_bins):
            for t, threshold in enumerate(metric.thresholds):
                scored, total = [], 0
                for i in range(len(labels.images)):
                    mine = ((labels.image == i) & (labels.label == k)).nonzero()[:, 0]
                    theirs = ((detections.image == i) & (detections.label == k)).nonzero()[:, 0]
                    objects = labels.boxes[mine]
                    ordered = theirs[(-detections.scores[theirs]).argsort(stable=True)][: metric.max_detections]
                    boxes = detections.boxes[ordered]
                    outside = [not size.low <= math.floor(b[2] * b[3]) <= size.high for b in objects.tolist()]
                    order = sorted(range(len(objects)), key=lambda g: outside[g])
                    total += len(objects) - sum(outside)
                    iou, used = geometry.box_iou(boxes, objects).numpy(), set()
                    for d, box in enumerate(boxes.tolist()):
                        bar, match = min(threshold, 1 - 1e-10), -1
                        for g in order:
                            if g in used:
                                continue
                            if match > -1 and not outside[match] and outside[g]:
                                break
                            if iou[d, g] < bar:
                                continue
                            bar, match = iou[d, g], g
                        used.add(match)
                        ignored = (
                            outside[match] if match > -1 else not (size.low <= math.floor(box[2] * box[3]) <= size.high)
                        )
                        if not ignored:
                            scored.append((float(detections.scores[ordered[d]]), match > -1))
                if total:
                    scored.sort(key=lambda row: -row[0])
                    hits = np.cumsum([hit for _, hit in scored]) if scored else np.zeros(0)
                    precision = hits / (np.arange(1, len(hits) + 1))
                    for r, recall in enumerate(np.linspace(0, 1, 101)):
                        at = np.flatnonzero(hits / total >= recall)
                        found[t, r, k, a] = precision[at[0] :].max() if len(at) else 0
    return found


@pytest.mark.parametrize(("seed", "most"), [(1, 1500), (2, 3)])
def test_transcription_with_loops(seed: int, most: int) -> None:
    labels, detections = tables(*world(seed, pictures=3, objects=30, found=70))
    metric = DetectionMetric(max_detections=most)
    matches = match_detections(labels, detections, metric)
    assert (matches.left_out > 0) == (most == 3)
    assert np.abs(precision_curves(matches).precision - with_loops(labels, detections, metric)).max() < 1e-12


def test_pycocotools() -> None:
    coco_module = pytest.importorskip("pycocotools.coco")
    from pycocotools.cocoeval import COCOeval

    truth, found = world(5, pictures=8, objects=100, found=300)
    truth[:, 6] = found[:, 6] = 0
    truth[:, 4:6], found[:, 4:6] = truth[:, 4:6] * 4, found[:, 4:6] * 4

    def rows(table: np.ndarray) -> list[dict]:
        return [
            {"id": i + 1, "image_id": int(r[0]) + 1, "category_id": int(r[1]) + 1, "iscrowd": 0, "area": r[4] * r[5],
             "bbox": [r[2] - r[4] / 2, r[3] - r[5] / 2, r[4], r[5]]} | ({"score": r[7]} if len(r) > 7 else {})
            for i, r in enumerate(table)
        ]  # fmt: skip

    coco = coco_module.COCO()
    coco.dataset = {
        "info": {}, "images": [{"id": i + 1} for i in range(8)], "annotations": rows(truth),
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)],
    }  # fmt: skip
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(rows(found)), "bbox")
    evaluation.params.maxDets = [100]
    evaluation.evaluate()
    evaluation.accumulate()
    images = tuple(f"image {k}" for k in range(8))
    metric = DetectionMetric("coco", 100)
    curves = precision_curves(match_detections(*tables(truth, found, images), metric))
    assert np.abs(curves.precision - evaluation.eval["precision"][..., 0]).max() < 1e-12
    assert np.abs(curves.recall - evaluation.eval["recall"][..., 0]).max() < 1e-12


ONE = [[0, 0, 20, 20, 9, 6, 0.3]]


def test_the_first_object_of_the_reference_is_never_found() -> None:
    labels, detections = tables(ONE, [[*ONE[0], 0.9]])
    assert summary(labels, detections)[0] == 1
    assert summary(labels, detections, compat="reference")[0] == 0
    # Its first detection leaves the object free for the next one.
    two = [[0, 0, 90, 90, 9, 6, 0.3], *ONE]
    labels, detections = tables(two, [[*ONE[0], 0.9], [*ONE[0], 0.8], [*two[0], 0.7]])
    state = match_detections(labels, detections).state[:, 0, 0].tolist()
    assert state == [1, 0, 1]
    assert match_detections(labels, detections, DetectionMetric(compat="ids")).state[:, 0, 0].tolist() == [1, 1, 0]


def test_pictures_without_objects_cost_precision() -> None:
    found = [[*ONE[0], 0.5], [3, 0, 20, 20, 9, 6, 0.3, 0.9]]
    labels, detections = tables(ONE, found)
    assert summary(labels, detections)[0] == pytest.approx(0.5)
    two = [[5, 0, 50, 50, 9, 6, 0], *ONE]
    labels, detections = tables(two, [*found, [*two[0], 0.95]])
    flawed = match_detections(labels, detections, DetectionMetric(compat="reference"))
    assert 3 not in flawed.image
    assert 3 in match_detections(labels, detections).image


def test_bins_hold_both_ends() -> None:
    sizes = [(2, 1.9), (2, 2), (8, 8), (8, 8.2), (64, 64), (64, 65)]
    objects = [[0, 0, 200 * k, 0, w, h, 0] for k, (w, h) in enumerate(sizes)]
    matches = match_detections(*tables(objects, np.zeros((0, 8))))
    assert matches.regular.astype(int).tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0],
    ]  # fmt: skip


def test_the_order_of_rows_is_irrelevant_and_duplicates_never_help() -> None:
    truth, found = world(3)
    found[:, 7] = np.random.default_rng(1).permutation(len(found)) / len(found)  # without ties
    whole = np.array(summary(*tables(truth, found)))
    shuffled = np.random.default_rng(2).permutation
    assert np.allclose(summary(*tables(shuffled(truth), shuffled(found))), whole)
    doubled = np.concatenate([found, found])
    assert (np.array(summary(*tables(truth, doubled)))[:7] <= whole[:7] + 1e-12).all()
    perfect = np.concatenate([truth, np.ones((len(truth), 1))], 1)
    known = [1.0 if value > -1 else -1.0 for value in whole]
    assert known.count(1.0) >= 10
    assert summary(*tables(truth, perfect)) == pytest.approx(known)
    assert summary(*tables(truth, found[:0])) == [min(value, 0.0) for value in known]
    assert summary(*tables(truth[:0], found)) == [-1.0] * 12


def test_difficult_objects_count_neither_way() -> None:
    truth = np.array([[0, 0, 20, 20, 9, 6, 0], [0, 0, 50, 50, 9, 6, 0]])
    labels, detections = tables(truth, np.concatenate([truth, [[0.5], [0.9]]], 1))
    hard = Labels(labels.images, labels.classes, labels.image, labels.label, labels.boxes, torch.tensor([False, True]))
    found = voc_average_precision(hard, detections)
    assert found.by_class[0] == 1
    assert math.isnan(found.by_class[1])
    assert found.mean == 1
    assert voc_average_precision(labels, detections.chosen(torch.tensor([1]))).mean == 0.5


def test_bootstrap() -> None:
    truth, found = world(4, pictures=30, objects=200, found=300)
    images = tuple(f"image {k}" for k in range(30))
    matches = match_detections(*tables(truth, found, images))
    whole = precision_curves(matches).summary()
    intervals = bootstrap_intervals(matches, 40, 0.9, seed=3)
    assert list(intervals) == list(whole)
    assert all(0 <= low < high <= 1 for low, high, _ in intervals.values())
    assert intervals["AP"].low < whole["AP"] < intervals["AP"].high
    assert bootstrap_intervals(matches, 40, 0.9, seed=3) == intervals
    assert bootstrap_intervals(matches, 40, 0.9, seed=4) != intervals
    # As often as a picture is drawn, so often it counts.
    twice = precision_curves(matches, np.full(30, 2.0))
    assert np.allclose(twice.precision, precision_curves(matches).precision)
    half = np.zeros(30)
    half[:15] = 1
    inside = [rows[rows[:, 0] < 15] for rows in (truth, found)]
    alone = precision_curves(match_detections(*tables(*inside, images)))
    assert np.allclose(precision_curves(matches, half).precision, alone.precision)
    for options, message in (({"replicates": 1}, "replicates is 1"), ({"level": 1.0}, "level is 1")):
        with pytest.raises(UsageError, match=message):
            bootstrap_intervals(matches, **options)


def test_errors_have_their_causes() -> None:
    def rows(*boxes: list[float]) -> np.ndarray:
        return np.array(boxes)

    truth = rows(*([0, 0, 100 * k, 0, 16, 4, 0] for k in range(7)))
    found = rows(
        [0, 0, 0, 0, 16, 4, 0, 0.9], [0, 0, 0, 1, 16, 4, 0, 0.8],  # found, and once more
        [0, 1, 100, 0, 16, 4, 0, 0.9], [0, 0, 200, 0, 16, 4, 0.8, 0.9], [0, 0, 308, 0, 16, 4, 0, 0.9],
        [0, 0, 950, 0, 16, 4, 0, 0.9],
    )  # fmt: skip
    labels, detections = tables(truth, found)
    matches = match_detections(labels, detections)
    candidates = tables(truth, rows([0, 0, 500, 0, 16, 4, 0, 0.01], [0, 0, 600, 0, 16, 4, 0, 0.9]))[1]
    causes = error_breakdown(labels, detections, matches, candidates, min_score=0.05)
    assert causes.missed() == {
        "found": 1, "suppressed": 1, "low score": 1, "class": 1, "angle": 1, "localisation": 1, "background": 1,
    }  # fmt: skip
    assert causes.false() == {
        "true": 1, "duplicate": 1, "class": 1, "angle": 1, "localisation": 1, "background": 1,
    }  # fmt: skip
    assert error_breakdown(labels, detections, matches).missed()["background"] == 3
    with pytest.raises(UsageError, match=r"threshold is .*; the metric has 0"):
        error_breakdown(labels, detections, matches, threshold=0.3)


def test_recall_by_kind() -> None:
    truth, found = world(6)
    labels, detections = tables(truth, found)
    matches = match_detections(labels, detections)
    rows = recall_tables(labels, matches)
    for name in ("size", "crowd", "aspect"):
        assert sum(row.objects for row in rows[name]) == len(truth), name
        assert sum(row.found for row in rows[name]) == matches.found[:, 0, 0].sum(), name
    areas = truth[:, 4] * truth[:, 5]
    small = (areas >= 16) & (areas < 36)
    assert rows["size"][1][2:] == (small.sum(), matches.found[small, 0, 0].sum())
    assert math.isnan(recall_by(np.zeros(0), np.zeros(0, bool), (0, 1, 2))[0].recall)
    turned = tables(np.array([[0, 0, 9, 9, 8, 2, -0.1], [0, 0, 99, 9, 4, 4, 1]]), np.zeros((0, 8)))
    angles = recall_tables(turned[0], match_detections(*turned))["angle"]
    assert [row.objects for row in angles] == [0, 0, 0, 0, 0, 1]
    with pytest.raises(UsageError, match=r"threshold is 0.51"):
        recall_tables(labels, matches, 0.51)


def test_refused() -> None:
    labels, detections = tables(ONE, [[*ONE[0], 0.9]])
    others = Detections(IMAGES, ("car", *CLASSES[1:]), *(getattr(detections, n) for n in COLUMNS))
    with pytest.raises(UsageError, match="the detections are of other classes than the labels: 'car' stands"):
        match_detections(labels, others)
    with pytest.raises(UsageError, match="of other pictures than the labels: 5 of 6"):
        match_detections(labels, Detections(IMAGES[:5], CLASSES, *(getattr(detections, n) for n in COLUMNS)))
    for box, message in (
        ([0, 0, 1, 1, 90], "has the angle 90; angles are in radians"),
        ([0, 0, 1, -1, 0], r"boxes\[0\] is"),
    ):
        with pytest.raises(UsageError, match=message):
            tables([[0, 0, *box]], np.zeros((0, 8)))
    with pytest.raises(UsageError, match="the score of detection 0 is"):
        tables(ONE, [[*ONE[0], 1.5]])
    with pytest.raises(UsageError, match="a box is of number 3 of 3 classes"):
        tables([[0, 3, 0, 0, 1, 1, 0]], np.zeros((0, 8)))
    with pytest.raises(UsageError, match="two classes are named 'a'"):
        tables(ONE, np.zeros((0, 8)), classes=("a", "a"))
    with pytest.raises(UsageError, match="threshold is 0"):
        voc_average_precision(labels, detections, 0)
    with pytest.raises(UsageError, match="points is '101'"):
        voc_average_precision(labels, detections, points="101")
    for options in ({"bins": "dota"}, {"compat": "old"}, {"max_detections": 0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            DetectionMetric(**options)
