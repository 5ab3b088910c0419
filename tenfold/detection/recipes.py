"""Recipes of oriented detectors (arXiv 2412.11582)."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.detection.assign.options import DcflOptions, MaxIouOptions
from tenfold.detection.config import BoxFinding, DetectionObjective, DetectorConfig, PictureChanges, PictureData
from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig


@settings
class DetectorRecipe(Recipe):
    """Everything a detector is made of."""

    system: ClassVar[str] = "detection"
    model: DetectorConfig = field(default_factory=DetectorConfig)
    data: PictureData = field(default_factory=PictureData)
    augmentation: PictureChanges = field(default_factory=PictureChanges)
    objective: DetectionObjective = field(default_factory=DetectionObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: BoxFinding = field(default_factory=BoxFinding)

    def __post_init__(self) -> None:
        if self.objective.backbone and self.model.backbone != "resnet50":
            raise UsageError(
                f"objective.backbone is {self.objective.backbone}, weights of ResNet-50, and model.backbone "
                f"{self.model.backbone}; set --model.backbone resnet50"
            )


# 128 pixels and many objects of all classes: what one core learns from in minutes.
_AEROTINY = DetectorRecipe(
    data=PictureData(
        aerotiny=AeroTinyConfig(size=128, pictures=1000, objects=150.0, mix="balanced"), validation=100, test=250
    ),
    train=TrainingConfig(
        steps=1000,
        batch_size=8,
        learning_rate=1e-3,
        warmup_steps=50,
        weight_decay=1e-2,
        betas=(0.9, 0.99),
        clip=35.0,
        ema=0.99,
        validate_every=0,
        checkpoint_every=250,
        threads=1,
    ),
)
# Published: SGD with momentum 0.9, 12 epochs of 14,018 pictures. We train by AdamW at its usual rate for such networks.
_AITODR = DetectorRecipe(
    model=DetectorConfig(backbone="resnet50", channels=256, strides=(8, 16, 32, 64, 128)),
    data=PictureData(source="folder", cache="", validation=0),
    augmentation=PictureChanges(turns=False, shift=0, colour=0.0),
    objective=DetectionObjective(dcfl=DcflOptions(min_positives=0)),
    train=TrainingConfig(
        steps=84_108,
        batch_size=2,
        learning_rate=1e-4,
        warmup_steps=500,
        weight_decay=1e-4,
        clip=35.0,
        ema=None,
        validate_every=0,
        checkpoint_every=2000,
    ),
    evaluation=BoxFinding(candidates=3000, most=3000),
)


def _assigned(assigner: str) -> DetectorRecipe:
    """The retina head on the same pictures, with another assigner."""
    model = replace(_AEROTINY.model, head="retina")
    return replace(_AEROTINY, model=model, objective=DetectionObjective(assigner=assigner))


_FCOS = replace(
    _AEROTINY,
    model=replace(_AEROTINY.model, head="fcos", norm="group"),
    objective=DetectionObjective(assigner="points"),
)

_ALIGNED = replace(
    _AEROTINY,
    model=replace(_AEROTINY.model, head="s2a", layers=2),
    objective=DetectionObjective(assigner="max-iou"),
)

_PROPOSING = replace(
    _AEROTINY,
    model=replace(_AEROTINY.model, head="oriented-rcnn"),
    objective=DetectionObjective(assigner="max-iou", max_iou=MaxIouOptions(0.7, 0.3, upright=True)),
)

_UPRIGHT = replace(
    _AEROTINY,
    data=replace(_AEROTINY.data, upright=True),
    objective=DetectionObjective(box_loss="outline", symmetry=1.0),
)

RECIPES = {
    "aerotiny": Named("rendered pictures with tiny objects, DCFL, minutes on a CPU", _AEROTINY),
    "aerotiny-max-iou": Named("the same by RetinaNet, whose priors learn by IoU", _assigned("max-iou")),
    "aerotiny-fcos": Named("the same by FCOS, which predicts from points without priors", _FCOS),
    "aerotiny-s2a": Named("the same by S2A-Net, whose second stage looks along the boxes of the first", _ALIGNED),
    "aerotiny-oriented-rcnn": Named(
        "the same by Oriented R-CNN, which proposes regions and looks at the features of each", _PROPOSING
    ),
    "aerotiny-upright": Named(
        "the same from upright boxes alone, angles by symmetry in the manner of H2RBox-v2", _UPRIGHT
    ),
    "aitodr": Named("AI-TOD-R from a folder, ResNet-50 and DCFL as published but for the optimiser", _AITODR),
}
