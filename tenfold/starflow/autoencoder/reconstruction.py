"""The reconstruction objective as training uses it: pixel, perceptual and adversarial terms, the patch
discriminator, and their updates."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.data.images.splits import ImageSplits
from tenfold.errors import UsageError
from tenfold.nn.norm import GroupNorm
from tenfold.starflow.autoencoder.config import ReconstructionConfig
from tenfold.starflow.autoencoder.loss import discriminator_hinge, generator_hinge, pixel_distance
from tenfold.starflow.autoencoder.perceptual import (
    CLASSIFIER,
    Perceptual,
    like_perceptual,
    load_perceptual,
    trained_perceptual,
)
from tenfold.training.config import TrainingConfig
from tenfold.training.optimizers import adamw
from tenfold.training.task import Update


class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches, by a few strided convolutions (Isola et al., "Image-to-image translation
    with conditional adversarial networks", arXiv 1611.07004), with group normalisation: scores of one image do
    not depend on the others of its batch.

    ``layers`` convolutions halve the sides; the first has ``width`` channels, each later one twice as many, at
    most 8 · width.
    """

    def __init__(self, channels: int, width: int = 32, layers: int = 2) -> None:
        super().__init__()
        self.factor = 2**layers
        stages: list[nn.Module] = []
        for i in range(layers):
            after = width * min(2**i, 8)
            stage = [nn.Conv2d(channels, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            if i:
                stage.insert(1, GroupNorm(4 if after % 4 == 0 else 1, after))
            stages.append(nn.Sequential(*stage))
            channels = after
        self.stages = nn.ModuleList([*stages, nn.Conv2d(channels, 1, 3, padding=1)])

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 wraps, and activation checkpointing recomputes, one by one."""
        return list(self.stages)

    def require(self, height: int, width: int) -> None:
        """Raise UsageError for images too small to have a patch."""
        if min(height, width) < 2 * self.factor:
            raise UsageError(
                f"images of {height}x{width} are too small for a discriminator that halves them "
                f"{self.factor.bit_length() - 1} times; lower --reconstruction.discriminator_layers"
            )

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 i j"]:
        """Scores of the patches: high for real images."""
        for stage in self.stages:
            x = stage(x)
        return x


class Reconstruction:
    """What the training of a whole autoencoder and that of a decoder alone share.

    ``splits`` are the images. The perceptual network is read, or trained, on first use.
    """

    def __init__(
        self,
        settings: ReconstructionConfig,
        train: TrainingConfig,
        splits: ImageSplits,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings, self.train, self.splits = settings, train, splits
        self.discriminator: PatchDiscriminator | None = None
        if settings.adversarial_weight:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(train.seed + 1)
                self.discriminator = PatchDiscriminator(
                    splits.shape[0], settings.discriminator_width, settings.discriminator_layers
                )
            self.discriminator.require(*splits.shape[1:])
        self.to(device)

    def to(self, device: torch.device | str) -> None:
        """Move the discriminator; the perceptual network follows the images."""
        if self.discriminator is not None:
            self.discriminator.to(device)

    @cached_property
    def perceptual(self) -> Perceptual | None:
        """The perceptual distance, if there is one."""
        given = self.settings.perceptual
        if given == CLASSIFIER:
            return trained_perceptual(self.splits)
        return load_perceptual(given, self.splits.shape) if given else None

    def rehearse(self) -> list[nn.Module]:
        """The perceptual network on the meta device, its weights neither trained nor, of a file, kept; as a list."""
        given, splits = self.settings.perceptual, self.splits
        self.perceptual = like_perceptual(given, splits.shape, splits.levels, splits.classes) if given else None
        return [] if self.perceptual is None else [self.perceptual]

    def modules(self) -> dict[str, nn.Module]:
        """What is trained besides the autoencoder."""
        return {} if self.discriminator is None else {"discriminator": self.discriminator}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW for the autoencoder, and for the discriminator (without momentum's usual inertia, and without
        decay) if there is one."""
        train = self.train
        found: dict[str, torch.optim.Optimizer] = {"autoencoder": adamw(modules["autoencoder"].parameters(), train)}
        if "discriminator" in modules:
            found["discriminator"] = torch.optim.AdamW(
                modules["discriminator"].parameters(),
                lr=train.learning_rate * self.settings.discriminator_rate,
                betas=(0.5, 0.9),
                eps=train.eps,
                weight_decay=0.0,
                fused=True,
            )
        return found

    def terms(
        self, rebuilt: Float[Tensor, "b c h w"], images: Float[Tensor, "b c h w"]
    ) -> dict[str, Float[Tensor, "b"]]:
        """ "pixel" and "perceptual" distances, and "faithful", their weighted sum."""
        settings = self.settings
        found = {"pixel": pixel_distance(rebuilt, images, settings.pixel)}
        faithful = settings.pixel_weight * found["pixel"]
        if self.perceptual is not None:
            found["perceptual"] = self.perceptual.to(rebuilt.device)(rebuilt, images)
            faithful = faithful + settings.perceptual_weight * found["perceptual"]
        return {**found, "faithful": faithful}

    def updates(
        self,
        modules: Mapping[str, nn.Module],
        rebuilt: Float[Tensor, "b c h w"],
        images: Float[Tensor, "b c h w"],
        step: int,
        regulariser: Tensor | float = 0.0,
        metrics: Mapping[str, Tensor] | None = None,
        check: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Update]:
        """The autoencoder's update on ``rebuilt`` images, then the discriminator's on the same, once it is due.

        ``regulariser`` is added to the autoencoder's loss; ``metrics`` and ``check`` go with its update."""
        terms = {name: value.mean() for name, value in self.terms(rebuilt, images).items()}
        loss = terms.pop("faithful") + regulariser
        told = {**{name: value.detach() for name, value in terms.items()}, **(metrics or {})}
        due = "discriminator" in modules and step >= self.settings.adversarial_start
        if due:
            fooling = generator_hinge(modules["discriminator"](rebuilt))
            loss = loss + self.settings.adversarial_weight * fooling
            told["fooling"] = fooling.detach()
        yield Update("autoencoder", loss, told, {**(check or {}), "the reconstruction": rebuilt.detach()})
        if due:
            made = rebuilt.detach()
            # One forward pass: the processes of data parallelism wait for the gradients of each.
            real, fake = modules["discriminator"](torch.cat([images.to(made.dtype), made])).chunk(2)
            right = torch.cat([real > 0, fake < 0]).float().mean()
            yield Update("discriminator", discriminator_hinge(real, fake), {"discriminator_accuracy": right.detach()})

    def state_dict(self) -> dict[str, Any]:
        """What tells whether a resumed run compares images in the same network."""
        return {} if self.perceptual is None else {"perceptual": self.perceptual.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raise UsageError where the perceptual network's files are not those that the run began with."""
        if self.state_dict() != dict(state):
            raise UsageError(
                f"the perceptual network {self.settings.perceptual}, or the images that it is trained on, changed "
                "since the run began; put the files back to resume it"
            )
