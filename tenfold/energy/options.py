"""What a user can set besides the model: data, objectives, measurements, sampling and scoring. Imports no PyTorch."""

import math
from typing import Literal

from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

DIGITS = ImageDataConfig(source="digits", levels=17)


@settings
class EnergyDataConfig:
    """What is learned.

    Attributes:
        kind: "images" on [−1, 1]; samples of a density that is known at every noise level: "mixture" (Gaussians on
            a ring in the plane, of different weights and shapes) or "pca-digits" (a Gaussian mixture of the digits'
            principal components); or configurations of particles drawn by long chains: "dw4" (four in double wells) or
            "lj13" (thirteen under Lennard-Jones forces), in coordinates without their centre.
        images: of "images".
        temperature: of the particles.
        samples: training samples of a known density, or configurations.
        held_out: its validation samples, and as many test samples.
        components: Gaussians of the mixture.
        dimensions: principal components of "pca-digits".
        seed: of the mixture and its samples.
    """

    kind: Literal["images", "mixture", "pca-digits", "dw4", "lj13"] = "images"
    images: ImageDataConfig = DIGITS
    temperature: float = 1.0
    samples: int = 50_000
    held_out: int = 2000
    components: int = 8
    dimensions: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "data", samples=1, held_out=2, components=1, dimensions=1)
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"data.temperature is {self.temperature}; give a positive number")


@settings
class DenoisingObjective:
    """Denoising score matching with EDM's noise (arXiv 2206.00364).

    Attributes:
        level_mean: mean of ln σ.
        level_std: standard deviation of ln σ.
        label_dropout: share of training samples whose class is not told.
    """

    level_mean: float = -1.2
    level_std: float = 1.2
    label_dropout: float = 0.1

    def __post_init__(self) -> None:
        if not self.level_std > 0:
            raise UsageError(f"objective.level_std is {self.level_std}; give a positive number")
        if not 0 <= self.label_dropout <= 1:
            raise UsageError(f"objective.label_dropout is {self.label_dropout}; it must lie in [0, 1]")


@settings
class EnergyObjective(DenoisingObjective):
    """What an energy learns from: a weighted sum of losses.

    Attributes:
        teacher: run or model folder of a denoiser; a pipeline sets it.
        start: whether the network starts as the teacher's.
        distillation: weight of the distance to the teacher's denoiser (arXiv 2502.12786).
        denoising: weight of denoising score matching.
        target_score: weight of the target score at low noise, of data whose density is known, up to a constant at
            least: mixtures and particles.
        target_score_below: the largest σ, in units of σ_d, at which it counts.
        pinning: weight of the squared difference between the energy and −log p at the least noise level, of data whose
            density is known, per dimension.
        pinning_bound: most nats that −log p is taken to be, either way.
        evolution: weight of the squared error of ∂E/∂ln σ per dimension, at noise levels that are uniform in ln σ:
            against the Fokker-Planck equation of the teacher's denoiser where one is distilled, against the samples
            otherwise. Weights compare densities between noise levels, which denoising alone leaves open; the model
            needs a gauge.
    """

    teacher: str = ""
    start: bool = True
    distillation: float = 1.0
    denoising: float = 0.0
    target_score: float = 0.0
    target_score_below: float = 0.2
    pinning: float = 0.0
    pinning_bound: float = 1000.0
    evolution: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = {
            name: getattr(self, name) for name in ("distillation", "denoising", "target_score", "pinning", "evolution")
        }
        at_least(self, "objective", **dict.fromkeys(weights, 0), target_score_below=0, pinning_bound=0)
        if not any(weights.values()):
            raise UsageError(f"objective.{', objective.'.join(weights)} are all zero; give one of them a weight")

    @property
    def needs_teacher(self) -> bool:
        """Whether a denoiser is read."""
        return self.start or self.distillation > 0


@settings
class EnergyEvaluation:
    """How denoisers and energies are measured.

    Attributes:
        levels: noise levels σ of the denoising error and of conservativeness.
        rows: most test samples behind the errors.
        draws: of noise a sample.
        probes: samples behind the relative curl.
        samples: images generated for FID; 0 for none.
        steps: of the sampler.
        particles: of a composition, in each of ``populations``.
        populations: independent ones, for standard errors.
        cooling: inverse temperatures γ that particles are annealed to, p^γ.
        compositions: whether AND, NOT and low temperature are judged (of images with classes).
        calibrate: particles of eight populations behind log Z of every class, which is kept with the weights: mixtures
            (OR) need it; 0 for none.
        baseline: run of an energy trained another way, to compare with.
    """

    levels: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    rows: int = 512
    draws: int = 4
    probes: int = 16
    samples: int = 512
    steps: int = 32
    particles: int = 64
    populations: int = 8
    cooling: tuple[float, ...] = (2.0,)
    compositions: bool = True
    calibrate: int = 0
    baseline: str = ""

    def __post_init__(self) -> None:
        at_least(
            self, "evaluation", rows=2, draws=1, probes=1, samples=0, steps=2, particles=2, populations=2, calibrate=0
        )
        if not all(0 < gamma < math.inf for gamma in self.cooling):
            raise UsageError(f"evaluation.cooling is {self.cooling}; give positive inverse temperatures")
        if not self.levels or not all(level > 0 for level in self.levels):
            raise UsageError(f"evaluation.levels are {self.levels}; give positive noise levels")


@settings
class EnergySampling:
    """Options of ``tenfold sample`` for denoisers and energies.

    Attributes:
        target: an expression of classes, such as "0.8 * (eights & threes)": & and, | or, numbers are inverse
            temperatures, a difference is "not"; "" for the model itself.
        particles: in a population.
        populations: independent ones; each has its own weights.
        method: "smc" (weights, resampling), "weights" (without resampling) or "plain" (the composed score alone).
        weights: "exact" (unbiased at any number of steps) or "continuous" (its limit, approximate).
        control: drift that narrows the weights: "ecg", "vcg" or "none".
        steps: noise levels minus one.
        moves: Metropolis moves at every level.
        classes: label y of the model itself, without a target.
        chunk: samples computed together.
        seed: of the noise.
    """

    target: str = ""
    particles: int = 256
    populations: int = 1
    method: Literal["smc", "weights", "plain"] = "smc"
    weights: Literal["exact", "continuous"] = "exact"
    control: Literal["ecg", "vcg", "none"] = "none"
    steps: int = 64
    moves: int = 0
    classes: int | None = None
    chunk: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", particles=2, populations=1, steps=2, moves=0, chunk=1)
        if self.target and self.classes is not None:
            raise UsageError(f"target {self.target!r} names its classes; leave --class out")


@settings
class EnergyScoring:
    """Options of ``tenfold score`` for an energy.

    Attributes:
        sigma: noise level of the density, in units of σ_d; the data are scored as they are, without noise.
        classes: label y of log p(x|y); without one, that of no class.
        against: a second class: the score is then log p(x|y) − log p(x|against), a ratio of densities.
        resize: scale and crop image files to the model's size.
        key: which array of an .npz file.
        chunk: samples computed together.
    """

    sigma: float = 0.2
    classes: int | None = None
    against: int | None = None
    resize: bool = False
    key: str = ""
    chunk: int = 4096

    def __post_init__(self) -> None:
        at_least(self, "", chunk=1)
        if not self.sigma > 0:
            raise UsageError(
                f"sigma is {self.sigma}; a density without noise has no energy here, give a positive number"
            )
        if self.against is not None and self.classes is None:
            raise UsageError("against compares with --class; set both or neither")
