"""Geometry, assignment and evaluation of oriented boxes against the published algorithms and the libraries that compute
the same: ``python -m benchmarks.detection``. Libraries that are not installed are told, and left out.
"""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from benchmarks import reference_detection as reference
from benchmarks.harness import Record, clock, main, paired
from tenfold.detection.assign import DcflOptions, Predictions, Priors, dcfl_stages, grid_priors
from tenfold.detection.evaluation import DetectionMetric, match_detections, precision_curves
from tenfold.detection.geometry import box_iou, gjsd, rotated_nms, sparse_iou, to_quads
from tenfold.detection.tables import Detections, Labels

Emit = Callable[[Record], None]
PACKAGES = ("tenfold", "torch", "shapely", "opencv-python-headless", "pycocotools")


def scene(count: int, side: float, longest: float, seed: int) -> Tensor:
    """Boxes of 4 pixels to ``longest`` in a square, float64."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    sides = 4 * (longest / 4) ** uniform(count, 2)
    return torch.cat([uniform(count, 2) * side, sides, (uniform(count, 1) - 0.5) * np.pi], 1)


def coarse_metric(emit: Emit, objects: int, repeats: int) -> None:
    """The divergence of every object and prior of an 800 × 800 picture, float32, far from the origin."""
    priors = grid_priors([(s, s) for s in (100, 50, 25, 13, 7)], [8, 16, 32, 64, 128]).boxes.float()
    boxes = scene(objects, 800, 32, 0)
    exact = gjsd(boxes, priors.double())
    ours, other = gjsd(boxes.float(), priors), reference.published_gjsd(boxes.float(), priors)
    seconds = paired(
        lambda: gjsd(boxes.float(), priors), lambda: reference.published_gjsd(boxes.float(), priors), repeats
    )
    errors = [float(((found - exact).abs() / (1 + exact)).max()) for found in (ours, other)]
    details = {"ours_error": errors[0], "other_error": errors[1]}
    emit(Record("gjsd", *seconds, "seconds", errors[0], {"objects": objects, "priors": len(priors)}, details))


def assigner(emit: Emit, objects: int, repeats: int) -> None:
    """DCFL's whole assignment on one picture."""
    grid = grid_priors([(s, s) for s in (100, 50, 25, 13, 7)], [8, 16, 32, 64, 128])
    draw = torch.Generator().manual_seed(0)
    moved = grid.boxes.float() + 4 * torch.randn(len(grid.boxes), 5, generator=draw) * torch.tensor([1.0, 1, 0, 0, 0])
    priors, boxes = Priors(grid.boxes.float(), grid.levels, moved), scene(objects, 800, 32, 0).float()
    said = Predictions(torch.randn(len(moved), 8, generator=draw) - 4, moved)
    options = DcflOptions(min_positives=0)

    def ours() -> Tensor:
        return dcfl_stages(boxes, priors, said, options).fine

    def other() -> Tensor:
        return reference.looped_dcfl(boxes, moved, said.logits, said.boxes)

    one, two = ours(), other()
    seconds = paired(ours, other, repeats, warm_up=0)
    agree = float((torch.where(one >= 0, one, -1) == two).double().mean())
    note = "float32: the published divergence is wrong enough to change ranks, so that few priors differ"
    emit(Record("assigner", *seconds, "seconds", None, {"objects": objects, "priors": len(moved)},
                {"agreement": agree}, note))  # fmt: skip


def overlaps(emit: Emit, count: int, repeats: int) -> None:
    """Dense and sparse matrices of IoU."""
    crowded = [scene(count, 800, 250, seed) for seed in (1, 2)]
    sparse = [scene(count, 800, 32, seed) for seed in (3, 4)]
    dense = box_iou(*crowded)
    try:
        import shapely
    except ImportError:
        print("shapely is not installed; iou-shapely and iou-sparse are left out", file=sys.stderr)
    else:

        def by_shapely(first: Tensor, second: Tensor) -> Tensor:
            one, other = (shapely.polygons(to_quads(b).unflatten(1, (4, 2)).numpy()) for b in (first, second))
            tree = shapely.STRtree(other)
            i, j = tree.query(one, predicate="intersects")
            shared = shapely.area(shapely.intersection(one[i], other[j]))
            found = torch.zeros(len(one), len(other), dtype=torch.float64)
            found[i, j] = torch.from_numpy(shared / (shapely.area(one)[i] + shapely.area(other)[j] - shared))
            return found

        for name, boxes in (("iou-shapely", crowded), ("iou-sparse", sparse)):
            run = box_iou if name == "iou-shapely" else sparse_iou
            error = float((box_iou(*boxes) - by_shapely(*boxes)).abs().max())
            seconds = paired(lambda run=run, b=boxes: run(*b), lambda b=boxes: by_shapely(*b), repeats)
            near = float((box_iou(*boxes) > 0).double().mean())
            emit(Record(name, *seconds, "seconds", error, {"boxes": count}, {"share_touching": near}))
    try:
        import cv2
    except ImportError:
        print("opencv is not installed; iou-cv2 and nms are left out", file=sys.stderr)
        return

    rows = max(1, count // 10)
    rectangles = [[((x, y), (w, h), np.degrees(t)) for x, y, w, h, t in boxes.tolist()] for boxes in crowded]

    def by_cv2() -> Tensor:
        found = torch.zeros(rows, count, dtype=torch.float64)
        for i in range(rows):
            for j in range(count):
                shared, points = cv2.rotatedRectangleIntersection(rectangles[0][i], rectangles[1][j])
                if shared:
                    area = cv2.contourArea(cv2.convexHull(points))
                    found[i, j] = area / (crowded[0][i, 2:4].prod() + crowded[1][j, 2:4].prod() - area)
        return found

    error = float((by_cv2() - dense[:rows]).abs().max())
    ours, other = paired(lambda: box_iou(*crowded), by_cv2, repeats, warm_up=0)
    note = f"cv2's time is that of {rows} rows, times {count / rows:g}"
    emit(Record("iou-cv2", ours, other * count / rows, "seconds", error, {"boxes": count}, {}, note))


def suppression(emit: Emit, count: int, repeats: int) -> None:
    """Suppression of boxes of one class in a crowd."""
    boxes, scores = scene(count, 800, 32, 5), torch.linspace(1, 0.5, count).double()
    size = {"boxes": count}
    try:
        import cv2
    except ImportError:
        return
    rectangles = [((x, y), (w, h), np.degrees(t)) for x, y, w, h, t in boxes.tolist()]
    kept = rotated_nms(boxes, scores, 0.4)
    theirs = cv2.dnn.NMSBoxesRotated(rectangles, scores.tolist(), 0.0, 0.4)
    differ = len(set(kept.tolist()) ^ {int(k) for k in np.ravel(theirs)})
    seconds = paired(
        lambda: rotated_nms(boxes, scores, 0.4),
        lambda: cv2.dnn.NMSBoxesRotated(rectangles, scores.tolist(), 0.0, 0.4),
        repeats,
    )
    many = scene(20_000, 2000, 32, 6)
    alone = clock(lambda: rotated_nms(many, torch.linspace(1, 0, len(many)), 0.4))
    emit(Record("nms", *seconds, "seconds", None, size, {"kept": len(kept), "differ": differ, "ours_20k": alone}))


def evaluator(emit: Emit, pictures: int, found: int, repeats: int) -> None:
    """AP by size of all pictures, and with angles 0 that of COCO."""
    objects = found // 6
    numbers = torch.arange(pictures).repeat_interleave(objects)
    truth = scene(len(numbers), 800, 40, 7)
    draw = torch.Generator().manual_seed(8)
    near = torch.randint(objects, (pictures, found), generator=draw) + objects * torch.arange(pictures)[:, None]
    boxes = truth[near.flatten()]
    boxes[:, :2] += torch.randn(len(boxes), 2, generator=draw, dtype=torch.float64) * 1.5
    label = torch.randint(8, (len(truth),), generator=draw)
    scores = torch.rand(len(boxes), generator=draw, dtype=torch.float64)
    names, classes = tuple(map(str, range(pictures))), tuple("abcdefgh")
    difficult = torch.zeros(len(truth), dtype=torch.bool)
    labels = Labels(names, classes, numbers, label, truth, difficult)
    image = torch.arange(pictures).repeat_interleave(found)
    detections = Detections(names, classes, image, label[near.flatten()], boxes, scores)
    metric = DetectionMetric()

    def ours() -> np.ndarray:
        return precision_curves(match_detections(labels, detections, metric)).precision

    def keyed(table: Labels | Detections, *columns: Tensor) -> dict:
        group = (table.image * 8 + table.label).numpy()
        order = np.argsort(group, kind="stable")
        edges = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0, True])
        parts = [order[a:b] for a, b in pairwise(edges)]
        return {divmod(int(group[p[0]]), 8): tuple(c.numpy()[p] for c in columns) for p in parts}

    known = {key: value[0] for key, value in keyed(labels, labels.boxes).items()}
    bins = tuple((b.low, b.high) for b in metric.size_bins)

    def other() -> np.ndarray:
        return reference.looped_precision(
            known, keyed(detections, detections.boxes, detections.scores), pictures, 8, bins
        )

    error = float(np.abs(ours() - other()).max())
    seconds = paired(ours, other, repeats, warm_up=0)
    size = {"pictures": pictures, "detections": found, "objects": objects}
    emit(Record("evaluator", *seconds, "seconds", error, size))
    by_pycocotools(emit, labels, detections, size, repeats)


def by_pycocotools(emit: Emit, labels: Labels, detections: Detections, size: dict, repeats: int) -> None:
    """The same boxes at angle 0, with COCO's bins and 100 detections."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError:
        print("pycocotools is not installed; its record is left out", file=sys.stderr)
        return

    straight = torch.tensor([1.0, 1, 1, 1, 0], dtype=torch.float64)
    labels = Labels(
        labels.images, labels.classes, labels.image, labels.label, labels.boxes * straight, labels.difficult
    )
    detections = Detections(
        labels.images,
        labels.classes,
        detections.image,
        detections.label,
        detections.boxes * straight,
        detections.scores,
    )

    def rows(table: Labels | Detections) -> list[dict]:
        columns = table.image.tolist(), table.label.tolist(), table.boxes.tolist()
        return [
            {
                "id": k,
                "image_id": i,
                "category_id": c,
                "iscrowd": 0,
                "area": w * h,
                "bbox": [x - w / 2, y - h / 2, w, h],
            }
            for k, (i, c, (x, y, w, h, _)) in enumerate(zip(*columns, strict=True), 1)
        ]

    coco = COCO()
    coco.dataset = {
        "info": {}, "images": [{"id": k} for k in range(len(labels.images))], "annotations": rows(labels),
        "categories": [{"id": k} for k in range(8)],
    }  # fmt: skip
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    scored = [row | {"score": s} for row, s in zip(rows(detections), detections.scores.tolist(), strict=True)]
    with redirect_stdout(io.StringIO()):
        results = coco.loadRes(scored)
    metric = DetectionMetric("coco", 100)

    def other() -> np.ndarray:
        with redirect_stdout(io.StringIO()):
            evaluation = COCOeval(coco, results, "bbox")
            evaluation.params.maxDets = [100]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"][..., 0]

    def ours() -> np.ndarray:
        return precision_curves(match_detections(labels, detections, metric)).precision

    error = float(np.abs(ours() - other()).max())
    seconds = paired(ours, other, repeats, warm_up=0)
    emit(Record("pycocotools", *seconds, "seconds", error, size))


def benchmarks(quick: bool, emit: Emit) -> None:
    """All records."""
    repeats = 1 if quick else 5
    coarse_metric(emit, 16 if quick else 64, repeats)
    assigner(emit, 20 if quick else 1000, min(repeats, 3))
    overlaps(emit, 100 if quick else 1000, repeats)
    suppression(emit, 300 if quick else 3000, repeats)
    evaluator(emit, 4 if quick else 500, 60 if quick else 300, 1)


if __name__ == "__main__":
    sys.exit(main("detection", benchmarks, PACKAGES))
