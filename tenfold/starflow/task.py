"""A latent flow as the training loop sees it, and as ``sample``, ``evaluate`` and ``report`` use it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.data.images.inputs import InputSource, read_inputs
from tenfold.errors import UsageError
from tenfold.flows import density
from tenfold.flows.evaluation import normal_noise
from tenfold.flows.loss import negative_log_likelihood
from tenfold.flows.sampling import guidance_of, solver_of
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.flows.task import FlowUse, cost, with_picture, write_samples
from tenfold.hub.fetch import model_folder
from tenfold.hub.folders import read_config, save_pretrained
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.runs.measurement import Measurement
from tenfold.runs.scores import Scores
from tenfold.settings.values import build
from tenfold.starflow import pictures
from tenfold.starflow.config import StarFlowSampling, StarFlowScoring
from tenfold.starflow.data import LatentData, LatentRecords, Latents
from tenfold.starflow.evaluation import condition_of, measure, score
from tenfold.starflow.generator import ImageGenerator
from tenfold.starflow.model import StarFlow
from tenfold.starflow.recipes import StarFlowRecipe
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update


class StarFlowTask(FlowUse[StarFlow, StarFlowRecipe]):
    """A flow on an autoencoder's noisy latents: its data and its objective (arXiv 2506.06276, section 3). The data are
    read, and the weights made, on first use."""

    kind = StarFlow
    validation_draws = 4

    def __init__(self, recipe: StarFlowRecipe, name: str = "starflow") -> None:
        super().__init__(recipe, name)
        self.data = LatentData(recipe.data)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the flow, its decoders and its text encoder to a device, those that are read later too; and the flow's
        weights to a floating type."""
        super().to(device, dtype)
        self.data.to(device)

    @cached_property
    def latents(self) -> Latents:
        """The data, checked against the model's geometry."""
        self.data.check(self.recipe.model)
        return self.data.latents

    # --- training -----------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The flow, with the null text of its data."""
        if self.latents.null_text is not None:
            self.flow.set_null_text(self.latents.null_text)
        return {"flow": self.flow}

    def train_source(self) -> LatentRecords:
        """The training latents."""
        return self.latents.train

    def validation_source(self) -> LatentRecords:
        """The validation latents."""
        return self.latents.validation

    def noisy(self, batch: Mapping[str, Tensor], draws: Draws, purpose: str) -> Float[Tensor, "b l i j"]:
        """Latents of a batch with the training noise, keyed by the sample."""
        latents = batch["latent"]
        return latents + self.recipe.objective.sigma * draws.normal(purpose, batch["index"], tuple(latents.shape[1:]))

    def condition(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor | None:
        """Labels or text vectors of a batch, some of them replaced by "none"."""
        given = condition_of(batch, self.flow)
        if given is None:
            return None
        dropped = draws.uniform("condition-dropout", batch["index"]) < self.recipe.objective.condition_dropout
        if given.ndim == 1:
            return torch.where(dropped, -1, given)
        null = self.flow.null_text.to(given)
        return torch.where(dropped.view(-1, 1, 1), null, given)

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        """One maximum-likelihood update, with the penalty on what enters each block."""
        output = modules["flow"](self.noisy(batch, draws, "noise"), self.condition(batch, draws))
        likelihood = negative_log_likelihood(output.z, output.logdet)
        size = output.sizes.mean(dim=1).sum()
        checks = {f"block {k}": part for k, part in enumerate(output.blocks.detach())}
        metrics = {"nll": likelihood.detach(), "size": size.detach()}
        loss = likelihood + self.recipe.objective.norm_penalty * size
        yield Update("flow", loss, metrics, {**checks, "noise": output.z.detach()})

    def validate(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Float[Tensor, "b"]]:
        """Per latent: "loss", its negative log-likelihood given the condition, in nats per dimension."""
        values = []
        for k in range(self.validation_draws):
            x = self.noisy(batch, draws, f"validation-{k}")
            output = modules["flow"](x, condition_of(batch, self.flow))
            values.append(density.log_prob_of(self.flow, output) / x[0].numel())
        return {"loss": -torch.stack(values).mean(dim=0)}

    # --- using the trained flow ---------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder, with the noise of training and what makes images of its latents, and the calibration
        of the "auto" sampler."""
        data = self.recipe.data
        recipe = {
            "objective": {"sigma": self.recipe.objective.sigma},
            "data": {"autoencoder": data.autoencoder, "decoder": data.decoder, "text": vars(data.text)},
        }
        save_pretrained(self.flow, folder, {"name": self.name, "recipe": recipe})
        if self.recipe.evaluation.calibrate:
            rows = np.flatnonzero(self.latents.validation.groups == self.latents.validation.groups[0])
            batch = self.latents.validation.batch(rows[: self.recipe.evaluation.calibrate])
            latents = batch["latent"]
            x = latents + self.recipe.objective.sigma * normal_noise(tuple(latents.shape), 0)
            self.save_calibration(x, condition_of(batch, self.flow), folder)

    @property
    def generator(self) -> ImageGenerator:
        """The flow with its decoders and text encoder."""
        text = self.data.text_encoder if self.flow.config.text_tokens else None
        if text is not None and not self.flow.has_null_text:  # a published checkpoint has none
            self.flow.set_null_text(text.null())
        data, sigma = self.data, self.recipe.objective.sigma
        return ImageGenerator(self.flow.eval(), data.autoencoder, data.decoder, sigma, text)

    def evaluate(self) -> list[Measurement]:
        """All metrics on the test split."""
        return measure(self.generator, self.data, self.latents, self.recipe.evaluation, self.name)

    def figures(self, directory: Path) -> list[Path]:
        """Samples, decoders side by side, guidance curves: PNG files with captions."""
        return pictures.draw(self.generator, self.latents, self.recipe.evaluation, directory)

    def sample(self, options: StarFlowSampling, folder: Path) -> list[Path]:
        """Write samples as a picture grid, ``samples.npz`` (uint8 and float32 images) and ``samples.json``.

        Raises UsageError, before any work, for options that do not fit the model."""
        if options.num < 1:
            raise UsageError(f"num is {options.num}; ask for at least one sample")
        self._check_condition(options)
        generator, guidance, solver = self.generator, guidance_of(options), solver_of(options)
        given, flow = options.text or options.classes, generator.shaped(options.ratio)

        def draw(rows: Tensor, noise: Tensor) -> tuple[Tensor, SamplingInfo]:
            how: dict[str, Any] = {"decoder": options.decoder, "guidance": guidance, "solver": solver, "noise": noise}
            return generator.draw(len(rows), given, ratio=options.ratio, **how)

        return write_samples(flow, options, self.data.levels, folder, draw)

    def score(self, options: StarFlowScoring, source: InputSource, picture: Path | None = None) -> Scores:
        """log p of the noisy latents of the images in ``source`` (see ``tenfold.data.images.inputs.read_inputs``), and
        the most and least likely images as a picture.

        Raises UsageError, before any work, for options and inputs that do not fit the model."""
        self._check_condition(options)
        autoencoder, channels = self.data.autoencoder.config, self.recipe.model.shape[0]
        if autoencoder.latent_channels != channels:
            raise UsageError(
                f"the autoencoder makes latents of {autoencoder.latent_channels} channels, but the flow reads "
                f"{channels}; give the one that it was trained with"
            )
        size = (side * autoencoder.factor for side in self.recipe.model.shape[1:])
        inputs = read_inputs(source, (autoencoder.channels, *size), self.data.levels, options.key, options.resize)
        found = score(self.generator, inputs, self.data.levels, options, self.name)
        return with_picture(found, inputs, self.data.levels, picture)

    def _check_condition(self, options: StarFlowSampling | StarFlowScoring) -> None:
        """Refuse a condition that the flow does not take, and use the autoencoder that was asked for."""
        config = self.recipe.model
        if options.classes is not None and not config.classes:
            raise UsageError(f"{self.name} has no classes, so no class {options.classes}; leave --class out")
        if options.classes is not None and not 0 <= options.classes < config.classes:
            raise UsageError(f"class {options.classes} is outside [0, {config.classes})")
        if options.text and not config.text_tokens:
            raise UsageError(f"{self.name} takes no text; leave --text out")
        if options.autoencoder:
            settings = replace(self.recipe.data, autoencoder=options.autoencoder, decoder="")
            self.data = LatentData(settings, self.data.device)

    @staticmethod
    def describe(recipe: StarFlowRecipe) -> dict[str, int]:
        """Size and cost of a recipe, from a model on the meta device: parameters, bytes, FLOPs a step."""
        task, model = StarFlowTask(recipe), recipe.model

        def batch(rows: int) -> Batch:
            numbers = torch.zeros(rows, dtype=torch.int64)
            text = torch.zeros(rows, model.text_tokens, model.text_dim)
            return {"latent": torch.zeros(rows, *model.shape), "index": numbers, "label": numbers, "text": text}

        with torch.device("meta"):
            task.flow = StarFlow(model)
            x, text = torch.empty(1, *model.shape), torch.empty(1, model.prefix, model.prefix_dim)
            given = torch.zeros(1, model.classes) if model.classes else text if model.text_tokens else None
            frozen = autoencoder_of(recipe.data.autoencoder)
        return cost(task, task.flow, x, given, batch, recipe.train, frozen)


def autoencoder_of(folder: str) -> list[Autoencoder]:
    """The autoencoder of a model folder, if there is one by now, its weights not read."""
    if not Path(folder).is_dir() or not folder:
        return []
    return [Autoencoder(build(AutoencoderConfig, read_config(model_folder(folder))["config"], folder))]
