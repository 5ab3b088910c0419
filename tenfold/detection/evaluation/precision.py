"""Average precision and recall of the COCO family, from matches: overall, by size and by class."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tenfold.detection.evaluation.matching import IGNORED, TRUE, Matches, require_matches
from tenfold.detection.evaluation.metrics import DetectionMetric
from tenfold.detection.geometry.border import Expected, read_together
from tenfold.errors import UsageError, suggest
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class PrecisionCurves:
    """Precision at 101 recalls; −1 for a class without objects in a bin.

    Attributes:
        metric: what was asked.
        precision: by threshold, recall, class and bin.
        recall: the highest reached, by threshold, class and bin.
    """

    metric: DetectionMetric
    precision: Float[ndarray, "t r k a"]
    recall: Float[ndarray, "t k a"]

    @read_arguments
    def average_precision(self, bin: str = "all", threshold: float | None = None, label: int | None = None) -> float:
        """The mean over thresholds (or at one), recalls and classes (or of one); −1 where there are no objects.

        Raises UsageError for a bin, a threshold or a class that the metric does not have.
        """
        values = self.precision[self._thresholds(threshold), :, :, self._bin(bin)]
        return _mean_of_known(values if label is None else values[:, :, self._label(label)])

    @read_arguments
    def average_recall(self, bin: str = "all", threshold: float | None = None, label: int | None = None) -> float:
        """The mean of the highest recalls, as ``average_precision``."""
        values = self.recall[self._thresholds(threshold), :, self._bin(bin)]
        return _mean_of_known(values if label is None else values[:, self._label(label)])

    def summary(self) -> dict[str, float]:
        """AP, AP50, AP75, AP by bin, AR, AR by bin; bins by their initials (APvt, APt, APs, APm)."""
        bins = [b.name for b in self.metric.size_bins[1:]]
        short = {name: "".join(word[0] for word in name.split()) for name in bins}
        found = {"AP": self.average_precision()}
        found |= {"AP50": self.average_precision(threshold=0.5), "AP75": self.average_precision(threshold=0.75)}
        found |= {f"AP{short[name]}": self.average_precision(name) for name in bins}
        found["AR"] = self.average_recall()
        return found | {f"AR{short[name]}": self.average_recall(name) for name in bins}

    def _thresholds(self, threshold: float | None) -> list[int]:
        if threshold is None:
            return list(range(len(self.metric.thresholds)))
        return [self.metric.place_of(threshold)]

    def _bin(self, name: str) -> int:
        names = [b.name for b in self.metric.size_bins]
        if name not in names:
            raise UsageError(f"bin is {name!r}{suggest(name, names)}")
        return names.index(name)

    def _label(self, label: int) -> int:
        if not 0 <= label < self.precision.shape[2]:
            raise UsageError(f"label is {label} of {self.precision.shape[2]} classes; they are numbered from 0")
        return label


def _mean_of_known(values: ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if len(known) else -1.0


def _weights(weights: Values, pictures: int) -> Float[ndarray, " images"]:
    read = read_together({"weights": weights}, {"weights": Expected.of(f"numbers {pictures}")})
    found = read["weights"].double().numpy()
    if len(found) and found.min() < 0:
        raise UsageError(f"the lowest weight is {found.min():g}; give numbers of at least 0")
    return found


def precision_curves(matches: Matches, weights: Values | None = None) -> PrecisionCurves:
    """Precision as a function of recall.

    Detections of a class go by decreasing score, of equal ones those of the earlier picture first; precision is made
    monotone from the right and read at the first detection whose recall is at least r, 0 beyond the last.

    Args:
        weights: how often each picture counts, once by default; the copies of a picture are one step of the curve.

    Raises:
        UsageError: for weights of another number than the pictures, and negative ones.
    """
    require_matches(matches)
    thresholds, bins = len(matches.metric.thresholds), len(matches.metric.size_bins)
    precision = np.full((thresholds, len(RECALLS), matches.classes, bins), -1.0)
    recall = np.full((thresholds, matches.classes, bins), -1.0)
    copies = np.ones(matches.pictures) if weights is None else _weights(weights, matches.pictures)
    objects = copies[matches.object_image][:, None] * matches.regular
    for label in range(matches.classes):
        total = objects[matches.object_label == label].sum(0)
        rows = np.flatnonzero(matches.label == label)
        rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
        state, weight = matches.state[rows], copies[matches.image[rows]][:, None]
        for a in np.flatnonzero(total > 0):
            true = np.cumsum((state[:, :, a] == TRUE) * weight, 0)
            counted = np.cumsum((state[:, :, a] != IGNORED) * weight, 0)
            envelope = np.maximum.accumulate((true / np.maximum(counted, np.spacing(1)))[::-1], 0)[::-1]
            reached = true / total[a]
            recall[:, label, a] = reached[-1] if len(reached) else 0
            for t in range(thresholds):
                at = np.searchsorted(reached[:, t], RECALLS, side="left")
                values = np.append(envelope[:, t], 0.0)
                precision[t, :, label, a] = values[at]
    return PrecisionCurves(matches.metric, precision, recall)
