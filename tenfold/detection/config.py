"""What a detector is made of, learns from and is measured by. Imports no PyTorch."""

from dataclasses import field
from typing import Literal

from tenfold.detection.assign.options import DcflOptions, MaxIouOptions
from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.detection.data.options import AITODR_CLASSES, LabelReading
from tenfold.detection.options import ASSIGNERS
from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

STRIDES_OF_BACKBONES = (4, 8, 16, 32)


@settings
class DetectorConfig:
    """A detector with one square prior, or one point, a location.

    Attributes:
        classes: names, in order.
        backbone: "small", of residual blocks, learned from nothing; or "resnet50", with the layout of torchvision's.
        width: channels of the small backbone at stride 4; they grow to twice as many at each level.
        channels: of the pyramid and the head.
        strides: of the levels, each twice the last; from 4 on.
        head: "dcfl", whose priors move, or "retina"; "fcos", which predicts distances from points, or "dcfl-fcos",
            whose points move; "s2a", two stages, or "dcfl-s2a", the first of which is DCFL's;
            "oriented-rcnn", which proposes regions and looks at each, or "dcfl-oriented-rcnn", whose priors move.
        layers: convolutions in each tower of the heads whose priors stand still.
        norm: "group" normalises the towers' convolutions in groups of 8 channels; "none" is as published but for FCOS.
        scale: sides of the priors, in strides.
        proposals: regions of a picture that Oriented R-CNN looks at.
    """

    classes: tuple[str, ...] = AITODR_CLASSES
    backbone: Literal["small", "resnet50"] = "small"
    width: int = 24
    channels: int = 48
    strides: tuple[int, ...] = (4, 8, 16)
    head: Literal["dcfl", "retina", "fcos", "dcfl-fcos", "s2a", "dcfl-s2a", "oriented-rcnn", "dcfl-oriented-rcnn"] = (
        "dcfl"
    )
    layers: int = 4
    norm: Literal["none", "group"] = "none"
    scale: float = 4.0
    proposals: int = 256

    def __post_init__(self) -> None:
        at_least(self, "model", width=8, channels=8, layers=1, proposals=1)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise UsageError(f"model.classes are {', '.join(self.classes) or 'none'}; name each class once")
        twice = all(b == 2 * a for a, b in zip(self.strides, self.strides[1:], strict=False))
        if not self.strides or self.strides[0] not in STRIDES_OF_BACKBONES or not twice:
            raise UsageError(f"model.strides are {self.strides}; give 4, 8, 16 or 32 first, and each twice the last")
        if not self.scale > 0:
            raise UsageError(f"model.scale is {self.scale:g}; give a positive number of strides")
        if self.width % 8 or self.channels % 8:
            raise UsageError(
                f"model.width and channels are {self.width} and {self.channels}; give multiples of 8, which are "
                "normalised in groups of 8"
            )


@settings
class PictureData:
    """Pictures with labels: rendered ones, or a folder in any of the layouts that ``read_labels`` knows.

    Attributes:
        source: "aerotiny" renders; "folder" reads ``root``.
        aerotiny: what is rendered for training; other splits are made likewise, of ``test`` and ``validation``
            pictures.
        cache: folder in which rendered pictures are kept for the next time; "" renders them anew.
        root: folder of pictures and labels.
        labels: how they are read; the split is set below.
        train_split: subfolder to learn from.
        test_split: subfolder to measure on.
        upright: learn from the upright boxes around objects alone; what is measured stays oriented.
        validation: pictures that choose the checkpoint; of a folder those are held out of the training split.
        test: pictures that are rendered to measure on.
    """

    source: Literal["aerotiny", "folder"] = "aerotiny"
    aerotiny: AeroTinyConfig = field(default_factory=AeroTinyConfig)
    cache: str = ".cache/aerotiny"
    root: str = ""
    labels: LabelReading = field(default_factory=LabelReading)
    train_split: str = "trainval"
    test_split: str = "test"
    upright: bool = False
    validation: int = 50
    test: int = 150

    def __post_init__(self) -> None:
        at_least(self, "data", validation=0, test=1)
        if self.source == "aerotiny" and self.root:
            raise UsageError(f"data.root is {self.root}, but pictures are rendered; set --data.source folder")


@settings
class PictureChanges:
    """What is done to pictures and boxes in training; boxes stay exact.

    Attributes:
        flips: mirrored, at either axis.
        turns: turned by quarters; pictures that are not square are not.
        shift: moved, at most so many pixels.
        zoom: made larger or smaller, by at most this factor; 1 leaves the size.
        colour: strength of changes of light, contrast and colour.
    """

    flips: bool = True
    turns: bool = True
    shift: int = 8
    zoom: float = 1.0
    colour: float = 0.1

    def __post_init__(self) -> None:
        at_least(self, "augmentation", shift=0, zoom=1, colour=0)
        if self.colour >= 1:
            raise UsageError(f"augmentation.colour is {self.colour:g}; give a share below 1")


@settings
class DetectionObjective:
    """What a detector is trained by.

    Attributes:
        assigner: which priors learn which objects: dcfl, max-iou, atss, tal, gaussians, wasserstein or points.
        dcfl: settings of that assigner.
        max_iou: settings of that one.
        box_loss: of the boxes: iou is −ln IoU; outline that of the upright boxes around both, which does not tell
            angles; the others are distances of Gaussians.
        box_weight: of the boxes' loss beside that of the classes (focal).
        symmetry: weight of the agreement of angles with those of the turned picture (H2RBox-v2), for upright boxes; 0
            looks at no second view.
        backbone: a file with torchvision's weights of ResNet-50 to begin with; "" begins with random ones.
    """

    assigner: str = "dcfl"
    dcfl: DcflOptions = field(default_factory=DcflOptions)
    max_iou: MaxIouOptions = field(default_factory=MaxIouOptions)
    box_loss: Literal["iou", "outline", "kl", "wasserstein", "kalman", "probiou", "bhattacharyya"] = "iou"
    box_weight: float = 1.0
    symmetry: float = 0.0
    backbone: str = ""

    def __post_init__(self) -> None:
        if self.assigner not in ASSIGNERS:
            raise UsageError(f"objective.assigner is {self.assigner!r}{suggest(self.assigner, ASSIGNERS)}")
        at_least(self, "objective", box_weight=0, symmetry=0)


@settings
class BoxFinding:
    """How boxes are read off the network.

    Attributes:
        score: least probability of a class.
        candidates: best boxes of each level that are looked at.
        overlap: IoU from which the less probable of two boxes of a class goes.
        most: boxes of a picture, all classes together.
    """

    score: float = 0.05
    candidates: int = 1000
    overlap: float = 0.4
    most: int = 300

    def __post_init__(self) -> None:
        at_least(self, "evaluation", candidates=1, most=1)
        for name in ("score", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"evaluation.{name} is {getattr(self, name):g}; give a number from 0 to 1")
