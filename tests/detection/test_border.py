"""What enters by the faces: numbers of any type, lists, arrays, emptiness and nonsense are right, or one sentence. The
tables name the entry points; a name of a face that is in none must be excused."""

import dataclasses
import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tenfold.detection as room
from tenfold.detection import assign, data, evaluation, geometry, models
from tenfold.detection.assign import Predictions, Priors
from tenfold.detection.config import BoxFinding, DetectorConfig
from tenfold.detection.data.aerotiny import AeroTiny, AeroTinyConfig
from tenfold.detection.explaining import explain_assignment
from tenfold.detection.finding.decoding import detect_in_tiles, found_boxes
from tenfold.detection.models import Detector
from tenfold.detection.recipes import RECIPES
from tenfold.detection.scoring import score_detections
from tenfold.detection.tables import Detections, Labels
from tenfold.errors import UsageError
from tenfold.settings.changes import change

A = torch.tensor([[10.0, 12, 8, 4, 1], [30, 20, 6, 6, 0], [11, 13, 7, 5, -1]], dtype=torch.float64)
B = torch.tensor([[12.0, 12, 6, 4, 0], [33, 22, 4, 8, 1], [50, 50, 2, 3, 1]], dtype=torch.float64)
Q = geometry.to_quads(torch.cat([A[:, :4], torch.zeros(3, 1)], 1))
EDGES = torch.tensor([[1.0, 2, 5, 8], [0, 0, 4, 2]], dtype=torch.float64)
SCORES = torch.tensor([0.5, 0.75, 0.25], dtype=torch.float64)
NUMBERS = torch.tensor([0, 1, 0])
GRID = assign.grid_priors([(8, 8), (4, 4)], [8, 16])
SAID = Predictions(torch.zeros(80, 2), GRID.boxes)
TRUTHS = torch.tensor([False, True, False])
CODER = geometry.BoxCoder()
LABELS = Labels(("a", "b"), ("ship", "tank"), NUMBERS, NUMBERS, A, TRUTHS)
FOUND = Detections(("a", "b"), ("ship", "tank"), NUMBERS, NUMBERS, B, SCORES)
MATCHES = evaluation.match_detections(LABELS, FOUND)

CONVOLVED = {"features": torch.ones(1, 2, 3, 3), "offsets": torch.zeros(1, 18, 3, 3), "mask": torch.ones(1, 9, 3, 3),
             "weight": torch.ones(2, 2, 3, 3)}  # fmt: skip

# Every floating argument: the base, and the call as a function of it.
Entry = tuple[Tensor, Callable[[Any], Any]]
PAIRS = ("bhattacharyya", "probiou", "kl_divergence", "jeffreys", "squared_wasserstein", "kalman_iou", "gjsd",
         "kl_loss", "wasserstein_loss", "kalman_loss", "probiou_loss", "bhattacharyya_loss", "paired_iou", "box_iou",
         "intersection_areas", "angle_difference", "near_pairs")  # fmt: skip
FLOATS: dict[str, Entry] = {
    **{f"{n} first": (A, lambda v, n=n: getattr(geometry, n)(v, B)) for n in PAIRS},
    **{f"{n} second": (B, lambda v, n=n: getattr(geometry, n)(A, v)) for n in PAIRS},
    **{n: (A, getattr(geometry, n)) for n in ("areas", "corners", "horizontal", "gaussian_of", "to_quads")},
    **{n: (Q, getattr(geometry, n)) for n in ("crossing", "from_quads", "ring_order", "skew")},
    "check_boxes": (A, lambda v: geometry.check_boxes(v) or torch.zeros(1)),
    "from_horizontal": (EDGES, geometry.from_horizontal),
    "fold": (SCORES, lambda v: geometry.fold(v, 0.0)),
    "to_convention": (A, lambda v: geometry.to_convention(v, "le90")),
    "flip_boxes": (A, lambda v: geometry.flip_boxes(v, 64, 64, "vertical")),
    "quarter_turn_boxes": (A, lambda v: geometry.quarter_turn_boxes(v, 64, 64)),
    "resize_boxes": (A, lambda v: geometry.resize_boxes(v, 2, 3)),
    "shift_boxes": (A, lambda v: geometry.shift_boxes(v, 2, 3)),
    "sparse_iou first": (A, lambda v: geometry.sparse_iou(v, B)[1]),
    "sparse_iou second": (B, lambda v: geometry.sparse_iou(A, v)[1]),
    "rotated_nms boxes": (A, lambda v: geometry.rotated_nms(v, SCORES)),
    "rotated_nms scores": (SCORES, lambda v: geometry.rotated_nms(A, v)),
    "rotated_nms threshold": (SCORES[::2].clone(), lambda v: geometry.rotated_nms(A, SCORES, v, NUMBERS)),
    "soft_nms boxes": (A, lambda v: geometry.soft_nms(v, SCORES).scores),
    "soft_nms scores": (SCORES, lambda v: geometry.soft_nms(A, v).scores),
    "encode priors": (A, lambda v: CODER.encode(v, B)),
    "encode boxes": (B, lambda v: CODER.encode(A, v)),
    "decode priors": (A, lambda v: CODER.decode(v, B)),
    "decode deltas": (B / 64, lambda v: CODER.decode(A, v)),
    "PointCoder priors": (A, lambda v: geometry.PointCoder().decode(v, B / 64)),
    "PointCoder deltas": (B / 64, lambda v: geometry.PointCoder().decode(A, v)),
    "PointCoder boxes": (B, lambda v: geometry.PointCoder().encode(A, v)),
    "MidpointCoder priors": (A, lambda v: geometry.MidpointCoder().decode(v, torch.ones(3, 6).double() / 64)),
    "MidpointCoder deltas": (torch.ones(3, 6).double() / 64, lambda v: geometry.MidpointCoder().decode(A, v)),
    "MidpointCoder boxes": (B, lambda v: geometry.MidpointCoder().encode(A, v)),
    "rotated_roi_align features": (CONVOLVED["features"].double(),
                                   lambda v: models.rotated_roi_align(v, A[None], 8)),
    "rotated_roi_align regions": (A[None], lambda v: models.rotated_roi_align(CONVOLVED["features"], v, 8)),
    "Labels boxes": (A, lambda v: Labels(("a", "b"), ("c", "d"), NUMBERS, NUMBERS, v, TRUTHS).boxes),
    "Detections boxes": (A, lambda v: Detections(("a", "b"), ("c", "d"), NUMBERS, NUMBERS, v, SCORES).boxes),
    "Detections scores": (SCORES, lambda v: Detections(("a", "b"), ("c", "d"), NUMBERS, NUMBERS, A, v).scores),
    "assign_priors objects": (A, lambda v: assign.assign_priors(v, NUMBERS, GRID, assign.MaxIouOptions())),
    "dcfl_stages objects": (A, lambda v: assign.dcfl_stages(v, GRID, SAID).fine),
    "Priors boxes": (GRID.boxes.double(), lambda v: _given(Priors(v, (64, 16), GRID.moved))),
    "Priors moved": (GRID.boxes.double(), lambda v: _given(Priors(GRID.boxes, (64, 16), v))),
    "Predictions logits": (SAID.logits.double(), lambda v: _given(GRID, Predictions(v, GRID.boxes))),
    "Predictions boxes": (GRID.boxes.double(), lambda v: _given(GRID, Predictions(SAID.logits, v))),
    "audit_assignment objects": (A, lambda v: torch.tensor(assign.audit_assignment([v], [GRID], [GIVEN]).total)),
    "precision_curves weights": (torch.tensor([1.0, 2.0]).double(),
                                 lambda v: torch.from_numpy(evaluation.precision_curves(MATCHES, v).precision)),
    **{f"deformable_conv {n}": (v, lambda x, n=n: models.deformable_conv(**{**CONVOLVED, n: x}))
       for n, v in CONVOLVED.items()},
}  # fmt: skip
WHOLE: dict[str, Entry] = {
    "near_pairs groups": (NUMBERS, lambda v: geometry.near_pairs(A, B, v, NUMBERS)),
    "sparse_iou groups": (NUMBERS, lambda v: geometry.sparse_iou(A, B, "union", NUMBERS, v)[0]),
    "rotated_nms labels": (NUMBERS, lambda v: geometry.rotated_nms(A, SCORES, 0.1, v)),
    "soft_nms labels": (NUMBERS, lambda v: geometry.soft_nms(A, SCORES, v).kept),
    "assign_priors labels": (NUMBERS, lambda v: assign.assign_priors(A, v, GRID, assign.TaskAlignedOptions(), SAID)),
    "Labels image": (NUMBERS, lambda v: Labels(("a", "b"), ("c", "d"), v, NUMBERS, A, TRUTHS).image),
    "Labels label": (NUMBERS, lambda v: Labels(("a", "b"), ("c", "d"), NUMBERS, v, A, TRUTHS).label),
    "Detections image": (NUMBERS, lambda v: Detections(("a", "b"), ("c", "d"), v, NUMBERS, A, SCORES).image),
    "Detections label": (NUMBERS, lambda v: Detections(("a", "b"), ("c", "d"), NUMBERS, v, A, SCORES).label),
    "audit_assignment assigned": (torch.arange(80) % 3, lambda v: torch.tensor(
        assign.audit_assignment([A], [GRID], [v]).total)),
}  # fmt: skip
GIVEN = assign.assign_priors(A, NUMBERS, GRID, assign.MaxIouOptions())
# Looked at by other tests, or made by the room itself.
EXCUSED = {
    "BoxCoder", "SoftSuppressed", "BACKGROUND", "IGNORED", "AssignmentAudit", "DcflStages", "ErrorBreakdown",
    "Interval", "Matches", "SizeBin", "PrecisionCurves", "RecallRow", "VocPrecision", "AITODR_CLASSES", "Finding",
    "LabelStatistics", "ReadLabels", "DenseOutput", "LevelOutput", "PlainOutput", "Scene", "ResNet50", "SmallBackbone",
    "decoded", "DcflHead", "FcosHead", "PointOutput", "AlignedHead",
    "OrientedRcnnHead", "ProposalHead", "ProposalOutput", "RegionHead",
    "priors_of", "FeaturePyramid", "RetinaHead", "DetectorTask", "DetectionScores", "DetectorRecipe", "read_published",
    "read_labels", "read_detections", "write_aerotiny",
}  # fmt: skip
DTYPES = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32)


def _given(priors: Priors, said: Predictions = SAID) -> Tensor:
    return assign.assign_priors(A, NUMBERS, priors, assign.DcflOptions(), said)


def first_of(value: Any) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


def outcome(call: Callable[[Any], Any], value: object) -> Tensor | str:
    """What an entry point gives, finite, or the one sentence that it refuses with."""
    sentence = ""
    try:
        found = first_of(call(value))
    except UsageError as error:
        sentence = str(error)
    if sentence:
        assert "\n" not in sentence
        return sentence
    assert bool(torch.as_tensor(found).isfinite().all()), value
    return found


def forms(base: Tensor) -> Iterator[tuple[str, Any]]:
    """The same values in other hands."""
    for dtype in DTYPES:
        if bool((base.to(dtype).double() == base.double()).all()):
            yield str(dtype), base.to(dtype)
    frozen = base.numpy().copy()
    frozen.setflags(write=False)
    yield "list", base.tolist()
    yield "array", frozen
    yield "big-endian", frozen.astype(frozen.dtype.newbyteorder(">"))
    yield "strided", torch.stack([base, base + 1], -1)[..., 0]


@pytest.mark.parametrize("name", FLOATS)
def test_real_values(name: str) -> None:
    base, call = FLOATS[name]
    goal = first_of(call(base))
    for kind, given in forms(base):
        found = first_of(call(given))
        assert found.dtype in (torch.float32, torch.float64, torch.int64, torch.bool), kind
        assert torch.allclose(found.double(), goal.double(), rtol=1e-4, atol=1e-4), kind
    bad = base.clone()
    bad.view(-1)[1] = math.nan
    nonsense = (bad, base + math.inf, base[..., None, None, None], base.bool(), base.to(torch.complex64), "boxes",
                None, [["a"]], [[1.0], [1.0, 2.0]], base.to_sparse(), base.numpy().astype("M8[s]"))  # fmt: skip
    for given in nonsense:
        allowed = given is None if name in ("precision_curves weights", "audit_assignment objects") else False
        allowed |= name == "fold" and isinstance(given, Tensor) and given.ndim > 1
        if not allowed and "threshold" not in name:
            with pytest.raises(UsageError):
                call(given)
    if base.shape[-1] == 5:
        assert "5" in outcome(call, base[..., :4])
    outcome(call, base[:0])
    outcome(call, [])


@pytest.mark.parametrize("name", [n for n, (base, _) in FLOATS.items() if base is A or base is B])
def test_boxes_have_no_negative_sides(name: str) -> None:
    base, call = FLOATS[name]
    wrong = base.clone()
    wrong[1, 2] = -3
    if name != "check_boxes" and "deltas" not in name:
        assert isinstance(outcome(call, wrong), str)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_values(name: str) -> None:
    base, call = WHOLE[name]
    goal = call(base)
    for dtype in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.uint16):
        assert torch.equal(call(base.to(dtype)), goal), dtype
    assert torch.equal(call(base.tolist()), goal)
    assert torch.equal(call(base.numpy().astype(">i2")), goal)
    nonsense = (base.float(), base.bool(), base[:-1], base[None], base - 5, base + 2**40, ["a", "b", "c"], None, "0")
    for given in nonsense:
        if not (given is None and (("labels" in name and "assign_" not in name) or "assigned" in name)):
            with pytest.raises(UsageError):
                call(given)


def test_pairs_that_do_not_go_together() -> None:
    for name in PAIRS:
        both = getattr(geometry, name)
        if name in ("gjsd", "box_iou", "near_pairs"):
            continue
        sentence = outcome(lambda v, f=both: f(A, v), B[:2])
        assert "does not go with" in sentence or "broadcast" in sentence, name
    mixed = geometry.paired_iou(A.float(), B)
    assert mixed.dtype == torch.float64
    with pytest.raises(UsageError, match="first is on cpu and second on meta; move them to one device"):
        geometry.paired_iou(A, B.to("meta"))


MODEL = DetectorConfig(("ship", "tank"), width=8, channels=8, strides=(8, 16))


@pytest.fixture(scope="module")
def model() -> Detector:
    return Detector(MODEL).eval()


@torch.no_grad()
def test_pictures_of_any_type(model: Detector) -> None:
    pictures = (torch.rand(2, 3, 32, 32) * 255).round()
    goal = model(pictures).logits
    for dtype in (torch.uint8, torch.int16, torch.int64, torch.float64, torch.bfloat16):
        assert torch.allclose(model(pictures.to(dtype)).logits, goal, atol=1e-4), dtype
    assert torch.allclose(model(pictures.numpy()).logits, goal, atol=1e-5)
    assert torch.allclose(model(pictures.int().tolist()).logits, goal, atol=1e-5)
    assert model(pictures[:0]).logits.shape == (0, 20, 2)
    found = model(pictures.half())
    assert found.logits.dtype == torch.float32
    half = Detector(MODEL).bfloat16()
    assert bool(half(pictures).logits.isfinite().all())
    nan = pictures.clone()
    nan[1, 0, 3, 3] = math.nan
    for bad, what in (
        (nan, "row 1 of pictures holds NaN"),
        (pictures[0], r"put \[None\] behind a single picture"),
        (pictures[:, :1], "give .batch, 3, height, width"),
        (pictures[..., :0], "no pixels"),
        (pictures * 3, "give red, green and blue from 0 to 255"),
        (pictures - 200, "from 0 to 255"),
        (pictures.bool(), "dtype torch.bool"),
        (pictures.to(torch.complex64), "dtype torch.complex64"),
        (pictures.to("meta"), "move them to one device"),
        ("pictures", "no array of numbers"),
    ):
        with pytest.raises(UsageError, match=what):
            model(bad)


@torch.no_grad()
def test_reading_boxes_off(model: Detector) -> None:
    picture = (torch.rand(3, 40, 50) * 255).round()
    finding = BoxFinding(score=0.0, candidates=3, most=5)
    goal = detect_in_tiles(model, picture, finding, 64, 8).boxes
    for given in (picture.byte(), picture.numpy(), picture.double(), picture.int().tolist()):
        assert torch.allclose(detect_in_tiles(model, given, finding, np.int64(64), np.uint8(8)).boxes, goal, atol=1e-3)
    for given in (picture[None], picture[:2], picture * math.nan, picture * 9, "x"):
        with pytest.raises(UsageError):
            detect_in_tiles(model, given, finding, 64, 8)
    for tile, halo in ((64, 64), (0, 0), (64, -1), (64.5, 8), (True, 0), (math.nan, 8), ("x", 8)):
        with pytest.raises(UsageError):
            detect_in_tiles(model, picture, finding, tile, halo)
    output = model(picture[None])
    for number in (1, -1, 0.5, True, None):
        with pytest.raises(UsageError):
            found_boxes(output, number, finding)
    with pytest.raises(UsageError, match="the network says NaN"):
        found_boxes(output._replace(logits=output.logits * math.nan), 0, finding)


def test_tables_and_what_takes_them(tmp_path: Path) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    Labels((), (), [], [], [], [])
    assert score_detections(LABELS, FOUND).summary["AP"] >= 0
    for images in ("ab", ["a", 2], None, {"a", "b"}):
        with pytest.raises(UsageError, match="images are"):
            Labels(images, ("c",), none, none, A[:0], none.bool())
    assert Labels(["a", "b"], ["c", "d"], NUMBERS, NUMBERS, A, TRUTHS).images == ("a", "b")
    for difficult in (NUMBERS, TRUTHS[:2], SCORES, None):
        with pytest.raises(UsageError):
            Labels(("a", "b"), ("c", "d"), NUMBERS, NUMBERS, A, difficult)
    raw = inspect.unwrap  # without the checks of annotations, which users do not have
    for call in (
        lambda v: raw(score_detections)(v, FOUND), lambda v: raw(score_detections)(LABELS, v),
        lambda v: raw(evaluation.match_detections)(v, FOUND), lambda v: raw(evaluation.match_detections)(LABELS, v),
        lambda v: raw(evaluation.voc_average_precision)(LABELS, v), raw(evaluation.precision_curves),
        raw(evaluation.bootstrap_intervals), lambda v: raw(evaluation.recall_tables)(LABELS, v),
        lambda v: raw(evaluation.recall_tables)(v, MATCHES), raw(data.statistics),
        lambda v: raw(evaluation.error_breakdown)(LABELS, FOUND, v), lambda v: raw(explain_assignment)(v, {}),
        lambda v: raw(explain_assignment)(LABELS, {"a": v}), lambda v: raw(data.write_dota_labels)(v, tmp_path),
        lambda v: raw(data.write_dota_results)(v, tmp_path), lambda v: raw(data.write_coco_labels)(v, tmp_path / "x"),
        lambda v: raw(data.write_coco_results)(v, tmp_path / "x"), lambda v: raw(data.write_geojson)(v, tmp_path / "x"),
        lambda v: raw(data.write_yolo_labels)(v, tmp_path, {}),
        lambda v: raw(assign.assign_priors)(A, NUMBERS, v, assign.MaxIouOptions()),
        lambda v: raw(assign.assign_priors)(A, NUMBERS, GRID, v),
        lambda v: raw(assign.assign_priors)(A, NUMBERS, GRID, assign.TaskAlignedOptions(), v),
        lambda v: raw(assign.audit_assignment)([A], [v], [GIVEN]),
    ):  # fmt: skip
        for bad in (None, "labels", 3, [1, 2, 3]):
            assert isinstance(outcome(call, bad), str) or bad is None
    data.write_dota_labels(LABELS, str(tmp_path / "labels"))
    for call in (lambda v: evaluation.recall_tables(LABELS, MATCHES, v),
                 lambda v: evaluation.precision_curves(MATCHES).average_precision(threshold=v),
                 lambda v: evaluation.precision_curves(MATCHES).average_precision(label=v),
                 lambda v: evaluation.voc_average_precision(LABELS, FOUND, v)):  # fmt: skip
        for bad in (math.nan, -1.0, "x", True, 7.5):
            with pytest.raises(UsageError):
                call(bad)
    with pytest.raises(UsageError, match="bin is 'tinny'"):
        evaluation.precision_curves(MATCHES).average_recall("tinny")


def test_grids_and_scenes() -> None:
    same = assign.grid_priors([(np.int64(8), np.uint8(8)), [4, 4]], [np.int8(8), 16], np.float32(4.0))
    assert torch.equal(same.boxes, GRID.boxes)
    for sizes, strides, scale in (
        ([(8, 8)], [8, 16], 4), ([], [], 4), ([(8, 0)], [8], 4), ([(8, 8)], [0], 4), ([(8, 8)], [8], math.nan),
        ([(8, 8)], [8], 0), ([(8, 8, 8)], [8], 4), ([(True, 8)], [8], 4),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            assign.grid_priors(sizes, strides, scale)
    scenes = AeroTiny(AeroTinyConfig(size=64, pictures=2))
    assert torch.equal(scenes[np.uint8(1)].image, scenes[1].image)
    for bad in (1.5, True, None, math.nan, "x"):
        with pytest.raises(UsageError):
            scenes[bad]
    with pytest.raises(IndexError):
        scenes[2]


def test_settings() -> None:
    names = [(module, name) for module in (room, geometry, assign, evaluation, data) for name in module.__all__]
    kinds = {kind for kind in (getattr(*place) for place in names) if dataclasses.is_dataclass(kind)}
    kinds = {kind for kind in kinds if all(f.default is not dataclasses.MISSING or f.default_factory
             is not dataclasses.MISSING for f in dataclasses.fields(kind))}  # fmt: skip
    assert len(kinds) > 15
    for kind in kinds:
        kind()
        for name in (field.name for field in dataclasses.fields(kind)):
            for bad in (math.nan, -math.inf, 1 + 2j, [[1]], object()):
                found = outcome(lambda v, k=kind, n=name: k(**{n: v}) and torch.zeros(1), bad)
                assert isinstance(found, str), (kind, name, bad)


def test_refusals_name_the_setting() -> None:
    for changes, told in (
        ({"data": {"aerotiny": {"size": 3}}}, "data.aerotiny.size is 3; give at least 64"),
        ({"objective": {"dcfl": {"candidates": 0}}}, "objective.dcfl.candidates is 0; give at least 1"),
        ({"data": {"labels": {"method": "x"}}}, "data.labels.method is 'x'"),
        ({"model": {"width": 0}}, "model.width is 0; give at least 8"),
    ):
        with pytest.raises(UsageError, match=f"^{told}"):
            change(RECIPES["aerotiny"].recipe, changes)


def test_every_name_is_in_a_table_or_excused() -> None:
    told = " ".join([*FLOATS, *WHOLE]).split()
    here = Path(__file__).read_text()
    for face in ("", ".geometry", ".assign", ".evaluation", ".data", ".data.aerotiny", ".models"):
        for name in importlib.import_module(f"tenfold.detection{face}").__all__:
            made = getattr(importlib.import_module(f"tenfold.detection{face}"), name)
            settings = dataclasses.is_dataclass(made)  # in test_settings
            assert name in told or name in EXCUSED or settings or f"{name}(" in here or f"{name})" in here, name
