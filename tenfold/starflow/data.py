"""The latents that a flow learns: images encoded once by the frozen autoencoder, with classes or encoded captions."""

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from tenfold.data.captions.captioned import CaptionedSource, CaptionedSplits
from tenfold.data.images.splits import ImageSplits
from tenfold.data.latents import INDEX, LatentSource, cache_latents, open_latents
from tenfold.data.load import load_captioned, load_images
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.flows.loss import to_unit_range
from tenfold.nn.autoencoder import Autoencoder
from tenfold.starflow.autoencoder.weights import load_autoencoder
from tenfold.starflow.config import LatentDataConfig, StarFlowConfig
from tenfold.text.encoder import TextEncoder, TextTable
from tenfold.training.task import MapSource

PARTS = ("train", "validation", "test")
_SECONDS_BETWEEN_LOOKS = 0.5


class TextLatents:
    """Latents with the vectors of their captions (a ``GroupedSource`` of the training loop): ``batch`` adds "text"
    float32 (B, tokens, dim) to what the latents have."""

    def __init__(self, latents: LatentSource, table: TextTable) -> None:
        self.latents, self.table = latents, table
        self.groups, self.shapes = latents.groups, latents.shapes
        self.fingerprint = sha256(latents.fingerprint, table.fingerprint)

    def __len__(self) -> int:
        return len(self.latents)

    def batch(self, indices: Int64[np.ndarray, "b"]) -> dict[str, Tensor]:
        """The records ``indices`` of one shape."""
        batch = self.latents.batch(indices)
        return {**batch, "text": self.table.batch(batch["caption"])}


LatentRecords = LatentSource | TextLatents


@dataclass(frozen=True)
class Latents:
    """Training, validation and test latents, the images that they come from, and the null text of captioned ones."""

    train: LatentRecords
    validation: LatentRecords
    test: LatentRecords
    images: ImageSplits | CaptionedSplits
    null_text: Float[Tensor, "tokens dim"] | None

    @property
    def classes(self) -> int:
        """Number of classes; 0 for captioned and for unlabelled images."""
        return self.images.classes if isinstance(self.images, ImageSplits) else 0


class LatentData:
    """What a latent flow's data settings describe; everything is read on first use, onto ``device``."""

    def __init__(self, config: LatentDataConfig, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)

    def to(self, device: torch.device | str) -> None:
        """Move the frozen networks, those that are read later too."""
        self.device = torch.device(device)
        for name in ("autoencoder", "decoder", "text_encoder"):
            if (network := self.__dict__.get(name)) is not None:
                network.to(self.device)

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """The frozen autoencoder.

        Raises UsageError where none is set, and for one of another family."""
        if not self.config.autoencoder:
            raise UsageError(
                "there is no autoencoder for the flow's latents; set --data.autoencoder to a run or model folder, to "
                "published weights or to a hub id"
            )
        return load_autoencoder(self.config.autoencoder).to(self.device)

    @cached_property
    def decoder(self) -> Autoencoder | None:
        """The decoder that was taught to remove noise, if there is one."""
        if not self.config.decoder:
            return None
        decoder, own = load_autoencoder(self.config.decoder), self.autoencoder.config
        if (decoder.config.latent_channels, decoder.factor) != (own.latent_channels, own.factor):
            raise UsageError(
                f"the decoder in {self.config.decoder} reads {decoder.config.latent_channels} channels at 1/"
                f"{decoder.factor} of the image's sides, but the autoencoder's latents have {own.latent_channels} at 1/"
                f"{own.factor}; take one that was fine-tuned from this autoencoder"
            )
        return decoder.to(self.device)

    @cached_property
    def text_encoder(self) -> TextEncoder:
        """The frozen encoder of captions."""
        return TextEncoder(self.config.text, self.device)

    @cached_property
    def images(self) -> ImageSplits | CaptionedSplits:
        """The images, with classes or captions."""
        return (
            load_images(self.config.images) if self.config.kind == "images" else load_captioned(self.config.captioned)
        )

    @property
    def levels(self) -> int:
        """Integer levels of a pixel."""
        return self.config.images.levels if self.config.kind == "images" else 256

    @cached_property
    def folder(self) -> Path:
        """Where encoded latents and captions are kept."""
        if self.config.cache:
            return Path(self.config.cache)
        beside = Path(self.config.autoencoder)
        if not beside.is_dir():
            raise UsageError(
                f"there is no folder beside {self.config.autoencoder!r} to keep the encoded latents in; set "
                "--data.cache to one"
            )
        return beside / "latents"

    @cached_property
    def latents(self) -> Latents:
        """All latents, from the cache or encoded into it. Of several processes the first encodes."""
        images = self.images
        if not isinstance(images.train, MapSource | CaptionedSource):
            raise UsageError("latents are encoded once and kept: set --data.images.streaming=false")
        sources = dict(zip(PARTS, (images.train, images.validation, images.test), strict=True))
        if isinstance(images, CaptionedSplits) and not all((self.folder / part / INDEX).is_file() for part in PARTS):
            every = (images.train, images.validation, images.test)
            self.text_encoder.tokenize([text for source in every for text in source.texts])  # too long ones are told
        train, validation, test = (self._encoded(part, source) for part, source in sources.items())
        if isinstance(images, ImageSplits):
            return Latents(train, validation, test, images, None)
        told = [TextLatents(source, self._table(source.texts)) for source in (train, validation, test)]
        return Latents(told[0], told[1], told[2], images, told[0].table.null())

    def _encoded(self, part: str, source: MapSource | CaptionedSource) -> LatentSource:
        folder, encoder = self.folder / part, encoder_fingerprint(self.autoencoder)
        if int(os.environ.get("RANK", "0")) > 0:
            while not (folder / INDEX).is_file():
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            return open_latents(folder, source.fingerprint, encoder)
        return cache_latents(source, self.encode, encoder, folder, stale="rebuild" if self.config.rebuild else "refuse")

    def _table(self, texts: tuple[str, ...]) -> TextTable:
        return self.text_encoder.encode_table(texts, self.folder)

    @torch.no_grad()
    def encode(self, images: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b l i j"]:
        """Images to scaled latents, without noise."""
        return self.autoencoder.encode(to_unit_range(images.to(self.device), self.levels))

    def check(self, model: StarFlowConfig) -> None:
        """Raise UsageError where a flow's geometry does not fit the latents and captions."""
        latents = self.latents
        source = latents.train.latents if isinstance(latents.train, TextLatents) else latents.train
        source.require_channels(model.shape[0])
        shapes = sorted(set(source.shapes))
        if len(shapes) == 1 and shapes[0] != model.shape:
            raise UsageError(
                f"the latents are {shapes[0]} (channels, height, width), but the flow is for {model.shape}; set "
                f"--model.shape {','.join(map(str, shapes[0]))}"
            )
        if model.classes and model.classes != latents.classes:
            raise UsageError(
                f"the data have {latents.classes} classes, but the flow has {model.classes}; set --model.classes"
            )
        if bool(model.text_tokens) != (latents.null_text is not None):
            has, wants = ("captions", "no text") if latents.null_text is not None else ("no captions", "text")
            raise UsageError(f"the data have {has}, but the flow takes {wants}; set --data.kind or --model.text_tokens")
        if latents.null_text is not None and tuple(latents.null_text.shape) != (model.text_tokens, model.text_dim):
            tokens, dim = latents.null_text.shape
            raise UsageError(
                f"the text encoder gives {tokens} vectors of width {dim}, but the flow takes {model.text_tokens} of "
                f"width {model.text_dim}; set --model.text_dim {dim} and --data.text.tokens {model.text_tokens}"
            )


def encoder_fingerprint(autoencoder: Autoencoder) -> str:
    """Identifies what an autoencoder encodes to: weights of its encoder, and the latents' scale."""
    state = {n: t for n, t in autoencoder.state_dict().items() if n.startswith(("encoder.", "quant_conv."))}
    tensors = (part for name, t in sorted(state.items()) for part in (name, t.float().cpu().numpy().tobytes()))
    config = autoencoder.config
    return sha256(str((config.scale_factor, config.shift_factor)), *tensors)
