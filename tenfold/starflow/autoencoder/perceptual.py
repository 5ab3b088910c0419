"""A perceptual distance in the hidden layers of whatever local network is given, or of one trained on the data."""

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.data.images.splits import ImageSplits
from tenfold.errors import TenfoldError, UsageError
from tenfold.files import read_json, sha256
from tenfold.metrics.features import ClassifierFeatures, InceptionFeatures, train_classifier
from tenfold.nn.precision import at_least_single
from tenfold.text.networks import library, quiet

Layers = Callable[[Tensor], list[Tensor]]
"""Images (b, c, h, w) on [−1, 1] to hidden layers (b, features, ...)."""

CLASSIFIER = "classifier"
"""In place of a path: a classifier that is trained on the images at hand."""
_STEPS, _SEED = 400, 1
_INCEPTION_LAYERS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")


class Perceptual(nn.Module):
    """Distance of two batches of images in the layers of a frozen network: at every position the features are
    brought to unit length, and their square difference is averaged over positions and layers. This is LPIPS
    (Zhang et al., arXiv 1801.03924) without its learned weights; it lies in [0, 4].

    ``fingerprint`` identifies the network's files.
    """

    def __init__(self, network: nn.Module, layers: Layers, fingerprint: str = "") -> None:
        super().__init__()
        self.network, self.layers, self.fingerprint = network, layers, fingerprint
        self.network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Perceptual":
        """The network stays in evaluation mode."""
        return self

    def forward(self, x: Float[Tensor, "b c h w"], y: Float[Tensor, "b c h w"]) -> Float[Tensor, "b"]:
        """Distance of x from y per image, with gradients for x alone."""
        with torch.no_grad():
            targets = [_unit(layer) for layer in self.layers(y)]
        distances = [
            (_unit(layer) - target).square().sum(dim=1).reshape(len(x), -1).mean(dim=1)
            for layer, target in zip(self.layers(x), targets, strict=True)
        ]
        return torch.stack(distances).mean(dim=0)


def _unit(layer: Float[Tensor, "b f *size"]) -> Float[Tensor, "b f *size"]:
    layer = at_least_single(layer)
    return layer / (layer.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()


def load_perceptual(path: str, shape: tuple[int, int, int]) -> Perceptual:
    """The distance in the network at ``path``, for images of ``shape`` (channels, height, width).

    ``path`` is a folder of ``ClassifierFeatures.save``, the file of FID's Inception v3, or the folder of a
    ``transformers`` vision model with its ``preprocessor_config.json``.

    Raises UsageError for anything else and for networks that read other images; TenfoldError for damaged files."""
    place = Path(path)
    if (place / "extractor.safetensors").is_file():
        return _classifier(place, shape)
    if place.is_file():
        return _inception(place)
    if (place / "config.json").is_file():
        return _transformer(place, shape)
    raise UsageError(
        f"perceptual is {path!r}, which is no folder of a saved classifier, no file of Inception weights and no "
        "folder of a transformers vision model; give one of them, or '' for none"
    )


def trained_perceptual(splits: ImageSplits) -> Perceptual:
    """The distance in a classifier that is trained now on the labelled images of ``splits``, in half a minute; the same
    images give the same network on the same machine. Its seed and its length differ from those of the classifiers
    that images are measured with, so that these do not judge what was tuned to please them.

    Raises UsageError for unlabelled or streamed images."""
    if splits.classes < 2:
        raise UsageError(
            f"reconstruction.perceptual is {CLASSIFIER!r}, which is trained on labelled images, but the images have "
            f"{splits.classes} classes; give a local network, or '' for none"
        )
    model = train_classifier(splits, steps=_STEPS, seed=_SEED)
    return _in_classifier(model, sha256(CLASSIFIER, splits.fingerprint, str(_STEPS), str(_SEED)))


def like_perceptual(given: str, shape: tuple[int, int, int], levels: int, classes: int) -> Perceptual:
    """A distance of the size of what ``given`` names (a path, or ``CLASSIFIER``), on the meta device."""
    if given == CLASSIFIER:
        return _in_classifier(ClassifierFeatures(shape, levels, classes), "").to("meta")
    return load_perceptual(given, shape).to("meta")


def _tapped(network: nn.Module, taps: Iterable[nn.Module]) -> Layers:
    """A function that runs the network and returns the outputs of some of its modules, in order."""
    kept: list[Tensor] = []
    for module in taps:
        module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))

    def layers(x: Tensor) -> list[Tensor]:
        kept.clear()
        network(x)
        found = list(kept)
        kept.clear()
        return found

    return layers


def _classifier(folder: Path, shape: tuple[int, int, int]) -> Perceptual:
    model = ClassifierFeatures.load(folder)
    if model.shape[0] != shape[0]:
        raise UsageError(
            f"the classifier in {folder} reads images with {model.shape[0]} channels, not {shape[0]}; train one on "
            "these images"
        )
    return _in_classifier(model, _fingerprint(folder))


def _in_classifier(model: ClassifierFeatures, fingerprint: str) -> Perceptual:
    # All nonlinearities, and the last hidden layer.
    network = nn.Sequential(*model.body, model.hidden)
    taps = [module for module in model.body if isinstance(module, nn.SiLU)]
    return Perceptual(network, _tapped(network, [*taps, model.hidden]), fingerprint)


def _inception(file: Path) -> Perceptual:
    network = InceptionFeatures(file).network
    layers = _tapped(network, [getattr(network, name) for name in _INCEPTION_LAYERS])
    # Sides and range as for FID.
    return Perceptual(network, lambda x: layers(F.interpolate(_coloured(x), (299, 299), mode="bilinear")), sha256(file))


def _transformer(folder: Path, shape: tuple[int, int, int]) -> Perceptual:
    transformers = library(f"the perceptual network in {folder} needs")
    preparation = folder / "preprocessor_config.json"
    values = read_json(preparation) if preparation.is_file() else {}
    if "image_mean" not in values or "image_std" not in values:
        raise UsageError(
            f"{folder} is no vision model that images can be prepared for: it has no preprocessor_config.json with "
            "image_mean and image_std"
        )
    model = _read_transformer(transformers, folder)
    model = getattr(model, "vision_model", model)  # of a pair of an image and a text network
    if model.main_input_name != "pixel_values":
        raise UsageError(f"{folder} holds {type(model).__name__}, which reads no images; give a vision model")
    channels = getattr(model.config, "num_channels", 3)
    if channels not in (3, shape[0]):
        raise UsageError(f"{folder} reads images with {channels} channels, not {shape[0]}; give another model")
    side = getattr(model.config, "image_size", None)  # convolutional ones read any size
    mean, spread = (torch.tensor(values[name]).view(1, -1, 1, 1) for name in ("image_mean", "image_std"))

    def layers(x: Tensor) -> list[Tensor]:
        x = _coloured(x) if channels == 3 else x
        if side is not None:
            size = (side, side) if isinstance(side, int) else tuple(side)
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        x = (0.5 * (x + 1) - mean.to(x)) / spread.to(x)
        hidden = model(pixel_values=x, output_hidden_states=True).hidden_states
        return [h.transpose(1, 2) if h.ndim == 3 else h for h in hidden]  # (b, tokens, width) of transformers

    return Perceptual(model, layers, _fingerprint(folder))


def _read_transformer(transformers: ModuleType, folder: Path) -> Any:
    try:
        with quiet(transformers):  # it reports the head of a classifier, which nobody wants here, as unexpected
            model, report = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # readers of weights and configurations raise types of their own
        reason = " ".join(str(error).split())[:200]
        raise TenfoldError(f"{folder} cannot be read as a transformers model ({reason}); fetch it anew") from None
    # Absent weights would be drawn at random; the pooler follows the hidden states, which are all that is used.
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        raise UsageError(f"the weights in {folder} lack {', '.join(missing[:5])}; fetch the model anew")
    return model


def _coloured(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 h w"]:
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x


def _fingerprint(folder: Path) -> str:
    files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin", ".json"))
    return sha256(*(f"{f.name} {sha256(f)}" for f in files))
