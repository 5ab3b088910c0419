"""What a metric counts: thresholds, bins of size, how many detections. Imports no PyTorch."""

from typing import NamedTuple

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import settings


class SizeBin(NamedTuple):
    """Objects whose area in pixels is within [low, high], both included."""

    name: str
    low: float
    high: float


AITOD_BINS = (
    SizeBin("all", 0, 1e8),
    SizeBin("very tiny", 4, 64),
    SizeBin("tiny", 64, 256),
    SizeBin("small", 256, 1024),
    SizeBin("medium", 1024, 4096),
)
COCO_BINS = (
    SizeBin("all", 0, 1e10),
    SizeBin("small", 0, 1024),
    SizeBin("medium", 1024, 9216),
    SizeBin("large", 9216, 1e10),
)


@settings
class DetectionMetric:
    """A metric of the COCO family.

    Attributes:
        bins: ``aitod`` (very tiny 2-8, tiny -16, small -32, medium -64 pixels) or ``coco`` (32 and 96 pixels).
        max_detections: of a class in a picture, those of the highest scores.
        compat: ``none`` is correct; ``ids`` repeats the AI-TOD-R evaluator, for which the very first object never
            counts as found and the very first detection leaves its object free; ``reference`` also its reader of
            labels, which drops pictures without objects, so that detections there cost nothing.
    """

    bins: str = "aitod"
    max_detections: int = 1500
    compat: str = "none"

    def __post_init__(self) -> None:
        if self.bins not in ("aitod", "coco"):
            raise UsageError(f"bins is {self.bins!r}{suggest(self.bins, ['aitod', 'coco'])}")
        if self.compat not in ("none", "ids", "reference"):
            raise UsageError(f"compat is {self.compat!r}{suggest(self.compat, ['none', 'ids', 'reference'])}")
        if self.max_detections < 1:
            raise UsageError(f"max_detections is {self.max_detections}; give at least 1")

    @property
    def whole_pixels(self) -> bool:
        """Whether areas are cut to whole numbers first, as AI-TOD's are."""
        return self.bins == "aitod"

    @property
    def thresholds(self) -> tuple[float, ...]:
        """IoU 0.50, 0.55, ..., 0.95."""
        return tuple((50 + 5 * k) / 100 for k in range(10))

    def place_of(self, threshold: float) -> int:
        """The number of a threshold; UsageError for another than the metric has."""
        if threshold not in self.thresholds:
            raise UsageError(f"threshold is {threshold}; the metric has {', '.join(map(str, self.thresholds))}")
        return self.thresholds.index(threshold)

    @property
    def size_bins(self) -> tuple[SizeBin, ...]:
        """The first holds all."""
        return AITOD_BINS if self.bins == "aitod" else COCO_BINS
