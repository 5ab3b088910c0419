"""What a trained detector is worth on labelled pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.detection.assign.audit import AssignmentAudit, AuditRow, audit_assignment
from tenfold.detection.assign.options import AssignerOptions
from tenfold.detection.config import BoxFinding
from tenfold.detection.data.pictures import NOBODY, LabelledPictures
from tenfold.detection.evaluation.errors import error_breakdown
from tenfold.detection.evaluation.matching import match_detections
from tenfold.detection.evaluation.precision import precision_curves
from tenfold.detection.finding.decoding import FoundBoxes, found_boxes
from tenfold.detection.learning import assigned_objects
from tenfold.detection.models.detector import Detector
from tenfold.detection.models.output import DenseOutput
from tenfold.detection.scoring import score_detections
from tenfold.detection.tables import Detections, Labels
from tenfold.runs.measurement import Measurement
from tenfold.training.task import device_of

_AT_ONCE = 8
_ROWS = 300  # of a picture, in validation
_VERY_TINY = 8.0
_CANDIDATES = 2000  # of a picture, before suppression


def inside(found: FoundBoxes, size: Int[Tensor, "2"]) -> FoundBoxes:
    """Boxes with centres in the picture, of (width, height), and not in what fills the batch."""
    kept = ((found.boxes[:, :2] >= 0) & (found.boxes[:, :2] <= size)).all(1)
    return FoundBoxes(found.boxes[kept], found.scores[kept], found.labels[kept])


def padded_rows(output: DenseOutput, sizes: Int[Tensor, "b 2"], finding: BoxFinding) -> Float[Tensor, "b r 7"]:
    """Boxes, scores and classes of each picture's best, as many rows for each; the class NOBODY where there are
    fewer."""
    rows = output.deltas.new_full((len(sizes), _ROWS, 7), NOBODY)
    for picture in range(len(sizes)):
        found = inside(found_boxes(output, picture, finding), sizes[picture])
        here = torch.cat([found.boxes, found.scores[:, None], found.labels[:, None]], 1)[:_ROWS]
        rows[picture, : len(here)] = here
    return rows


def average_precision_50(values: dict[str, Tensor], classes: int) -> float:
    """AP at IoU 0.5, from ``padded_rows`` as "found" and the objects (n, m, 6) of all pictures."""
    found, objects = values["found"].double(), values["objects"].double()
    names, kinds = tuple(map(str, range(len(found)))), tuple(map(str, range(classes)))
    image, row = (objects[..., 5] != NOBODY).nonzero(as_tuple=True)
    told = objects[image, row]
    labels = Labels(names, kinds, image, told[:, 5].long(), told[:, :5], torch.zeros(len(told), dtype=torch.bool))
    image, row = (found[..., 6] != NOBODY).nonzero(as_tuple=True)
    said = found[image, row]
    detections = Detections(names, kinds, image, said[:, 6].long(), said[:, :5], said[:, 5])
    return precision_curves(match_detections(labels, detections)).average_precision(threshold=0.5)


def detect_all(model: Detector, source: LabelledPictures, finding: BoxFinding) -> Detections:
    """Detections in all pictures."""
    return detect_by(model, source, [finding])[0]


@torch.no_grad()
def detect_by(model: Detector, source: LabelledPictures, findings: Sequence[BoxFinding]) -> list[Detections]:
    """Detections in all pictures, read off the network in several ways."""
    images: list[list[Tensor]] = [[] for _ in findings]
    found: list[list[FoundBoxes]] = [[] for _ in findings]
    for numbers, output, batch in _outputs(model, source, "detecting"):
        for row, number in enumerate(numbers.tolist()):
            for k, finding in enumerate(findings):
                here = inside(found_boxes(output, row, finding), batch["size"][row])
                found[k].append(here)
                images[k].append(torch.full((len(here.boxes),), number))
    tables = []
    for places, rows in zip(images, found, strict=True):
        boxes, scores, labels = (torch.cat(parts).cpu() for parts in zip(*rows, strict=True))
        names = source.labels.images, source.labels.classes
        tables.append(Detections(*names, torch.cat(places), labels, boxes.double(), scores))
    return tables


def error_rows(labels: Labels, found: Detections, candidates: Detections, finding: BoxFinding) -> list[Measurement]:
    """The share of objects that are missed by each cause, and of detections that are false by each, at IoU 0.5
    (``error_breakdown``). ``candidates`` are boxes before suppression, and below the least score."""
    matches = match_detections(labels, found)
    errors = error_breakdown(labels, found, matches, candidates, min_score=finding.score)
    rows = []
    for word, causes in (("missed", errors.missed()), ("false", errors.false())):
        whole = max(1, sum(causes.values()))
        rows += [
            Measurement(f"{word}_{cause.replace(' ', '_')}", count / whole, "share", "test")
            for cause, count in causes.items()
            if cause not in ("found", "true")
        ]
    return rows


@torch.no_grad()
def audit_trained(model: Detector, source: LabelledPictures, assigner: AssignerOptions) -> AssignmentAudit:
    """What the assigner gives to the objects of pictures, by what the trained network (its first stage) says."""
    objects, priors, owners = [], [], []
    for numbers, said, batch in _outputs(model, source, "assignment"):
        output = said.stages()[0]
        owned = assigned_objects(output, batch["boxes"], batch["label"], assigner)
        decoded = output.boxes()
        for row in range(len(numbers)):
            objects.append(batch["boxes"][row][batch["label"][row] != NOBODY])
            priors.append(output.of(row, decoded)[0])
            owners.append(owned[row])
    return audit_assignment(objects, priors, owners)


def _outputs(
    model: Detector, source: LabelledPictures, what: str
) -> Iterator[tuple[np.ndarray, DenseOutput, dict[str, Tensor]]]:
    """Numbers of pictures, what the network says of them, and the batch."""
    device = device_of(model)
    parts = [np.arange(start, min(len(source), start + _AT_ONCE)) for start in range(0, len(source), _AT_ONCE)]
    for numbers in progress.track(parts, what, unit="batches"):
        batch = {name: value.to(device) for name, value in source.batch(numbers).items()}
        yield numbers, model(batch["image"].to(next(model.parameters()).dtype)), batch


def measure(
    model: Detector, source: LabelledPictures, assigner: AssignerOptions, finding: BoxFinding
) -> list[Measurement]:
    """AP and recall by size (AI-TOD), AP50 of every class, why objects are missed and detections false, and the share
    of objects without a positive prior."""
    lower = replace(finding, score=finding.score / 10, overlap=1.0, most=_CANDIDATES)
    found, candidates = detect_by(model, source, [finding, lower])
    scores = score_detections(source.labels, found)
    rows = [Measurement(name, value, "share", "test") for name, value in scores.summary.items() if value >= 0]
    rows += [
        Measurement(f"AP50 {name}", values["AP50"], "share", "test")
        for name, values in scores.by_class.items()
        if values["objects"]
    ]
    if not len(source.labels):
        return rows
    rows += error_rows(source.labels, found, candidates, finding)
    audit = audit_trained(model, source, assigner)
    rows.append(Measurement("positives_per_object", audit.total.positives, "", "test"))
    rows.append(Measurement("without_positive", audit.total.without, "share", "test"))
    very_tiny = [row for row in audit.by_size if row.high <= _VERY_TINY and row.objects]
    if very_tiny:
        rows.append(Measurement("without_positive_very_tiny", _share(very_tiny), "share", "test"))
    return rows


def _share(rows: list[AuditRow]) -> float:
    return sum(row.objects * row.without for row in rows) / sum(row.objects for row in rows)
