"""A one-stage detector: backbone, pyramid, head; and what it says of all priors of a batch."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.detection.assign.priors import Predictions, Priors, grid_priors
from tenfold.detection.config import STRIDES_OF_BACKBONES, DetectorConfig
from tenfold.detection.geometry.coder import BoxCoder
from tenfold.detection.geometry.points import PointCoder
from tenfold.detection.models.backbones import ResNet50, SmallBackbone
from tenfold.detection.models.dcfl_head import DcflHead
from tenfold.detection.models.fcos_head import FcosHead, PointOutput
from tenfold.detection.models.pyramid import FeaturePyramid
from tenfold.detection.models.retina_head import RetinaHead
from tenfold.errors import UsageError
from tenfold.hub.folders import from_pretrained, save_pretrained
from tenfold.nn.border import Values, as_tensor, finite, visible

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet's pictures: red, green, blue
CODER = BoxCoder()
_ROUNDING = 1.0  # by which half precision and resampling may pass the ends


class DenseOutput(NamedTuple):
    """What is said of every prior of a batch, all levels in one row.

    Attributes:
        logits: of the classes.
        deltas: of boxes from their priors.
        shift: by which the centres of priors move for the assignment, in pixels; not differentiated.
        priors: the same for all pictures.
        levels: how many priors each level has.
        quality: logit of how near a prior is to its object's middle; None of heads that do not say it.
        coder: what makes boxes of priors and deltas.
    """

    logits: Float[Tensor, "b n c"]
    deltas: Float[Tensor, "b n 5"]
    shift: Float[Tensor, "b n 2"]
    priors: Float[Tensor, "n 5"]
    levels: tuple[int, ...]
    quality: Float[Tensor, "b n"] | None = None
    coder: BoxCoder | PointCoder = CODER

    def boxes(self) -> Float[Tensor, "b n 5"]:
        """Decoded from the priors where they stand."""
        return self.coder.decoded(self.priors.expand_as(self.deltas), self.deltas)

    def of(self, picture: int, boxes: Float[Tensor, "b n 5"]) -> tuple[Priors, Predictions]:
        """What an assigner takes of one picture, with the ``boxes`` that were decoded."""
        moved = torch.cat([self.priors[:, :2] + self.shift[picture], self.priors[:, 2:]], 1)
        return Priors(self.priors, self.levels, moved), Predictions(self.logits[picture], boxes[picture])


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
        self.bbox_head: DcflHead | RetinaHead | FcosHead
        if config.head == "dcfl":
            self.bbox_head = DcflHead(classes, width, width, normalised=normalised)
        elif config.head == "retina":
            self.bbox_head = RetinaHead(classes, width, width, config.layers, normalised)
        else:
            moving = config.head == "dcfl-fcos"
            self.bbox_head = FcosHead(classes, width, width, len(config.strides), config.layers, moving, normalised)

    def forward(self, pictures: Values) -> DenseOutput:
        """What is said of every prior.

        Args:
            pictures: (b, 3, h, w), of any real type; values from 0 to 255.

        Raises:
            UsageError: for other shapes, no pixels, NaN, and values of another scale.
        """
        pictures = read_pictures(pictures, next(self.parameters()))
        mean, deviation = (pictures.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        features = self.backbone((pictures - mean) / deviation)[self._used]
        levels = self.bbox_head(self.neck(features))
        sizes = [(level.logits.shape[2], level.logits.shape[3]) for level in levels]
        points = isinstance(self.bbox_head, FcosHead)
        grid = grid_priors(sizes, self.config.strides, self.config.scale, 0.5 if points else 0.0, pictures.device)
        quality = [level.quality.flatten(1).float() for level in levels if isinstance(level, PointOutput)]
        return DenseOutput(
            torch.cat([level.logits.flatten(2).mT for level in levels], 1),
            torch.cat([level.deltas.flatten(2).mT for level in levels], 1).float(),
            torch.cat(
                [
                    level.shift(stride).flatten(1, 2).float()
                    for level, stride in zip(levels, self.config.strides, strict=True)
                ],
                1,
            ),
            grid.boxes,
            grid.levels,
            torch.cat(quality, 1) if points else None,
            PointCoder(self.config.scale) if points else CODER,
        )

    def save_pretrained(self, folder: object, extra: dict[str, object] | None = None) -> None:
        """Write the model folder."""
        save_pretrained(self, folder, extra)  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(cls, source: object) -> "Detector":
        """Read one."""
        found: Detector = from_pretrained(cls, source)  # type: ignore[arg-type]
        return found
