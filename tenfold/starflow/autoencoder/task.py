"""An autoencoder, or its decoder alone, as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.images.augment import augmented
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.splits import ArrayImages, ImageSplits
from tenfold.data.load import load_images
from tenfold.errors import UsageError
from tenfold.flows.loss import to_unit_range
from tenfold.nn.autoencoder import Autoencoder, AutoencoderOutput
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.nn.cost import traced
from tenfold.runs.measurement import Measurement
from tenfold.starflow.autoencoder import evaluation
from tenfold.starflow.autoencoder.computation import DecoderAlone, Whole
from tenfold.starflow.autoencoder.config import AutoencoderEvaluation
from tenfold.starflow.autoencoder.latents import first_images
from tenfold.starflow.autoencoder.loss import kl_divergence
from tenfold.starflow.autoencoder.recipes import AutoencoderRecipe, DecoderRecipe
from tenfold.starflow.autoencoder.reconstruction import Reconstruction
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, MapSource, StreamSource, Update


class AutoencoderTask:
    """An autoencoder, its images and its objective: faithful reconstructions. What the recipe says is trained (see
    ``tenfold.starflow.autoencoder.computation``): all of it, or the decoder alone."""

    def __init__(self, recipe: AutoencoderRecipe | DecoderRecipe, name: str = "") -> None:
        self.recipe, self.name = recipe, name or recipe.system
        self.computation = Whole(recipe) if isinstance(recipe, AutoencoderRecipe) else DecoderAlone(recipe)
        self.device = torch.device("cpu")
        self.dtype: torch.dtype | None = None

    @cached_property
    def autoencoder(self) -> Autoencoder:
        """The whole autoencoder, as training begins with it until other weights are loaded or trained."""
        return self.computation.begin().to(self.device, self.dtype)

    @cached_property
    def decoding(self) -> nn.Module:
        """The training computation around the autoencoder in use."""
        return self.computation.around(self.autoencoder)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the autoencoder and what its training compares with to a device, what is read later too; and the
        autoencoder's weights to a floating type."""
        self.device, self.dtype = torch.device(device), dtype
        if "autoencoder" in self.__dict__:
            self.autoencoder.to(self.device, dtype)
        if "reconstruction" in self.__dict__:
            self.reconstruction.to(self.device)

    @cached_property
    def splits(self) -> ImageSplits:
        """The images, read on first use and checked against the autoencoder's geometry."""
        return images_for(self.recipe.data, self.autoencoder.config, self.recipe.evaluation)

    @cached_property
    def reconstruction(self) -> Reconstruction:
        """The terms of the objective that are about images."""
        return Reconstruction(self.recipe.reconstruction, self.recipe.train, self.splits, self.device)

    # --- training -----------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The training computation, frozen encoder included, and the discriminator if there is one."""
        return {"autoencoder": self.decoding, **self.reconstruction.modules()}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW for what is trained of each module."""
        return self.reconstruction.optimizers(modules)

    def train_source(self) -> MapSource | StreamSource:
        """The training images; the perceptual network is read too, so that a wrong one is told before work."""
        _ = self.reconstruction.perceptual
        return self.splits.train

    def validation_source(self) -> MapSource:
        """The validation images."""
        return self.splits.validation

    def rebuilt(
        self,
        modules: Mapping[str, nn.Module],
        images: Float[Tensor, "b c h w"],
        index: Int[Tensor, "b"],
        draws: Draws,
    ) -> AutoencoderOutput | Float[Tensor, "b c h w"]:
        """The training computation on images, the latents' noise keyed by the sample; with the posterior where that is
        trained too."""
        shape = self.autoencoder.config.latent_shape(*images.shape[2:])
        output: AutoencoderOutput | Tensor = modules["autoencoder"](
            images, draws.normal(self.computation.noise, index, shape)
        )
        return output

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        """The autoencoder's update, then the discriminator's."""
        objective, index = self.recipe.objective, batch["index"]
        pixels = augmented(batch["image"], index, draws, objective.flip, objective.shift)
        images = to_unit_range(pixels, self.splits.levels)
        output = self.rebuilt(modules, images, index, draws)
        if isinstance(output, Tensor):
            yield from self.reconstruction.updates(modules, output, images, draws.step)
            return
        kl = kl_divergence(output.mean, output.log_variance).mean() / output.mean[0].numel()
        mean = output.mean.detach()
        yield from self.reconstruction.updates(
            modules,
            output.reconstruction,
            images,
            draws.step,
            self.computation.kl_weight * kl,
            {"kl": kl.detach(), "latent_std": mean.float().std(correction=0)},
            {"the latent": mean},
        )

    def validate(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Float[Tensor, "b"]]:
        """Per image: "loss", the objective without its adversarial term (which moves), and its parts; the noise of an
        image is the same in every validation."""
        images = to_unit_range(batch["image"], self.splits.levels)
        output = self.rebuilt(modules, images, batch["index"], draws)
        if isinstance(output, Tensor):
            terms = self.reconstruction.terms(output, images)
            return {"loss": terms.pop("faithful"), **terms}
        terms = self.reconstruction.terms(output.reconstruction, images)
        kl = kl_divergence(output.mean, output.log_variance) / output.mean[0].numel()
        return {"loss": terms.pop("faithful") + self.computation.kl_weight * kl, "kl": kl, **terms}

    def state_dict(self) -> dict[str, Any]:
        """What identifies the perceptual network."""
        return self.reconstruction.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Compare it."""
        self.reconstruction.load_state_dict(state)

    # --- using the trained autoencoder ----------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder, with the scale of the latents, or the noise that the decoder removes."""
        levels = self.splits.levels
        extra = self.computation.finish(self.autoencoder, lambda count: first_images(self.splits.train, count), levels)
        self.autoencoder.save_pretrained(folder, {"name": self.name, "levels": levels, **extra})

    def load(self, folder: Path | str) -> None:
        """Take weights and latent scale of a model folder; raises UsageError where its geometry differs."""
        autoencoder = Autoencoder.from_pretrained(folder)
        self.computation.check(autoencoder, folder)
        self.autoencoder = autoencoder.to(self.device, self.dtype)
        self.__dict__.pop("decoding", None)

    def evaluate(self) -> list[Measurement]:
        """All metrics on the test split, of a decoder with that which training began with as a baseline."""
        return evaluation.measure(self._compared(), self.splits, self.computation.sigma, self.recipe.evaluation.fid)

    def figures(self, directory: Path) -> list[Path]:
        """Reconstructions and latent values: PNG files with captions."""
        return evaluation.draw(self._compared(), self.splits, self.computation.sigma, directory)

    def _compared(self) -> dict[str, Autoencoder]:
        compared = {self.name: self.autoencoder.eval()}
        if (plain := self.computation.baseline()) is not None:
            compared["plain decoder"] = plain.to(next(self.autoencoder.parameters()))
        return compared

    @staticmethod
    def describe(recipe: AutoencoderRecipe | DecoderRecipe) -> dict[str, int]:
        """Size and cost of a recipe in training, from networks on the meta device: parameters, bytes (see
        ``tenfold.training.rehearsal``) and floating-point operations of a global batch.

        FLOPs: a forward pass three times (backward costs twice as much), of the decoder alone where the encoder is
        frozen; without what a discriminator and a perceptual network add. Raises UsageError for images whose size the
        settings do not tell."""
        task, data, train = AutoencoderTask(recipe), recipe.data, recipe.train
        config, frozen = task.computation.geometry, task.computation.frozen_encoder
        shape = (config.channels, *_sides(data))
        latent = config.latent_shape(*shape[1:])
        empty = ArrayImages(torch.zeros(0, *shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64))

        def batch(rows: int) -> Batch:
            return {"image": torch.zeros(rows, *shape, dtype=torch.uint8), "index": torch.zeros(rows).long()}

        with torch.device("meta"):
            model = task.autoencoder = Autoencoder(config)
            x, z = torch.empty(1, *shape), torch.empty(1, *latent)
            task.splits = ImageSplits(empty, empty, empty, 10, (), shape, data.levels, "")
            task.reconstruction = Reconstruction(recipe.reconstruction, train, task.splits, "meta")
            compared = task.reconstruction.rehearse()
            modules = task.modules()
        with torch.no_grad():
            encoding, _ = traced(lambda: model.posterior(x))
        forward, _ = traced((lambda: model.decode(z)) if frozen else (lambda: model(x, z)))
        own = list(task.decoding.parameters())
        return {
            "parameters": sum(p.numel() for p in own),
            "trained_parameters": sum(p.numel() for p in own if p.requires_grad),
            "flops_per_step": train.batch_size * (3 * forward + (encoding if frozen else 0)),
            **rehearsed(task, modules, batch, train, compared),
            "latent_channels": latent[0],
            "latent_height": latent[1],
            "latent_width": latent[2],
            "batch_size": train.batch_size,
        }


def _sides(data: ImageDataConfig) -> tuple[int, int]:
    if data.height:
        return data.height, data.width
    known = {"digits": (8, 8), "mnist5k": (28, 28)}
    if data.source not in known:
        raise UsageError("the size of the images is not known before they are read; set --data.height and --data.width")
    return known[data.source]


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
