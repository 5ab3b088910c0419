"""A detector: backbone, pyramid, head; and what it says of all priors of a batch."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.config import STRIDES_OF_BACKBONES, DetectorConfig
from tenfold.detection.geometry.points import PointCoder
from tenfold.detection.models.aligned_head import AlignedHead
from tenfold.detection.models.backbones import ResNet50, SmallBackbone
from tenfold.detection.models.dcfl_head import DcflHead
from tenfold.detection.models.fcos_head import FcosHead
from tenfold.detection.models.output import DenseOutput, dense_output
from tenfold.detection.models.proposal_head import OrientedRcnnHead
from tenfold.detection.models.pyramid import FeaturePyramid
from tenfold.detection.models.retina_head import RetinaHead
from tenfold.errors import UsageError
from tenfold.hub.folders import from_pretrained, save_pretrained
from tenfold.nn.border import Values, as_tensor, finite, visible

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet's pictures: red, green, blue
_ROUNDING = 1.0  # by which half precision and resampling may pass the ends


def read_pictures(pictures: Values, like: Tensor) -> Float[Tensor, "b 3 h w"]:
    """Pictures in the type of a network's weights. Raises UsageError as ``Detector`` does."""
    read = as_tensor(pictures, "pictures")
    shape = tuple(read.shape)
    if read.ndim != 4 or shape[1] != 3:
        lacks = "; put [None] behind a single picture" if read.ndim == 3 and shape[0] == 3 else ""
        raise UsageError(f"pictures have shape {shape}; give (batch, 3, height, width){lacks}")
    if (not read[0:1].numel() and read.shape[0]) or 0 in shape[2:]:
        raise UsageError(f"pictures have shape {shape}, which has no pixels; give some")
    if read.dtype == torch.bool or read.is_complex() or read.layout != torch.strided:
        raise UsageError(f"pictures have dtype {read.dtype}; give dense real numbers from 0 to 255")
    if read.device != like.device:
        raise UsageError(f"pictures are on {read.device} and the detector on {like.device}; move them to one device")
    if visible(read) and read.numel() and read.dtype != torch.uint8:
        low, high = (float(bound) for bound in read.detach().aminmax())
        if not (low >= -_ROUNDING and high <= 255 + _ROUNDING):  # false for NaN too
            finite(read, "pictures")
            raise UsageError(f"pictures hold values from {low:g} to {high:g}; give red, green and blue from 0 to 255")
    return read.to(like.dtype)


class Detector(nn.Module):
    """Oriented boxes of tiny objects. Parameters have the names of mmrotate's checkpoints.

    Pictures are (batch, 3, height, width) with values from 0 to 255, of any size.

    >>> model = Detector(DetectorConfig(classes=("ship",), width=8, channels=8, strides=(8, 16)))
    >>> model(torch.zeros(1, 3, 32, 48)).logits.shape
    torch.Size([1, 30, 1])
    """

    model_type = "detection"
    config_class = DetectorConfig

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        first = STRIDES_OF_BACKBONES.index(config.strides[0])
        last = min(len(STRIDES_OF_BACKBONES), first + len(config.strides))
        self._used = slice(first, last)
        self.backbone = SmallBackbone(config.width, last) if config.backbone == "small" else ResNet50(last)
        self.neck = FeaturePyramid(self.backbone.widths[self._used], config.channels, len(config.strides))
        classes, width = len(config.classes), config.channels
        normalised = config.norm == "group"
        self.bbox_head: DcflHead | RetinaHead | FcosHead | AlignedHead | OrientedRcnnHead
        if config.head == "dcfl":
            self.bbox_head = DcflHead(classes, width, width, normalised=normalised)
        elif config.head == "retina":
            self.bbox_head = RetinaHead(classes, width, width, config.layers, normalised)
        elif config.head in ("s2a", "dcfl-s2a"):
            moving = config.head == "dcfl-s2a"
            self.bbox_head = AlignedHead(classes, width, width, config.layers, moving, normalised)
        elif config.head in ("oriented-rcnn", "dcfl-oriented-rcnn"):
            moving = config.head == "dcfl-oriented-rcnn"
            self.bbox_head = OrientedRcnnHead(classes, width, width, moving, config.proposals)
        else:
            moving = config.head == "dcfl-fcos"
            self.bbox_head = FcosHead(classes, width, width, len(config.strides), config.layers, moving, normalised)

    def forward(self, pictures: Values, objects: Float[Tensor, "b m 5"] | None = None) -> DenseOutput:
        """What is said of every prior.

        Args:
            pictures: (b, 3, h, w), of any real type; values from 0 to 255.
            objects: in training, boxes that join the proposals of Oriented R-CNN; other heads take none.

        Raises:
            UsageError: for other shapes, no pixels, NaN, and values of another scale.
        """
        pictures = read_pictures(pictures, next(self.parameters()))
        mean, deviation = (pictures.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        features = self.backbone((pictures - mean) / deviation)[self._used]
        levels = self.neck(features)
        head, strides, scale = self.bbox_head, self.config.strides, self.config.scale
        if isinstance(head, AlignedHead):
            first = dense_output(head.first(levels), strides, scale)
            anchors = first.boxes().detach()
            second = dense_output(head.second(levels, anchors, strides), strides, scale)
            return second._replace(anchors=anchors, first=first)
        if isinstance(head, OrientedRcnnHead):
            return head(levels, strides, scale, objects)
        said = head(levels)
        if not isinstance(head, FcosHead):
            return dense_output(said, strides, scale)
        quality = torch.cat([level.quality.flatten(1).float() for level in said], 1)
        return dense_output(said, strides, scale, 0.5)._replace(quality=quality, coder=PointCoder(scale))

    def save_pretrained(self, folder: object, extra: dict[str, object] | None = None) -> None:
        """Write the model folder."""
        save_pretrained(self, folder, extra)  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(cls, source: object) -> "Detector":
        """Read one."""
        found: Detector = from_pretrained(cls, source)  # type: ignore[arg-type]
        return found
