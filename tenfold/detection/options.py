"""Options of ``score-detections`` and ``explain-assignment``. Imports no PyTorch."""

from tenfold.detection.evaluation.metrics import DetectionMetric
from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

METRICS = ("aitod", "coco", "voc")
COMPAT = ("none", "ids", "reference")


@settings
class DetectionScoring:
    """How detections are scored.

    Attributes:
        metric: aitod (AP by size from 2 to 64 pixels), coco (bins at 32 and 96 pixels), or voc (DOTA's AP at one
            threshold).
        compat: none is correct; ids repeats the AI-TOD-R evaluator's first object and detection, reference also its
            reader, which drops pictures without objects and objects with a side below 2 pixels.
        max_detections: of a class in a picture; 0 is the metric's own number, 1500, of coco 100.
        threshold: IoU of voc.
        points: of voc: the area under the curve, or 11 recalls.
        bootstrap: replicates for 95 % intervals over pictures; 0 leaves them out.
        seed: of the bootstrap.
    """

    metric: str = "aitod"
    compat: str = "none"
    max_detections: int = 0
    threshold: float = 0.5
    points: str = "area"
    bootstrap: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("metric", METRICS), ("compat", COMPAT), ("points", ("area", "11"))):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is {getattr(self, name)!r}{suggest(getattr(self, name), known)}")
        at_least(self, "", max_detections=0, bootstrap=0)
        if not 0 < self.threshold <= 1:
            raise UsageError(f"threshold is {self.threshold:g}; give an IoU in (0, 1]")
        if self.bootstrap == 1:
            raise UsageError("bootstrap is 1; give at least 2 replicates, or 0 for none")
        if self.metric == "voc" and self.bootstrap:
            raise UsageError("metric voc has no intervals; leave bootstrap away, or choose aitod or coco")
        if self.metric != "aitod" and self.compat != "none":
            raise UsageError(f"compat is {self.compat!r}, which is of the metric aitod; leave it away")

    def matching(self) -> DetectionMetric:
        """Bins, number of detections and compatibility."""
        most = self.max_detections or (100 if self.metric == "coco" else 1500)
        return DetectionMetric("coco" if self.metric == "coco" else "aitod", most, self.compat)


ASSIGNERS = ("dcfl", "max-iou", "atss", "tal", "gaussians", "wasserstein", "points")


@settings
class AssignmentExplaining:
    """Which assigner gives which priors to the objects of labels.

    Attributes:
        assigner: dcfl, max-iou, atss, tal, gaussians (in the manner of RFLA), wasserstein (NWD-RKA), or points
            (FCOS).
        strides: of the levels, pixels from one prior to the next.
        scale: sides of the square priors, in strides.
        min_positives: of dcfl: an object left with fewer keeps so many of its best candidates; 0 is as published.
        seed: of the scores of the untrained head that dcfl and tal rank by.
    """

    assigner: str = "dcfl"
    strides: tuple[int, ...] = (8, 16, 32, 64, 128)
    scale: float = 4.0
    min_positives: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.assigner not in ASSIGNERS:
            raise UsageError(f"assigner is {self.assigner!r}{suggest(self.assigner, ASSIGNERS)}")
        if not self.strides or min(self.strides) < 1:
            raise UsageError(f"strides are {self.strides}; give pixels, 8,16,32 say")
        if not self.scale > 0:
            raise UsageError(f"scale is {self.scale:g}; give a positive number")
        at_least(self, "", min_positives=0)


@settings
class PictureDetection:
    """How objects are found in pictures of any size.

    Attributes:
        tile: side of the tiles, pixels; a multiple of 32.
        halo: pixels that neighbouring tiles share: at least as many as the largest objects have.
        score: least probability.
        overlap: IoU from which the less probable of two boxes of a class goes.
        most: boxes of a tile.
    """

    tile: int = 512
    halo: int = 64
    score: float = 0.3
    overlap: float = 0.4
    most: int = 1000

    def __post_init__(self) -> None:
        at_least(self, "", tile=32, halo=0, most=1)
        if self.tile % 32:
            raise UsageError(f"tile is {self.tile}; give a multiple of 32 pixels")
        if self.halo >= self.tile:
            raise UsageError(f"halo is {self.halo} pixels of a tile of {self.tile}; give fewer")
        for name in ("score", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name):g}; give a number from 0 to 1")
