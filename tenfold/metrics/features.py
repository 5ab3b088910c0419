"""Feature extractors for image metrics: a small classifier of the data at hand, and Inception v3 from a file."""

import copy
import json
import math
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tenfold import progress
from tenfold.data.images.augment import shift
from tenfold.data.images.decode import check_levels
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.errors import TenfoldError, UsageError
from tenfold.files import json_text, write_output
from tenfold.hub.checkpoints import read_state_dict
from tenfold.metrics.inception import InceptionV3
from tenfold.training.task import MapSource

CLASSIFIER_FEATURES = 32
_SHARED: dict[tuple[object, ...], "ClassifierFeatures"] = {}
_FILE = "extractor.safetensors"


class ClassifierFeatures(nn.Module):
    """A small convolutional classifier whose last hidden layer, ``dim`` wide, is the feature: standardised
    on the training images, so that distances are in their standard deviations.

    Called on images uint8 (N, C, H, W) in [0, levels), it gives features (N, dim), float32, without
    gradients. ``accuracy`` is its share of right answers on the validation split (on the test split without one).
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        classes: int,
        dim: int = CLASSIFIER_FEATURES,
        accuracy: float = math.nan,
    ) -> None:
        super().__init__()
        self.shape, self.levels, self.classes = tuple(shape), levels, classes
        self.dim, self.accuracy = dim, accuracy
        channels, side = shape[0], min(shape[1:])
        layers: list[nn.Module] = []
        for width in [16] + [32] * max(1, int(math.log2(max(side, 8) / 4))):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.SiLU()]
            layers += [nn.MaxPool2d(2)] if width == 32 else []
            channels = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Linear(channels * 16, dim)
        self.head = nn.Linear(dim, classes)
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(dim))

    @property
    def name(self) -> str:
        """What tables call the extractor."""
        return f"classifier, accuracy {self.accuracy:.3f}"

    def hidden_features(self, images: Tensor) -> Float[Tensor, "n dim"]:
        """Features with gradients."""
        self._check(images)
        x = images.to(self.head.weight.device).float() * (2.0 / (self.levels - 1)) - 1.0
        hidden: Tensor = self.hidden(self.body(x))
        return hidden

    def _check(self, images: Tensor) -> None:
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            raise UsageError(
                f"the feature extractor reads uint8 images of shape {self.shape}, not {images.dtype} of "
                f"{tuple(images.shape[1:])}"
            )

    def logits(self, images: Tensor) -> Float[Tensor, "n classes"]:
        """Class scores with gradients."""
        scores: Tensor = self.head(F.silu(self.hidden_features(images)))
        return scores

    @torch.no_grad()
    def forward(self, images: Tensor) -> Float[Tensor, "n dim"]:
        """Features of images uint8 (N, C, H, W), on the CPU, in chunks.

        Raises UsageError for images of another shape or dtype."""
        self._check(images)
        check_levels(images.numpy(force=True), self.levels, "the images", f"this extractor's have {self.levels} levels")
        chunks = progress.track(images.split(512), "features", "chunks")
        parts = [(self.hidden_features(part) - self.center) / self.spread for part in chunks]
        return torch.cat(parts).cpu() if parts else torch.zeros(0, self.dim)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Int64[Tensor, "n"]:
        """Most probable class, on the CPU."""
        found = [self.logits(part).argmax(dim=1).cpu() for part in images.split(512)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write weights and geometry as one safetensors file."""
        geometry = {"shape": self.shape, "levels": self.levels, "classes": self.classes, "dim": self.dim}
        text = json_text({**geometry, "accuracy": self.accuracy})
        return write_output(Path(folder) / _FILE, save(self.state_dict(), metadata={"extractor": text}))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "ClassifierFeatures":
        """Read what ``save`` wrote.

        Raises UsageError for a missing file and TenfoldError for a damaged or foreign one."""
        path = Path(folder) / _FILE
        if not path.is_file():
            raise UsageError(f"{path} does not exist; make an extractor with train_classifier(...).save(folder)")
        try:
            with safe_open(path, "pt") as file:
                settings = json.loads((file.metadata() or {})["extractor"])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            known = settings["accuracy"]
            accuracy = math.nan if known is None else known  # not measured
            model = cls(**{**settings, "shape": tuple(settings["shape"]), "accuracy": accuracy})
            model.load_state_dict(state)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise TenfoldError(f"{path} is damaged or no feature extractor ({reason}); train one anew") from None
        return model.eval()


def train_classifier(
    splits: ImageSplits, steps: int = 300, seed: int = 0, dim: int = CLASSIFIER_FEATURES, batch_size: int = 128
) -> ClassifierFeatures:
    """A classifier trained on the training split in some seconds, with small random shifts; the same seed
    gives the same weights on the same machine. Its ``accuracy`` is measured on the validation split, or the
    test split where that is empty.

    Raises UsageError for unlabelled or streamed images."""
    if splits.classes < 2:
        raise UsageError(f"a classifier needs at least two classes, but the images have {splits.classes}")
    source = splits.train
    if not isinstance(source, MapSource):
        raise UsageError("a classifier is trained on random access data; set --data.streaming=false")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClassifierFeatures(splits.shape, splits.levels, splits.classes, dim)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(2, steps))
    reach = max(1, min(splits.shape[1:]) // 16)
    for _ in progress.track(range(steps), "classifier for features", "steps"):
        rows = torch.randint(len(source), (batch_size,), generator=generator)
        batch = source.batch(rows.numpy())
        offsets = torch.randint(-reach, reach + 1, (batch_size, 2), generator=generator)
        scores = model.logits(shift(batch["image"], offsets))
        loss = F.cross_entropy(scores, batch["label"], label_smoothing=0.05, ignore_index=-1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    hidden = model(read_all(source, 5000)[0])
    model.center.copy_(hidden.mean(dim=0))
    model.spread.copy_(hidden.std(dim=0).clamp_min(1e-6))
    images, labels = read_all(splits.validation if len(splits.validation) else splits.test)
    if len(labels):
        model.accuracy = float((model.predict(images) == labels).double().mean())
    return model


def shared_classifier(splits: ImageSplits, steps: int = 300, seed: int = 0) -> ClassifierFeatures:
    """``train_classifier`` once a process: runs of several stages measure all of them with one network."""
    key = (splits.fingerprint, splits.shape, splits.levels, steps, seed)
    if key not in _SHARED:
        _SHARED.clear()  # of other data: one is needed at a time, and a sweep must not collect them
        _SHARED[key] = train_classifier(splits, steps, seed)
    return copy.deepcopy(_SHARED[key])


class InceptionFeatures:
    """The 2048 pooled features of the Inception v3 that FID is published with, from weights on disk.

    ``path`` holds the state dictionary ``pt_inception-2015-12-05-6726825d.pth`` (pytorch-fid,
    torch-fidelity), or the same as safetensors. Images uint8 (N, C, H, W) in [0, levels) are brought to
    299x299 by bilinear interpolation without corner alignment, and to [−1, 1]; grey ones are repeated.
    Conventions of pytorch-fid.
    """

    dim, name = 2048, "Inception v3"

    def __init__(
        self,
        path: str | os.PathLike[str],
        levels: int = 256,
        device: torch.device | str = "cpu",
        chunk: int = 32,
    ) -> None:
        self.levels, self.chunk = levels, chunk
        self.network = InceptionV3()
        self.network.load(read_state_dict(path), str(path))
        self.network.eval()
        self.to(device)

    def to(self, device: torch.device | str) -> "InceptionFeatures":
        """Move the network to a device; the extractor itself."""
        self.network.to(device)
        self.device = torch.device(device)
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Float[Tensor, "n 2048"]:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise UsageError(
                f"Inception reads uint8 images (N, 1 or 3, H, W), not {images.dtype} of shape {tuple(images.shape)}"
            )
        check_levels(images.numpy(force=True), self.levels, "the images", f"this extractor's have {self.levels} levels")
        parts = [torch.zeros(0, self.dim)]
        for part in progress.track(images.split(self.chunk), "features", "chunks"):
            x = part.to(self.device).float() * (2.0 / (self.levels - 1)) - 1.0
            x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
            x = F.interpolate(x, (299, 299), mode="bilinear", align_corners=False)
            parts.append(self.network(x).cpu())
        return torch.cat(parts)
