"""How labels are read. Imports no PyTorch."""

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

AITODR_CLASSES = ("airplane", "bridge", "storage-tank", "ship", "swimming-pool", "vehicle", "person", "wind-mill")
FORMATS = ("auto", "dota", "yolo", "dior", "coco", "geojson")


@settings
class LabelReading:
    """How labels are read.

    Attributes:
        format: dota (AI-TOD-R too), yolo, dior, coco, geojson; auto looks at the files.
        split: subfolder of the pictures and labels, "trainval" say; "" for none.
        classes: names in their order; those of the labels by default.
        method: boxes of four corners by their edges, or the smallest rectangle around them (min_area).
        min_side: objects with a shorter side, pixels, are left out, and told; the public readers leave out those below
            2.
    """

    format: str = "auto"
    split: str = ""
    classes: tuple[str, ...] = ()
    method: str = "edges"
    min_side: float = 0.0

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"format is {self.format!r}{suggest(self.format, FORMATS)}")
        if self.method not in ("edges", "min_area"):
            raise UsageError(f"method is {self.method!r}{suggest(self.method, ['edges', 'min_area'])}")
        if len(set(self.classes)) < len(self.classes):
            raise UsageError(f"classes are {', '.join(self.classes)}; name each of them once")
        at_least(self, "", min_side=0)
