"""Which reader serves which source: the one place that knows images with and without captions."""

from tenfold.data.captions.captioned import CaptionedSplits
from tenfold.data.captions.compositions import load_compositions, square_compositions
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.captions.files import load_captioned_images
from tenfold.data.images.bundled import load_digits_8x8, load_mnist5k
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.folder import load_folder
from tenfold.data.images.huggingface import load_huggingface
from tenfold.data.images.splits import ImageSplits

_IMAGES = {
    "digits": load_digits_8x8,
    "mnist5k": load_mnist5k,
    "compositions": square_compositions,
    "folder": load_folder,
    "huggingface": load_huggingface,
}


def load_images(config: ImageDataConfig) -> ImageSplits:
    """The splits that ``config`` describes: a ``MapSource`` of the training loop each (random access), or a
    ``StreamSource`` for training.

    Raises UsageError for settings that the source cannot satisfy and TenfoldError for unreadable data, each
    in one sentence.

    >>> splits = load_images(ImageDataConfig(source="digits", levels=17))
    >>> len(splits.train), len(splits.validation), len(splits.test), splits.shape
    (1297, 140, 360, (1, 8, 8))
    """
    return _IMAGES[config.source](config)


def load_captioned(config: CaptionDataConfig) -> CaptionedSplits:
    """The splits that ``config`` describes, each a ``CaptionedSource``.

    Raises UsageError for settings that the source cannot satisfy, and TenfoldError for unreadable data, each
    in one sentence.

    >>> splits = load_captioned(CaptionDataConfig(samples=3, validation=2, test=2, ratios="1:1"))
    >>> len(splits.train), splits.shapes
    (3, ((1, 32, 32),))
    """
    return load_compositions(config) if config.source == "compositions" else load_captioned_images(config)
