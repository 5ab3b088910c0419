"""Recipes of energies: a denoiser, an energy distilled from it, and energies trained directly (arXiv 2502.12786)."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.data.images.config import ImageDataConfig
from tenfold.energy.config import BackboneConfig, DenoisingConfig, EnergyConfig
from tenfold.energy.options import DenoisingObjective, EnergyDataConfig, EnergyEvaluation, EnergyObjective
from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.training.config import TrainingConfig


@settings
class DenoisingRecipe(Recipe):
    """A denoiser from data."""

    system: ClassVar[str] = "energy-denoiser"
    model: DenoisingConfig = field(default_factory=DenoisingConfig)
    data: EnergyDataConfig = field(default_factory=EnergyDataConfig)
    objective: DenoisingObjective = field(default_factory=DenoisingObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EnergyEvaluation = field(default_factory=EnergyEvaluation)


@settings
class EnergyRecipe(Recipe):
    """An energy from a denoiser that is there already, or from data."""

    system: ClassVar[str] = "energy"
    model: EnergyConfig = field(default_factory=EnergyConfig)
    data: EnergyDataConfig = field(default_factory=EnergyDataConfig)
    objective: EnergyObjective = field(default_factory=EnergyObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EnergyEvaluation = field(default_factory=EnergyEvaluation)

    def __post_init__(self) -> None:
        if self.objective.evolution and not self.model.gauge:
            raise UsageError(
                f"objective.evolution is {self.objective.evolution}, which needs log Z to move freely between noise "
                "levels; add --model.gauge true"
            )
        known = self.data.kind != "images"
        for name in ("target_score", "pinning"):
            if getattr(self.objective, name) and not known:
                raise UsageError(
                    f"objective.{name} needs data of known density, which images have not; set it to 0, or "
                    "--data.kind mixture"
                )
        if self.train.parallel == "fsdp":
            raise UsageError(
                "energies are differentiated inside of a step, which sharding does not see; train with ddp"
            )


@settings
class EnergyPipeline(Recipe):
    """First a denoiser, the teacher; then an energy distilled from it."""

    system: ClassVar[str] = "energy"
    stages: ClassVar[tuple[str, ...]] = ("teacher", "energy")
    main: ClassVar[str] = "energy"
    described: ClassVar[tuple[str, ...]] = ("teacher", "energy")
    teacher: DenoisingRecipe = field(default_factory=DenoisingRecipe)
    energy: EnergyRecipe = field(default_factory=EnergyRecipe)

    def __post_init__(self) -> None:
        if self.teacher.data != self.energy.data:
            raise UsageError("teacher.data and energy.data differ; a teacher tells of its own data, set both alike")
        shared = (
            "shape",
            "data_scale",
            "classes",
            *(("network", "noise_input", "output") if self.energy.objective.start else ()),
        )
        for name in shared:
            one, other = getattr(self.teacher.model, name), getattr(self.energy.model, name)
            if one != other:
                raise UsageError(
                    f"teacher.model.{name} is {one} and energy.model.{name} is {other}; set both alike"
                    + (", or energy.objective.start to false" if name == "network" else "")
                )

    def stage(self, name: str, folder: str) -> DenoisingRecipe | EnergyRecipe:
        """A stage's own recipe, for a run in ``folder``."""
        if name == "teacher":
            return self.teacher
        return replace(self.energy, objective=replace(self.energy.objective, teacher=f"{folder}/teacher"))


def _pair(
    model: DenoisingConfig,
    data: EnergyDataConfig,
    train: TrainingConfig,
    steps: int,
    evaluation: EnergyEvaluation,
    evolution: float = 0.0,
    levels: tuple[float, float] = (-1.2, 1.2),
    forces: float = 0.0,
) -> EnergyPipeline:
    """A teacher, and an energy with its geometry, trained for ``steps``; with a weight of how it changes with noise, at
    levels with this mean and standard deviation of ln σ, and of the forces and energies that are known."""
    mean, std = levels
    energy = EnergyConfig(**vars(model), gauge=evolution > 0)
    none = replace(evaluation, compositions=False, calibrate=0)
    return EnergyPipeline(
        teacher=DenoisingRecipe(
            model=model,
            data=data,
            objective=DenoisingObjective(level_mean=mean, level_std=std),
            train=train,
            evaluation=none,
        ),
        energy=EnergyRecipe(
            model=energy,
            data=data,
            objective=EnergyObjective(
                level_mean=mean, level_std=std, evolution=evolution, target_score=forces, pinning=0.1 * forces
            ),
            train=replace(train, steps=steps),
            evaluation=evaluation,
        ),
    )


def _direct(pipeline: EnergyPipeline, steps: int) -> EnergyRecipe:
    """The same energy from the data alone."""
    objective = EnergyObjective(start=False, distillation=0.0, denoising=1.0)
    recipe = pipeline.energy
    return replace(recipe, objective=objective, train=replace(recipe.train, steps=steps))


_NAMES = ("zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines")
_DIGITS = _pair(
    DenoisingConfig(
        shape=(1, 8, 8), data_scale=0.752, sigma_max=20.0, sigma_min=0.02, classes=10, class_names=_NAMES,
    ),
    EnergyDataConfig(),
    TrainingConfig(
        steps=4000, batch_size=128, learning_rate=1e-3, betas=(0.9, 0.999), warmup_steps=100, weight_decay=0.0,
        clip=10.0, ema=0.98, validate_every=500, threads=1,
    ),
    1500,
    EnergyEvaluation(calibrate=64),
)  # fmt: skip
_MNIST = _pair(
    DenoisingConfig(
        shape=(1, 28, 28), data_scale=0.616, sigma_max=40.0, sigma_min=0.02, classes=10, class_names=_NAMES,
        network=BackboneConfig(kind="unet", width=16, layers=1, resolutions=3, head_size=32),
    ),
    EnergyDataConfig(images=ImageDataConfig(source="mnist5k", validation=250, test=500)),
    TrainingConfig(
        steps=3000, batch_size=32, learning_rate=1e-3, betas=(0.9, 0.999), warmup_steps=100, weight_decay=0.0,
        clip=1.0, ema=0.995, validate_every=500, threads=1,
    ),
    1000,
    EnergyEvaluation(rows=128, samples=256, particles=32, populations=4),
)  # fmt: skip
_KNOWN_TRAIN = TrainingConfig(
    steps=4000, batch_size=512, learning_rate=1e-3, betas=(0.9, 0.999), warmup_steps=100, weight_decay=0.0,
    clip=10.0, ema=0.99, validate_every=1000, threads=1,
)  # fmt: skip
_PLANE = _pair(
    DenoisingConfig(shape=(2,), data_scale=1.0, sigma_max=20.0, sigma_min=0.02, network=BackboneConfig(width=128)),
    EnergyDataConfig(kind="mixture"),
    replace(_KNOWN_TRAIN, batch_size=256),
    2000,
    EnergyEvaluation(samples=0, compositions=False, rows=2000),
)
_PCA = _pair(
    DenoisingConfig(shape=(8,), data_scale=1.0, sigma_max=20.0, sigma_min=0.02, network=BackboneConfig(width=128)),
    EnergyDataConfig(kind="pca-digits", components=10),
    replace(_KNOWN_TRAIN, steps=12_000, batch_size=256, learning_rate=2e-3, ema=0.998),
    2000,
    EnergyEvaluation(samples=0, compositions=False, rows=2000),
)

_PARTICLES_TRAIN = replace(_KNOWN_TRAIN, batch_size=256, learning_rate=5e-4, ema=0.995)
_DW4 = _pair(
    DenoisingConfig(
        shape=(6,), data_scale=2.1, sigma_max=40.0, sigma_min=0.01, output="score",
        network=BackboneConfig(kind="egnn", width=64, layers=3, space=2),
    ),
    EnergyDataConfig(kind="dw4", samples=20_000),
    _PARTICLES_TRAIN,
    2000,
    EnergyEvaluation(samples=0, compositions=False, rows=2000, steps=64, particles=256),
    evolution=0.1,
    levels=(-0.5, 1.6),
    forces=1.0,
)  # fmt: skip
_LJ13 = _pair(
    DenoisingConfig(
        shape=(36,), data_scale=0.71, sigma_max=20.0, sigma_min=0.005, output="score",
        network=BackboneConfig(kind="egnn", width=48, layers=3, space=3),
    ),
    EnergyDataConfig(kind="lj13", samples=20_000),
    replace(_PARTICLES_TRAIN, batch_size=128, clip=1.0),
    3000,
    EnergyEvaluation(samples=0, compositions=False, rows=1000, steps=64, particles=256, cooling=(2.5,)),
    evolution=0.1,
    forces=1.0,
)  # fmt: skip

RECIPES: dict[str, Named] = {
    "energy-digits": Named(
        "8x8 digits by class: a denoiser, an energy distilled from it, and what the two say; compositions of classes",
        _DIGITS,
    ),
    "energy-digits-direct": Named("the energy of energy-digits from the data alone", _direct(_DIGITS, 4000)),
    "energy-mnist": Named("5,000 MNIST digits by class with small U-Nets: a denoiser, then an energy", _MNIST),
    "energy-mnist-direct": Named("the energy of energy-mnist from the data alone", _direct(_MNIST, 3000)),
    "energy-2d": Named("a mixture of Gaussians in the plane, whose density is known at every noise level", _PLANE),
    "energy-2d-direct": Named("the energy of energy-2d from the data alone", _direct(_PLANE, 4000)),
    "energy-pca-digits": Named(
        "8 principal components of the digits as a Gaussian mixture: log-densities against the closed form", _PCA
    ),
    "energy-dw4": Named("four particles in double wells, annealed to half the temperature, beside long chains", _DW4),
    "energy-lj13": Named("thirteen particles under Lennard-Jones forces, annealed, beside long chains", _LJ13),
    "energy-pca-digits-direct": Named("the energy of energy-pca-digits from samples alone", _direct(_PCA, 4000)),
}
DENOISING_RECIPES: dict[str, Named] = {
    "energy-digits-teacher": Named("the denoiser of energy-digits alone", _DIGITS.teacher),
}
