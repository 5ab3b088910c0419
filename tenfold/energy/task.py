"""Denoisers and energies as the training loop and the verbs see them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.images.inputs import InputSource
from tenfold.energy import loss
from tenfold.energy.config import DenoisingConfig
from tenfold.energy.evaluation.compositions import Judged, composition_rows, runs_of
from tenfold.energy.evaluation.cooling import cooling_rows
from tenfold.energy.evaluation.measure import TEACHER, measure
from tenfold.energy.evaluation.pictures import draw
from tenfold.energy.evaluation.scoring import score
from tenfold.energy.foreign.teachers import read_teacher
from tenfold.energy.heads import inner
from tenfold.energy.model import DenoisingModel, EnergyAndDenoised, EnergyModel, Preconditioned, spread
from tenfold.energy.options import EnergyObjective, EnergySampling, EnergyScoring
from tenfold.energy.recipes import DenoisingRecipe, EnergyRecipe
from tenfold.energy.sampling import keep_normalisers, write_samples
from tenfold.energy.stability import GradientWatch
from tenfold.energy.worlds.particles import Boltzmann
from tenfold.energy.worlds.read import read_world
from tenfold.energy.worlds.rows import SampleWorld
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.nn.cost import traced
from tenfold.runs.measurement import Measurement
from tenfold.runs.scores import Scores
from tenfold.settings.changes import as_dict
from tenfold.training.optimizers import adamw
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, MapSource, Update

AnyModel = TypeVar("AnyModel", bound=Preconditioned)
AnyRecipe = TypeVar("AnyRecipe", DenoisingRecipe, EnergyRecipe)
VALIDATION_DRAWS = 4
_COUNTED = 64


class SamplesWithNoise:
    """A batch with noise: clean and noisy samples, noise levels, labels with some left out."""

    def __init__(self, recipe: DenoisingRecipe | EnergyRecipe, batch: Batch, draws: Draws, purpose: str = "") -> None:
        objective, model, index = recipe.objective, recipe.model, batch["index"]
        self.clean = batch["x"]
        normal = draws.normal(f"{purpose}level", index)
        mean, std = objective.level_mean, objective.level_std
        self.sigma = loss.noise_levels(normal, mean, std, model.sigma_min, model.sigma_max)
        noise = draws.normal(f"{purpose}noise", index, tuple(self.clean.shape[1:]))
        self.noisy = self.clean + self.sigma.view(-1, *[1] * (noise.ndim - 1)) * noise
        self.label: Tensor | None = None
        if model.classes:
            dropped = draws.uniform(f"{purpose}label-dropout", index) < objective.label_dropout
            self.label = torch.where(dropped, -1, batch["label"])


class LearningTask(Generic[AnyModel, AnyRecipe]):
    """What the two tasks do alike; data are read, and weights made, on first use."""

    kind: ClassVar[type[Preconditioned]]

    def __init__(self, recipe: AnyRecipe, name: str) -> None:
        self.recipe: AnyRecipe = recipe
        self.name = name
        self.device, self.dtype = torch.device("cpu"), cast(torch.dtype | None, None)
        self.watch = GradientWatch()

    @cached_property
    def world(self) -> SampleWorld:
        """The samples."""
        return read_world(self.recipe.data, self.recipe.model)

    @cached_property
    def model(self) -> AnyModel:
        """The network: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            made: Any = self.kind(self.recipe.model)
            return cast(AnyModel, made.to(self.device, self.dtype))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the model, and what is read later too, to a device, and its weights to a floating type."""
        self.device, self.dtype = torch.device(device), dtype
        if "model" in self.__dict__:
            self.model.to(self.device, dtype)

    def modules(self) -> dict[str, nn.Module]:
        """The model."""
        return {"model": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW over all parameters."""
        return {"model": adamw(modules["model"].parameters(), self.recipe.train)}

    def train_source(self) -> MapSource:
        """The training samples."""
        return self.world.train

    def validation_source(self) -> MapSource | None:
        """The validation samples; None where there are none, so that the last checkpoint is kept."""
        return self.world.validation if len(self.world.validation) else None

    def watch_gradient(self, norm: Tensor) -> None:
        """End the training where gradients explode and stay so."""
        self.watch(norm)

    def state_dict(self) -> dict[str, Any]:
        """The gradient norms that the running median is of."""
        return self.watch.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""
        self.watch.load_state_dict(state)

    def noised(self, batch: Batch, draws: Draws, purpose: str = "") -> SamplesWithNoise:
        """The batch with noise."""
        return SamplesWithNoise(self.recipe, batch, draws, purpose)

    def by_level(self, values: Float[Tensor, " n"], sigma: Float[Tensor, " n"]) -> dict[str, Tensor]:
        """The loss at five ranges of noise levels."""
        objective = self.recipe.objective
        return loss.by_level(values.detach(), sigma, objective.level_mean, objective.level_std)

    @staticmethod
    def denoised_by(
        module: nn.Module, x: Tensor, sigma: Tensor, label: Int[Tensor, " n"] | None
    ) -> Float[Tensor, "n *shape"]:
        """D(x, σ) by a model that training may have wrapped."""
        found = module(x, sigma, label)
        denoised: Tensor = found.denoised if isinstance(found, EnergyAndDenoised) else found
        return denoised

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Float[Tensor, " n"]]:
        """Per sample: "loss", denoising score matching with several draws of noise, whatever the model is trained
        by, so that teachers and energies compare."""
        total = torch.zeros(len(batch["x"]), device=batch["x"].device)
        for k in range(VALIDATION_DRAWS):
            seen = self.noised(batch, draws, f"validation-{k}-")
            label = batch["label"] if self.recipe.model.classes else None
            found = self.denoised_by(modules["model"], seen.noisy, seen.sigma, label)
            total += loss.error(found, seen.clean, seen.sigma, self.recipe.model.data_scale)
        return {"loss": total / VALIDATION_DRAWS}

    def export(self, folder: Path) -> None:
        """Write the model folder, with what scoring and sampling need to know of the data."""
        recipe = {"data": as_dict(self.recipe.data)}
        self.model.save_pretrained(folder, {"name": self.name, "recipe": recipe})

    def load(self, folder: Path | str) -> None:
        """Take the weights of a model folder. Raises UsageError where κ, σ_d, the convention of the noise, or anything
        else of the model is not this run's."""
        model: Any = self.kind.from_pretrained(folder)
        for name, own in vars(self.recipe.model).items():
            if (other := getattr(model.config, name)) != own:
                raise UsageError(f"{folder} holds a model of {name} {other}, but this run's is {own}")
        self.model = model.to(self.device, self.dtype)

    def compared(self) -> dict[str, Any]:
        """The models that are measured side by side, this one first."""
        return {self.name: self.model.eval()}

    def evaluate(self) -> list[Measurement]:
        """What denoisers and energies are measured by, on the test split."""
        return measure(self.compared(), self.world, self.recipe.evaluation, self.device)

    @property
    def compositions(self) -> dict[str, Judged]:
        """Targets of the model's classes; a denoiser has no weights for them."""
        return {}

    def figures(self, directory: Path) -> list[Path]:
        """What the models make of noise, and what they say: PNG files with captions."""
        return draw(self.compared(), self.compositions, self.world, self.recipe.evaluation, directory, self.device)

    def sample(self, options: EnergySampling, folder: Path) -> list[Path]:
        """Particles of the model, or of a target of its classes: see ``sampling.write_samples``."""
        return write_samples(self.model.eval(), options, self.recipe.data.images.levels, folder)

    @classmethod
    def passes(cls, recipe: AnyRecipe) -> int:
        """What a step costs, in forward passes of the network."""
        return 3

    def rehearse(self) -> list[nn.Module]:
        """Networks that a step uses besides the model, on the meta device (``tenfold.training.rehearsal``)."""
        return []

    @classmethod
    def describe(cls, recipe: AnyRecipe) -> dict[str, Any]:
        """Size and cost of a recipe in training, from networks on the meta device: parameters, bytes (see
        ``tenfold.training.rehearsal``) and floating-point operations.

        A denoiser's step takes three forward passes of the network. An energy's takes six: forward and backward for
        the gradient, and twice as much to go back through both; on each node of a path. The teacher's is one more."""
        task: Any = cls(recipe)  # type: ignore[call-arg]
        train, config = recipe.train, recipe.model

        def batch(rows: int) -> Batch:
            label, index = torch.zeros(2, rows, dtype=torch.int64).unbind(0)
            return {"x": torch.zeros(rows, *config.shape), "label": label, "index": index}

        with torch.device("meta"):
            model: Any = cls.kind(config)
            task.model = model.train()
            frozen = task.rehearse()
            label = torch.zeros(1, dtype=torch.int64) if config.classes else None
            flops, _ = traced(lambda: model.network(torch.zeros(1, *config.shape), torch.ones(1), label))
        return {
            "parameters": sum(p.numel() for p in model.parameters()),
            "flops_per_step": cls.passes(recipe) * flops * train.batch_size,
            **rehearsed(task, task.modules(), batch, train, frozen, few=_COUNTED),
            "dimensions": config.dimensions,
            "batch_size": train.batch_size,
        }


class _Nothing:
    """A density of samples that is 0 everywhere, where none is read."""

    data_scale, normalised = 1.0, True

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def score(self, x: Tensor, sigma: Tensor) -> Float[Tensor, "n *shape"]:
        """0."""
        return torch.zeros_like(x)

    def log_density(self, x: Tensor, sigma: Tensor) -> Float[Tensor, " n"]:
        """0."""
        return x.new_zeros(len(x))

    def log_density_and_score(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.log_density(x, sigma), self.score(x, sigma)


class DenoisingTask(LearningTask[DenoisingModel, DenoisingRecipe]):
    """Training of a denoiser by denoising score matching (arXiv 2206.00364)."""

    kind = DenoisingModel

    def __init__(self, recipe: DenoisingRecipe, name: str = "energy-denoiser") -> None:
        super().__init__(recipe, name)

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update on E λ |D(x_0 + σ n, σ) − x_0|²."""
        seen = self.noised(batch, draws)
        found = modules["model"](seen.noisy, seen.sigma, seen.label)
        values = loss.error(found, seen.clean, seen.sigma, self.recipe.model.data_scale)
        yield Update("model", values.mean(), self.by_level(values, seen.sigma), {"denoised": found.detach()})


class EnergyTask(LearningTask[EnergyModel, EnergyRecipe]):
    """Training of an energy: distilled from a denoiser, or from data, or both (arXiv 2502.12786)."""

    kind = EnergyModel

    def __init__(self, recipe: EnergyRecipe, name: str = "energy") -> None:
        super().__init__(recipe, name)

    @classmethod
    def passes(cls, recipe: EnergyRecipe) -> int:
        """What a step costs, in forward passes of the network."""
        nodes = recipe.model.nodes if recipe.model.head == "path" else 1
        distilled = recipe.objective.distillation > 0
        return 6 * nodes * (2 if recipe.objective.evolution else 1) + distilled * (
            4 if recipe.objective.evolution else 1
        )

    @cached_property
    def teacher(self) -> DenoisingModel:
        """The denoiser that is distilled, in evaluation mode and without gradients.

        Raises UsageError where none is named, or where it is of other data."""
        objective, model = self.recipe.objective, self.recipe.model
        if not objective.teacher:
            raise UsageError(
                "an energy learns from a denoiser; name its run with --objective.teacher, or learn from data alone "
                "with --objective.distillation 0 --objective.denoising 1 --objective.start false"
            )
        teacher = read_teacher(objective.teacher)
        if tuple(teacher.shape) != model.shape:
            raise UsageError(f"the teacher's samples have shape {tuple(teacher.shape)}, the energy's {model.shape}")
        teacher.requires_grad_(False)
        return teacher.to(self.device).eval()

    @cached_property
    def model(self) -> EnergyModel:
        """The energy: fresh, or what ``load`` read."""
        return self.fresh().to(self.device, self.dtype)

    def fresh(self) -> EnergyModel:
        """The energy before its training: from the teacher's network where the objective says so."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            made = EnergyModel(self.recipe.model)
        if self.recipe.objective.start:
            made.start_from(self.teacher)
        return made

    def rehearse(self) -> list[nn.Module]:
        """A teacher of the model's own network, and a density that is nothing."""
        recipe, self.known = self.recipe, _Nothing(self.recipe.model.shape)
        if not recipe.objective.distillation:
            return []
        same = {f.name: getattr(recipe.model, f.name) for f in fields(DenoisingConfig)}
        self.teacher = DenoisingModel(DenoisingConfig(**same)).requires_grad_(False)
        return [self.teacher]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the model and the teacher."""
        super().to(device, dtype)
        if "teacher" in self.__dict__:
            self.teacher.to(self.device)

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update on the weighted sum of the objective's losses; the teacher is asked once a batch."""
        objective: EnergyObjective = self.recipe.objective
        data_scale, seen = self.recipe.model.data_scale, self.noised(batch, draws)
        denoised = modules["model"](seen.noisy, seen.sigma, seen.label).denoised
        values, metrics = torch.zeros_like(seen.sigma), {}
        if objective.distillation:
            with torch.no_grad():
                wanted = self.teacher.to(seen.noisy.device)(seen.noisy, seen.sigma, seen.label)
            part = loss.error(denoised, wanted, seen.sigma, data_scale)
            values, metrics["distillation"] = values + objective.distillation * part, part.detach().mean()
        if objective.denoising:
            part = loss.error(denoised, seen.clean, seen.sigma, data_scale)
            values, metrics["denoising"] = values + objective.denoising * part, part.detach().mean()
        if objective.target_score:
            known = self.known.score(seen.clean, self._least(seen.clean))
            part = loss.error(denoised, loss.target_denoiser(seen.noisy, known, seen.sigma), seen.sigma, data_scale)
            part = torch.where(seen.sigma <= objective.target_score_below * data_scale, part, 0.0)
            values, metrics["target_score"] = values + objective.target_score * part, part.detach().mean()
        if objective.pinning:
            part = self._pinned(modules["model"], seen, draws, batch["index"])
            values, metrics["pinning"] = values + objective.pinning * part, part.detach().mean()
        if objective.evolution:
            part = self._evolved(modules["model"], seen, draws, batch["index"])
            values, metrics["evolution"] = values + objective.evolution * part, part.detach().mean()
        metrics |= self.by_level(values, seen.sigma)
        yield Update("model", values.mean(), metrics, {"denoised": denoised.detach()})

    def export(self, folder: Path) -> None:
        """Write the model folder, with log Z of the classes where the recipe asks for it."""
        model, particles = self.model, self.recipe.evaluation.calibrate
        if particles:
            keep_normalisers(model.eval(), particles, 2 * self.recipe.evaluation.steps, range(-1, model.config.classes))
        super().export(folder)

    def evaluate(self) -> list[Measurement]:
        """What energies are measured by beside their teachers; compositions of classes."""
        options, before = self.recipe.evaluation, {}
        if self.recipe.objective.teacher and self.recipe.objective.start:
            before["before training"] = self.fresh().to(self.device).eval()
        rows = measure(self.compared(), self.world, options, self.device, before)
        if self.world.particles is not None:
            levels = self.recipe.model.sigma_min, self.recipe.model.sigma_max
            own = self.model.eval().given(None)
            rows += cooling_rows(own, self.world.particles, self.recipe.data, options, levels, self.device, self.name)
        return rows + composition_rows(self.compositions, self.world, options)

    @cached_property
    def compositions(self) -> dict[str, Judged]:
        """AND, NOT and low temperature of three classes by every method, of a model of ten; sampled once for numbers
        and pictures."""
        if not self.recipe.evaluation.compositions or self.recipe.model.classes != 10 or self.world.images is None:
            return {}
        return runs_of(self.model.eval(), self.recipe.evaluation)

    def score(self, options: EnergyScoring, source: InputSource, picture: Path | None = None) -> Scores:
        """log p_σ of images or vectors, or the logarithm of a ratio of two classes' densities; their ranks among test
        samples, from the one that belongs least.

        Raises UsageError, before any work, for options and inputs that do not fit."""
        return score(self.model.eval(), self.world, options, source, self.recipe.data.images.levels, self.name, picture)

    def compared(self) -> dict[str, Any]:
        """The energy, its teacher, and the energy of another run where the recipe names one."""
        models: dict[str, Any] = super().compared()
        if self.recipe.objective.teacher:
            models[TEACHER] = self.teacher
        if self.recipe.evaluation.baseline:
            other = EnergyModel.from_pretrained(model_folder(self.recipe.evaluation.baseline))
            models["direct"] = other.to(self.device).eval()
        return models

    @cached_property
    def known(self) -> Any:
        """The closed form of the data's density, or e^{−U/T} of particles: the recipe made sure of one."""
        if self.world.particles is not None:
            return Boltzmann(self.world.particles, self.recipe.data.temperature)
        return self.world.known

    def _evolved(self, module: nn.Module, seen: SamplesWithNoise, draws: Draws, index: Tensor) -> Float[Tensor, " n"]:
        """The error of ∂E/∂ln σ at noise levels of its own, uniform in ln σ."""
        shape, (low, high) = tuple(seen.clean.shape[1:]), (math.log(s) for s in self.model.sigma_range)
        level = low + (high - low) * draws.uniform("evolution level", index).to(seen.clean.dtype)
        sigma = level.exp()
        x = seen.clean + spread(sigma, seen.clean) * draws.normal("evolution noise", index, shape)
        if self.recipe.objective.distillation:
            sign = draws.normal("evolution probe", index, shape).sign()
            with torch.enable_grad():
                at = x.detach().requires_grad_()
                denoised = self.teacher(at, sigma, seen.label)
                (along,) = torch.autograd.grad((denoised * sign).sum(), at)
            wanted = loss.change_of_density(x, denoised.detach(), inner(along, sign), sigma)
        else:
            wanted = loss.change_given_clean(x, seen.clean, sigma)
        with torch.enable_grad():
            level = level.detach().requires_grad_()
            energy = module(x, level.exp(), seen.label).energy
            (slope,) = torch.autograd.grad(energy.sum(), level, create_graph=torch.is_grad_enabled())
        return loss.evolution(slope, wanted, self.recipe.model.dimensions)

    def _least(self, x: Tensor) -> Tensor:
        return torch.tensor(self.recipe.model.sigma_min, dtype=x.dtype, device=x.device)

    def _pinned(self, module: nn.Module, seen: SamplesWithNoise, draws: Draws, index: Tensor) -> Float[Tensor, " n"]:
        """(E + log p)² per dimension at samples of the least noise level."""
        least = self._least(seen.clean)
        x = seen.clean + least * draws.normal("pinning", index, tuple(seen.clean.shape[1:]))
        energy = module(x, least.expand(len(x)), seen.label).energy
        log_density = self.known.log_density(x, least)
        return loss.pinning(energy, log_density, self.recipe.objective.pinning_bound, self.recipe.model.dimensions)
