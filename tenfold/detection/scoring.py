"""Everything that is measured of someone's detections at once: the metric, its intervals, classes, recalls, errors."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.detection.evaluation.errors import error_breakdown
from tenfold.detection.evaluation.intervals import Interval, bootstrap_intervals
from tenfold.detection.evaluation.matching import match_detections
from tenfold.detection.evaluation.precision import precision_curves
from tenfold.detection.evaluation.recalls import RecallRow, recall_tables
from tenfold.detection.evaluation.voc import voc_average_precision
from tenfold.detection.options import DetectionScoring
from tenfold.detection.tables import Detections, Labels, check_same


@dataclass(frozen=True)
class DetectionScores:
    """What was measured.

    Attributes:
        summary: AP, AP50, ..., by name; −1 where there are no objects.
        intervals: of the same names; empty where none were asked for.
        by_class: AP and AP50 (of VOC, AP at the threshold), and how many objects.
        recalls: at the least threshold, by size, crowd, angle and aspect.
        missed, false: objects and detections by what became of them, at the least threshold.
        left_out: detections beyond the metric's number.
    """

    summary: dict[str, float]
    intervals: dict[str, Interval]
    by_class: dict[str, dict[str, float]]
    recalls: dict[str, list[RecallRow]]
    missed: dict[str, int]
    false: dict[str, int]
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        recalls = {
            name: [{**row._asdict(), "recall": row.recall} for row in rows] for name, rows in self.recalls.items()
        }
        intervals = {name: interval._asdict() for name, interval in self.intervals.items()}
        return {**vars(self), "intervals": intervals, "recalls": recalls}


def score_detections(
    labels: Labels, detections: Detections, options: DetectionScoring | None = None
) -> DetectionScores:
    """Scores of detections.

    Raises UsageError where the two are of different pictures or classes.

    >>> import torch
    >>> box, none = torch.tensor([[9.0, 9, 8, 4, 0.3]]), torch.zeros(1, dtype=torch.int64)
    >>> labels = Labels(("a",), ("ship",), none, none, box, none.bool())
    >>> score_detections(labels, Detections(("a",), ("ship",), none, none, box, torch.tensor([0.9]))).summary["APvt"]
    1.0
    """
    check_same(labels, detections)
    options = options or DetectionScoring()
    metric = options.matching()
    matches = match_detections(labels, detections, metric)
    errors = error_breakdown(labels, detections, matches)
    objects = np.bincount(labels.label.numpy(), minlength=len(labels.classes)).tolist()
    intervals: dict[str, Interval] = {}
    if options.metric == "voc":
        found = voc_average_precision(labels, detections, options.threshold, options.points)
        summary = {"mAP": found.mean}
        values = [{"AP": value} for value in found.by_class.tolist()]
    else:
        curves = precision_curves(matches)
        summary = curves.summary()
        values = [
            {"AP": curves.average_precision(label=k), "AP50": curves.average_precision(threshold=0.5, label=k)}
            for k in range(len(labels.classes))
        ]
        if options.bootstrap:
            intervals = bootstrap_intervals(matches, options.bootstrap, seed=options.seed)
    by_class = {
        name: {"objects": count, **value} for name, count, value in zip(labels.classes, objects, values, strict=True)
    }
    recalls = recall_tables(labels, matches)
    return DetectionScores(summary, intervals, by_class, recalls, errors.missed(), errors.false(), matches.left_out)
