"""TarFlow as the training loop sees it, and as ``sample``, ``evaluate`` and ``report`` use it."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.data.images.augment import augmented
from tenfold.data.images.inputs import InputSource, read_inputs
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.data.load import load_images
from tenfold.errors import UsageError
from tenfold.flows import density
from tenfold.flows.density import Denoising
from tenfold.flows.loss import dequantise, discrete_log_prob, negative_log_likelihood, to_unit_range
from tenfold.flows.sampling import draw_samples, guidance_of, solver_of
from tenfold.flows.solvers.info import SamplingInfo
from tenfold.flows.task import FlowUse, cost, with_picture, write_samples
from tenfold.hub.folders import save_pretrained
from tenfold.runs.measurement import Measurement
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.scores import Scores
from tenfold.tarflow import pictures
from tenfold.tarflow.config import FlowSampling, FlowScoring
from tenfold.tarflow.evaluation import measure, noised, refuse_impossible, sampled_losses, score
from tenfold.tarflow.model import TarFlow
from tenfold.tarflow.recipes import TarFlowRecipe
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, MapSource, StreamSource, Update


class FlowTask(FlowUse[TarFlow, TarFlowRecipe]):
    """A flow, its data and its objective; the data are read, and the weights made, on first use."""

    kind = TarFlow
    validation_draws = 8

    def __init__(self, recipe: TarFlowRecipe, name: str = "tarflow") -> None:
        super().__init__(recipe, name)
        self.levels = recipe.data.levels

    @cached_property
    def splits(self) -> ImageSplits:
        """The data, checked against the model's geometry."""
        splits, model = load_images(self.recipe.data), self.recipe.model
        if tuple(splits.shape) != model.shape:
            raise UsageError(
                f"the images are {tuple(splits.shape)} (channels, height, width), but the model expects "
                f"{model.shape}; set --model.shape, or --data.height, --data.width and --data.channels"
            )
        if model.classes and model.classes != splits.classes:
            raise UsageError(
                f"the data have {splits.classes} classes, but the model has {model.classes}; set --model.classes"
            )
        return splits

    # --- training -----------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The flow."""
        return {"flow": self.flow}

    def train_source(self) -> MapSource | StreamSource:
        """The training images."""
        return self.splits.train

    def validation_source(self) -> MapSource | None:
        """The validation images; None where there are none, so that the last checkpoint is kept."""
        return self.splits.validation if len(self.splits.validation) else None

    def inputs(self, batch: Mapping[str, Tensor], draws: Draws, purpose: str) -> Float[Tensor, "b *shape"]:
        """Images of a batch as the flow reads them: dequantised, or on [−1, 1] with Gaussian noise."""
        pixels, index, objective = batch["image"], batch["index"], self.recipe.objective
        shape = tuple(pixels.shape[1:])
        if objective.noise == "uniform":
            return dequantise(pixels, self.levels, draws.uniform(purpose, index, shape))
        return to_unit_range(pixels, self.levels) + objective.sigma * draws.normal(purpose, index, shape)

    def augmented(self, batch: Mapping[str, Tensor], draws: Draws) -> Mapping[str, Tensor]:
        """The batch with mirrored and shifted images, as far as the objective asks for it."""
        objective = self.recipe.objective
        images = augmented(batch["image"], batch["index"], draws, objective.flip, objective.shift)
        return {**batch, "image": images}

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        """One maximum-likelihood update."""
        batch = self.augmented(batch, draws)
        x = self.inputs(batch, draws, "noise")
        labels = None
        if self.recipe.model.classes:
            dropped = draws.uniform("label-dropout", batch["index"]) < self.recipe.objective.label_dropout
            labels = torch.where(dropped, -1, batch["label"])
        output = modules["flow"](x, labels)
        loss = negative_log_likelihood(output.z, output.logdet)
        checks = {f"block {k}": part for k, part in enumerate(output.blocks.detach())}
        yield Update("flow", loss, {"logdet": output.logdet.detach().mean()}, {**checks, "noise": output.z.detach()})
        if self.recipe.model.volume_preserving:
            self.flow.update_prior(output.z)

    def validate(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Float[Tensor, "b"]]:
        """Per image: "loss", the training objective under the flow's own prior, in nats per dimension, and for
        uniform noise "bits_per_dim"."""
        values = []
        for k in range(self.validation_draws):
            x = self.inputs(batch, draws, f"validation-{k}")
            output = modules["flow"](x, batch["label"] if self.recipe.model.classes else None)
            values.append(density.log_prob_of(self.flow, output))
        dims = self.recipe.model.dimensions
        log_prob = torch.stack(values).mean(dim=0)
        result = {"loss": -log_prob / dims - density.HALF_LOG_2PI}
        if self.recipe.objective.noise == "uniform":
            result["bits_per_dim"] = -discrete_log_prob(log_prob, dims, self.levels) / (dims * math.log(2.0))
        return result

    # --- using the trained flow ---------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder, with what sampling needs to know of data and noise."""
        objective = {"noise": self.recipe.objective.noise, "sigma": self.recipe.objective.sigma}
        recipe = {"objective": objective, "data": {"levels": self.levels}}
        save_pretrained(self.flow, folder, {"name": self.name, "recipe": recipe})
        if count := min(self.recipe.evaluation.calibrate, len(self.splits.validation)):
            batch = self.splits.validation.batch(np.arange(count))
            x = noised(batch["image"], self.recipe.objective, self.levels)
            self.save_calibration(x, batch["label"] if self.recipe.model.classes else None, folder)

    def check_evaluation(self) -> None:
        """Raise UsageError for what ``evaluate`` would refuse."""
        refuse_impossible(self.splits, self.recipe.objective, self.recipe.evaluation)

    def evaluate(self) -> list[Measurement]:
        """All metrics on the test split; a baseline that is trained sees as many images as the flow."""
        self.flow.eval()
        recipe = self.recipe
        images = recipe.train.steps * recipe.train.batch_size
        return measure(self.flow, self.splits, recipe.objective, recipe.evaluation, self.name, images)

    def figures(self, directory: Path) -> list[Path]:
        """Samples, per-token maps, outliers, denoising: PNG files with captions."""
        self.flow.eval()
        return pictures.draw(self.flow, self.splits, self.recipe.objective, self.recipe.evaluation, directory)

    def sample(self, options: FlowSampling, folder: Path) -> list[Path]:
        """Write samples as a picture grid, ``samples.npz`` (uint8 or float32 images) and ``samples.json``.

        Raises UsageError, before any work, for options that do not fit the model."""
        objective = self.recipe.objective
        if options.num < 1:
            raise UsageError(f"num is {options.num}; ask for at least one sample")
        if options.denoise and objective.noise != "gaussian":
            raise UsageError(
                f"{self.name} was trained without Gaussian noise, so there is nothing to denoise; leave --denoise out"
            )
        self._check_class(options.classes)
        flow, guidance, solver = self.flow.eval(), guidance_of(options), solver_of(options)
        denoising = Denoising(objective.sigma, options.denoise_rate) if options.denoise else None

        def draw(rows: Tensor, noise: Tensor) -> tuple[Tensor, SamplingInfo]:
            return draw_samples(
                flow, len(rows), options.classes, guidance=guidance, solver=solver, denoising=denoising, noise=noise
            )

        return write_samples(flow, options, self.levels, folder, draw)

    def score(self, options: FlowScoring, source: InputSource, picture: Path | None = None) -> Scores:
        """log p of the images or vectors in ``source`` (see ``tenfold.data.images.inputs.read_inputs``), and the most
        and least likely images as a picture.

        Raises UsageError, before any work, for options and inputs that do not fit the model."""
        self._check_class(options.classes)
        config = self.recipe.model
        inputs = read_inputs(source, config.shape, self.levels, options.key, options.resize)
        found = score(self.flow.eval(), inputs, self.recipe.objective, self.levels, options, self.name)
        return with_picture(found, inputs, self.levels, picture if config.is_image else None)

    def sampled_losses(self, images: int = 16) -> list[SampledLoss]:
        """The likelihood of test ``images`` as a function of their dequantisation noise.

        Raises UsageError for a flow that was not trained with uniform noise."""
        if self.recipe.objective.noise != "uniform":
            raise UsageError(
                f"{self.name} is no flow with uniform dequantisation; train one with 'tenfold train tarflow-digits'"
            )
        return sampled_losses(self.flow.eval(), read_all(self.splits.test, images)[0], self.levels)

    def _check_class(self, label: int | None) -> None:
        classes = self.recipe.model.classes
        if label is not None and not classes:
            raise UsageError(f"{self.name} is unconditional and has no class {label}; leave --class out")
        if label is not None and not 0 <= label < classes:
            raise UsageError(f"class {label} is outside [0, {classes})")

    @staticmethod
    def describe(recipe: TarFlowRecipe) -> dict[str, int]:
        """Size and cost of a recipe, from a model on the meta device: parameters, bytes, FLOPs a step."""
        task = FlowTask(recipe)

        def batch(rows: int) -> Batch:
            numbers = torch.zeros(rows, dtype=torch.int64)
            images = torch.zeros(rows, *recipe.model.shape, dtype=torch.uint8)
            return {"image": images, "label": numbers, "index": numbers}

        with torch.device("meta"):
            task.flow = TarFlow(recipe.model)
            x, wide = torch.empty(1, *recipe.model.shape), recipe.model.classes or recipe.model.context
            given = torch.zeros(1, wide) if wide else None
        return cost(task, task.flow, x, given, batch, recipe.train)
