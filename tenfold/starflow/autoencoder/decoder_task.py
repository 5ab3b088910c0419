"""Fine-tuning a decoder to remove the noise of latents, the encoder frozen (arXiv 2506.06276, section 3)."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold import hub
from tenfold.data.images.augment import augmented
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ImageSplits
from tenfold.errors import UsageError
from tenfold.flows.loss import to_unit_range
from tenfold.nn.autoencoder import Autoencoder
from tenfold.runs.measurement import Measurement
from tenfold.starflow.autoencoder import evaluation, pictures
from tenfold.starflow.autoencoder.config import AutoencoderEvaluation, DecoderObjective, ReconstructionConfig
from tenfold.starflow.autoencoder.cost import cost
from tenfold.starflow.autoencoder.data import images_for
from tenfold.starflow.autoencoder.reconstruction import Reconstruction
from tenfold.starflow.autoencoder.weights import load_autoencoder
from tenfold.training.task import Update


@runtime_checkable
class DecoderRecipe(Protocol):
    """What a recipe must hold; ``train`` has the optimiser's fields and the seed."""

    data: ImageDataConfig
    reconstruction: ReconstructionConfig
    objective: DecoderObjective
    evaluation: AutoencoderEvaluation
    train: Any


class NoisyDecoding(nn.Module):
    """The training computation: images to latents, noise on them, and back; only what decodes is trained."""

    def __init__(self, autoencoder: Autoencoder, sigma: float) -> None:
        super().__init__()
        self.autoencoder, self.sigma = autoencoder, sigma
        for name, parameter in autoencoder.named_parameters():
            parameter.requires_grad_(not name.startswith(("encoder.", "quant_conv.")))

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 wraps, and activation checkpointing recomputes, one by one."""
        return self.autoencoder.shard_units

    def forward(self, x: Float[Tensor, "b c h w"], noise: Float[Tensor, "b l i j"]) -> Float[Tensor, "b c h w"]:
        """decode(encode(x) + sigma · noise), with gradients for the decoder alone."""
        with torch.no_grad():
            latents = self.autoencoder.encode(x) + self.sigma * noise
        return self.autoencoder.decode(latents)


class DecoderTask:
    """A decoder that maps z + sigma·ε, z the scaled latent of an image, straight to the image: what a flow that
    models noisy latents needs in place of a denoising step."""

    def __init__(self, recipe: DecoderRecipe, name: str = "decoder") -> None:
        self.recipe, self.name = recipe, name
        self._loaded: Autoencoder | None = None

    def start(self) -> Autoencoder:
        """The autoencoder to begin with, read anew.

        Raises UsageError where it is not set or not there."""
        if not self.recipe.objective.start:
            raise UsageError(
                "there is no autoencoder to start from; set --objective.start to a run or model folder, or to "
                "published weights"
            )
        return load_autoencoder(self.recipe.objective.start)

    @cached_property
    def decoding(self) -> NoisyDecoding:
        """The training computation around the autoencoder in use."""
        return NoisyDecoding(self._loaded or self.start(), self.recipe.objective.sigma)

    @property
    def autoencoder(self) -> Autoencoder:
        """The whole autoencoder, frozen encoder included."""
        return self.decoding.autoencoder

    @cached_property
    def splits(self) -> ImageSplits:
        """The images, read on first use and checked against the autoencoder's geometry."""
        return images_for(self.recipe.data, self.autoencoder.config, self.recipe.evaluation)

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """The objective."""
        return Reconstruction(self.recipe.reconstruction, self.recipe.train, self.splits)

    # --- training -----------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The autoencoder with its frozen encoder, and the discriminator if there is one."""
        return {"autoencoder": self.decoding, **self.reconstruction.modules()}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW for the decoder and for the discriminator."""
        return self.reconstruction.optimizers(modules)

    def train_source(self) -> Any:
        """The training images; the perceptual network is read too, so that a wrong one is told before work."""
        _ = self.reconstruction.perceptual
        return self.splits.train

    def validation_source(self) -> Any:
        """The validation images."""
        return self.splits.validation

    def rebuilt(self, modules: Mapping[str, nn.Module], images: Tensor, index: Tensor, draws: Any) -> Tensor:
        """The training computation on images (b, c, h, w), the latents' noise keyed by the sample."""
        shape = self.autoencoder.config.latent_shape(*images.shape[2:])
        rebuilt: Tensor = modules["autoencoder"](images, draws.normal("latent-noise", index, shape))
        return rebuilt

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """The decoder's update, then the discriminator's."""
        objective, index = self.recipe.objective, batch["index"]
        pixels = augmented(batch["image"], index, draws, objective.flip, objective.shift)
        images = to_unit_range(pixels, self.splits.levels)
        yield from self.reconstruction.updates(modules, self.rebuilt(modules, images, index, draws), images, draws.step)

    def validate(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> dict[str, Tensor]:
        """Per image: "loss", the objective without its adversarial term, and its parts; the noise of an image is
        the same in every validation."""
        images = to_unit_range(batch["image"], self.splits.levels)
        terms = self.reconstruction.terms(self.rebuilt(modules, images, batch["index"], draws), images)
        return {"loss": terms.pop("faithful"), **terms}

    def state_dict(self) -> dict[str, Any]:
        """What identifies the perceptual network."""
        return self.reconstruction.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Compare it."""
        self.reconstruction.load_state_dict(state)

    # --- using the trained decoder --------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder of the whole autoencoder, which says the noise that its decoder removes."""
        extra = {"name": self.name, "levels": self.splits.levels, "sigma": self.recipe.objective.sigma}
        hub.save_pretrained(self.autoencoder, folder, extra)

    def load(self, folder: Path | str) -> None:
        """Take the autoencoder of a model folder."""
        self._loaded = hub.from_pretrained(Autoencoder, folder)
        self.__dict__.pop("decoding", None)

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """All metrics on the test split, with the decoder that training began with as a baseline."""
        return evaluation.measure(self._compared(), self.splits, self._sigma, self.recipe.evaluation.fid)

    def figures(self, directory: Path) -> list[Path]:
        """Reconstructions by both decoders: PNG files with captions."""
        return pictures.draw(self._compared(), self.splits, self._sigma, directory)

    @property
    def _sigma(self) -> float:
        return self.recipe.evaluation.sigma or self.recipe.objective.sigma

    def _compared(self) -> dict[str, Autoencoder]:
        device = next(self.autoencoder.parameters()).device
        compared = {self.name: self.autoencoder.eval()}
        if self.recipe.evaluation.baselines:
            try:
                compared["plain decoder"] = self.start().to(device)
            except UsageError as error:
                raise UsageError(
                    f"{error}; it is the baseline, which --evaluation.baselines false leaves out"
                ) from None
        return compared

    @staticmethod
    def describe(recipe: DecoderRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a model on the meta device."""
        config = DecoderTask(recipe).autoencoder.config
        return cost(config, recipe.data, recipe.train, frozen_encoder=True)
