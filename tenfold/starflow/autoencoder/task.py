"""Training an autoencoder from scratch, as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tenfold import hub
from tenfold.data.images.augment import augmented
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ImageSplits
from tenfold.errors import UsageError
from tenfold.flows.loss import to_unit_range
from tenfold.nn.autoencoder import Autoencoder, AutoencoderOutput
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.runs.measurement import Measurement
from tenfold.starflow.autoencoder import evaluation, pictures
from tenfold.starflow.autoencoder.config import AutoencoderEvaluation, AutoencoderObjective, ReconstructionConfig
from tenfold.starflow.autoencoder.cost import cost
from tenfold.starflow.autoencoder.data import images_for
from tenfold.starflow.autoencoder.latents import first_images, measured_scale, posterior_moments
from tenfold.starflow.autoencoder.loss import kl_divergence
from tenfold.starflow.autoencoder.reconstruction import Reconstruction
from tenfold.training.task import Update


@runtime_checkable
class AutoencoderRecipe(Protocol):
    """What a recipe must hold; ``train`` has the optimiser's fields and the seed."""

    model: AutoencoderConfig
    data: ImageDataConfig
    reconstruction: ReconstructionConfig
    objective: AutoencoderObjective
    evaluation: AutoencoderEvaluation
    train: Any


class AutoencoderTask:
    """An autoencoder, its images and its objective: faithful reconstructions from draws of the posterior, and a
    penalty on the posterior's distance from N(0, 1)."""

    def __init__(self, recipe: AutoencoderRecipe, name: str = "autoencoder") -> None:
        self.recipe, self.name = recipe, name
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.train.seed)
            self.autoencoder = Autoencoder(recipe.model)

    @cached_property
    def splits(self) -> ImageSplits:
        """The images, read on first use and checked against the model's geometry."""
        return images_for(self.recipe.data, self.recipe.model, self.recipe.evaluation)

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """The terms of the objective that are about images."""
        return Reconstruction(self.recipe.reconstruction, self.recipe.train, self.splits)

    # --- training -----------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The autoencoder, and the discriminator if there is one."""
        return {"autoencoder": self.autoencoder, **self.reconstruction.modules()}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW for each module."""
        return self.reconstruction.optimizers(modules)

    def train_source(self) -> Any:
        """The training images; the perceptual network is read too, so that a wrong one is told before work."""
        _ = self.reconstruction.perceptual
        return self.splits.train

    def validation_source(self) -> Any:
        """The validation images."""
        return self.splits.validation

    def rebuilt(self, modules: Mapping[str, nn.Module], images: Tensor, index: Tensor, draws: Any) -> AutoencoderOutput:
        """The training computation on images (b, c, h, w), the posterior's noise keyed by the sample."""
        shape = self.recipe.model.latent_shape(*images.shape[2:])
        output: AutoencoderOutput = modules["autoencoder"](images, draws.normal("posterior", index, shape))
        return output

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """The autoencoder's update, then the discriminator's."""
        objective, index = self.recipe.objective, batch["index"]
        pixels = augmented(batch["image"], index, draws, objective.flip, objective.shift)
        images = to_unit_range(pixels, self.splits.levels)
        output = self.rebuilt(modules, images, index, draws)
        kl = kl_divergence(output.mean, output.log_variance).mean() / output.mean[0].numel()
        mean = output.mean.detach()
        yield from self.reconstruction.updates(
            modules,
            output.reconstruction,
            images,
            draws.step,
            objective.kl_weight * kl,
            {"kl": kl.detach(), "latent_std": mean.float().std(correction=0)},
            {"the latent": mean},
        )

    def validate(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> dict[str, Tensor]:
        """Per image: "loss", the objective without its adversarial term (which moves), and its parts."""
        images = to_unit_range(batch["image"], self.splits.levels)
        output = self.rebuilt(modules, images, batch["index"], draws)
        terms = self.reconstruction.terms(output.reconstruction, images)
        kl = kl_divergence(output.mean, output.log_variance) / output.mean[0].numel()
        loss = terms.pop("faithful") + self.recipe.objective.kl_weight * kl
        return {"loss": loss, "kl": kl, **terms}

    def state_dict(self) -> dict[str, Any]:
        """What identifies the perceptual network."""
        return self.reconstruction.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Compare it."""
        self.reconstruction.load_state_dict(state)

    # --- using the trained autoencoder ----------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder, with the scale of the latents as measured on training images."""
        images = first_images(self.splits.train, self.recipe.objective.scale_images)
        mean, _ = posterior_moments(self.autoencoder, images, self.splits.levels)
        self.autoencoder.config = measured_scale(mean, self.autoencoder.config)
        hub.save_pretrained(self.autoencoder, folder, {"name": self.name, "levels": self.splits.levels})

    def load(self, folder: Path | str) -> None:
        """Take weights and latent scale of a model folder; raises UsageError where its geometry differs."""
        autoencoder = hub.from_pretrained(Autoencoder, folder)
        if not same_geometry(autoencoder.config, self.recipe.model):
            raise UsageError(
                f"{folder} holds an autoencoder with {autoencoder.config}, but this run's is {self.recipe.model}"
            )
        self.autoencoder = autoencoder

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """All metrics on the test split."""
        options, named = self.recipe.evaluation, {self.name: self.autoencoder.eval()}
        return evaluation.measure(named, self.splits, options.sigma, options.fid)

    def figures(self, directory: Path) -> list[Path]:
        """Reconstructions and latent values: PNG files with captions."""
        named = {self.name: self.autoencoder.eval()}
        return pictures.draw(named, self.splits, self.recipe.evaluation.sigma, directory)

    @staticmethod
    def describe(recipe: AutoencoderRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a model on the meta device."""
        return cost(recipe.model, recipe.data, recipe.train)


def same_geometry(a: AutoencoderConfig, b: AutoencoderConfig) -> bool:
    """Whether two configurations differ at most in the scale of the latents."""
    return replace(a, scale_factor=1.0, shift_factor=0.0) == replace(b, scale_factor=1.0, shift_factor=0.0)
