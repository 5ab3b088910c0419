"""The images of an autoencoder's training, checked against its geometry."""

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ImageSplits
from tenfold.data.load import load_images
from tenfold.errors import UsageError
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.starflow.autoencoder.config import AutoencoderEvaluation
from tenfold.training.task import MapSource


def images_for(data: ImageDataConfig, model: AutoencoderConfig, evaluation: AutoencoderEvaluation) -> ImageSplits:
    """The splits of ``data``.

    Raises UsageError where channels or sides do not fit the model, and where FID is asked for and impossible."""
    splits = load_images(data)
    channels, height, width = splits.shape
    if channels != model.channels:
        raise UsageError(
            f"the images have {channels} channels, but the autoencoder reads {model.channels}; set --data.channels "
            "or --model.channels"
        )
    try:
        model.latent_shape(height, width)
    except UsageError as error:
        raise UsageError(f"{error} (--data.height and --data.width)") from None
    if evaluation.fid and (splits.classes < 2 or not isinstance(splits.train, MapSource)):
        raise UsageError(
            "FID uses the features of a classifier of the training images, which needs labels and random access; "
            "set --evaluation.fid false"
        )
    return splits
