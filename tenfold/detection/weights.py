"""Published checkpoints: mmrotate's of DCFL and RetinaNet, and ResNet-50 of torchvision."""

from pathlib import Path

from torch import Tensor

from tenfold.detection.config import DetectorConfig
from tenfold.detection.data.options import AITODR_CLASSES
from tenfold.detection.models.backbones import ResNet50
from tenfold.detection.models.detector import Detector
from tenfold.errors import UsageError
from tenfold.hub.checkpoints import check_finite, read_state_dict
from tenfold.hub.folders import load_strict
from tenfold.hub.tensors import differences

_NEEDED = ("backbone.conv1.weight", "neck.lateral_convs.0.conv.weight", "bbox_head.retina_cls.weight")


def infer_detector(state: dict[str, Tensor], classes: tuple[str, ...]) -> DetectorConfig:
    """The configuration of a one-stage detector on ResNet-50 with five levels; UsageError for what is none, and for
    another number of classes than names."""
    missing = [name for name in _NEEDED if name not in state]
    if missing:
        two_stage = any(name.startswith("roi_head.") for name in state)
        what = (
            "a two-stage detector" if two_stage else f"no detector with one prior a location, {missing[0]} is missing"
        )
        raise UsageError(f"the checkpoint is of {what}; RetinaNet and DCFL in one stage are read")
    count, channels = state["bbox_head.retina_cls.weight"].shape[:2]
    names = classes or (AITODR_CLASSES if count == len(AITODR_CLASSES) else ())
    if count != len(names):
        raise UsageError(
            f"the checkpoint has {count} classes and there are {len(names)} names; give all in order (--names), "
            "and mind that several priors a location are several times as many"
        )
    moving = "bbox_head.reg_convs.3.conv_offset.weight" in state
    towers = {name.split(".")[2] for name in state if name.startswith("bbox_head.cls_convs.")}
    return DetectorConfig(
        names, "resnet50", channels=channels, strides=(8, 16, 32, 64, 128), head="dcfl" if moving else "retina",
        layers=max(1, len(towers)),
    )  # fmt: skip


def read_published(checkpoint: str | Path, names: tuple[str, ...] = ()) -> Detector:
    """The detector in a checkpoint of mmrotate (mmrotate-dcfl), whose names ours are.

    Args:
        names: of the classes, in order; those of AI-TOD-R where there are eight.

    Raises:
        UsageError: for other networks, and with every tensor that is missing, extra or of another shape.
    """
    state = read_state_dict(checkpoint)
    model = Detector(infer_detector(state, names))
    load_strict(model, state, str(checkpoint))
    return model.eval()


def load_backbone(backbone: ResNet50, file: str | Path) -> None:
    """Take torchvision's weights of ResNet-50 from a local file, but its classifier; UsageError for other tensors."""
    state = {name: tensor for name, tensor in read_state_dict(file).items() if not name.startswith("fc.")}
    kept = {name: tensor for name, tensor in state.items() if name in backbone.state_dict() or name[:5] != "layer"}
    if wrong := differences(kept, backbone.state_dict()):
        raise UsageError(f"the tensors of {file} do not fit ResNet-50 as torchvision names it: {wrong}")
    check_finite(kept, str(file))
    backbone.load_state_dict(kept)
