"""Denoisers and energies with EDM's scalings (arXiv 2206.00364, 2502.12786), which satisfy Score and Density."""

import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import hub
from tenfold.energy import heads
from tenfold.energy.composition.algebra import Composable
from tenfold.energy.config import DenoisingConfig, EnergyConfig
from tenfold.energy.heads import Head, inner
from tenfold.energy.networks.build import build_network, check_settled, check_smooth
from tenfold.energy.normaliser import Normaliser, read_normalisers, write_normalisers
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_all_arguments

T = TypeVar("T", bound="Preconditioned")
_GAUGE = 9  # numbers of c(σ)


class Scalings(NamedTuple):
    """EDM's factors at noise levels σ, each (n,), and that of the potential U, c_out / (σ² c_in)."""

    skip: Float[Tensor, " n"]
    out: Float[Tensor, " n"]
    inward: Float[Tensor, " n"]
    potential: Float[Tensor, " n"]


def scalings(sigma: Float[Tensor, " n"], data_scale: float, output: str = "noise") -> Scalings:
    """c_skip = σ_d²/(σ²+σ_d²), c_out = σσ_d/√(σ²+σ_d²), c_in = 1/√(σ²+σ_d²) (arXiv 2206.00364, Table 1); c_out times
    σ/√(σ²+σ_d²) where the output is the score at little noise."""
    total = sigma.square() + data_scale**2
    inward = total.rsqrt()
    share = sigma * inward if output == "score" else torch.ones_like(sigma)
    return Scalings(data_scale**2 / total, share * sigma * data_scale * inward, inward, share * data_scale / sigma)


def spread(values: Float[Tensor, " n"], like: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *ones"]:
    """One number a sample, broadcast over its dimensions."""
    return values.view(-1, *[1] * (like.ndim - 1))


class EnergyAndDenoised(NamedTuple):
    """What an energy says of samples: E(x, σ) in nats (n,), and the denoiser D = x − σ² ∇E."""

    energy: Float[Tensor, " n"]
    denoised: Float[Tensor, "n *shape"]


class Preconditioned(nn.Module):
    """What a denoiser and an energy have in common: a network, EDM's scalings, a model folder."""

    config_class: ClassVar[type[DenoisingConfig]]
    model_type: ClassVar[str]

    def __init__(self, config: DenoisingConfig, network: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.shape, self.data_scale = config.shape, config.data_scale
        self.sigma_range = (config.sigma_min, config.sigma_max)
        self.network = build_network(config) if network is None else network
        self.register_buffer("levels", torch.tensor(config.steps, dtype=torch.float64).log(), persistent=False)

    def prepared(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
        """Samples and one noise level each, in float32 at least: squares of samples over σ² overflow in less.

        Raises UsageError for samples of another shape, and for noise levels of another shape."""
        if tuple(x.shape[1:]) != self.shape:
            raise UsageError(f"samples have shape {tuple(x.shape[1:])}, but the model's have {self.shape}")
        if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) != len(x)):
            raise UsageError(
                f"sigma has shape {tuple(sigma.shape)}; give one number, or one for each of {len(x)} samples"
            )
        kind = torch.promote_types(x.dtype, torch.float32)
        return x.to(kind), sigma.to(kind).expand(len(x))

    def noise_input(self, sigma: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """c_noise: ¼ ln σ, or the index of σ among the levels, linear in ln σ between them."""
        if self.config.noise_input == "quarter_log":
            return 0.25 * sigma.log()
        levels = cast(Tensor, self.levels).to(sigma)
        above = torch.searchsorted(levels, sigma.log().contiguous()).clamp(1, len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        return (above - 1 + (sigma.log() - low) / (high - low)).clamp(0, len(levels) - 1)

    def output(
        self, y: Float[Tensor, "m *shape"], noise: Float[Tensor, " m"], label: Int[Tensor, " m"] | None
    ) -> Float[Tensor, "m *shape"]:
        """N(y, c_noise, label), computed in the weights' own type."""
        kind = next(self.network.parameters()).dtype
        out: Tensor = self.network(y.to(kind), noise.to(kind), label)
        return out.to(y.dtype)

    def named(self, name: str) -> int:
        """The number of the class called ``name``. Raises UsageError for a name that there is not."""
        names = self.config.class_names or tuple(map(str, range(self.config.classes)))
        if name not in names:
            known = f"its classes are {', '.join(names)}" if names else "it has no classes"
            raise UsageError(f"the model knows no class {name!r}; {known}")
        return names.index(name)

    def check_label(self, label: int | None) -> None:
        """Raise UsageError for a class that the model does not have."""
        if label is not None and not self.config.classes:
            raise UsageError(f"the model has no classes, so there is no class {label}; leave it out")
        if label is not None and not -1 <= label < self.config.classes:
            raise UsageError(f"class {label} is outside [0, {self.config.classes}); −1 is no class")

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write a model folder: ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)

    @classmethod
    def from_pretrained(cls: type[T], source: str | os.PathLike[str], device: str | torch.device = "cpu") -> T:
        """The model in a folder or on the hub; see ``hub.from_pretrained``."""
        return cast(T, hub.from_pretrained(cls, source, device=device))


@read_all_arguments
class DenoisingModel(Preconditioned):
    """D(x, σ) = c_skip x + c_out N(c_in x, c_noise), the mean of clean samples given noisy ones (arXiv 2206.00364).

    >>> from tenfold.energy import DenoisingConfig, BackboneConfig
    >>> model = DenoisingModel(DenoisingConfig(shape=(2,), network=BackboneConfig(width=8, layers=1)))
    >>> model.score(torch.zeros(3, 2), torch.tensor(0.5)).shape
    torch.Size([3, 2])
    """

    config_class, model_type = DenoisingConfig, "energy-denoiser"

    def forward(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n *shape"]:
        """D(x, σ), differentiable."""
        x, sigma = self.prepared(x, sigma)
        factors = scalings(sigma, self.data_scale, self.config.output)
        out = self.output(spread(factors.inward, x) * x, self.noise_input(sigma), label)
        return spread(factors.skip, x) * x + spread(factors.out, x) * out

    def score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n *shape"]:
        """∇ log p_σ(x) = (D(x, σ) − x) / σ², differentiable where x asks for it."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            denoised = self(x, sigma, label)
            return ((denoised - x) / _square(sigma, x)).to(x.dtype)

    def given(self, label: int | None) -> "GivenScore":
        """The model of one class as a Score; None, or −1, is no class. Raises UsageError for one that there is not."""
        self.check_label(label)
        return GivenScore(self, label)


@read_all_arguments
class EnergyModel(Preconditioned, Composable):
    """An energy whose score has EDM's form (arXiv 2502.12786; 2506.16471 for the head "dot"):

    E(x, σ) = |x|² / (2(σ² + σ_d²)) − (σ_d / σ) U(c_in x, c_noise) + c(σ), so that D = x − σ² ∇E = c_skip x + c_out ∇U;
    c is 0 without a gauge. Where the output is the score at little noise, σ_d/√(σ² + σ_d²) stands before U.

    >>> from tenfold.energy import EnergyConfig, BackboneConfig
    >>> model = EnergyModel(EnergyConfig(shape=(2,), network=BackboneConfig(width=8, layers=1)))
    >>> energy, denoised = model(torch.zeros(3, 2), torch.tensor(0.5))
    >>> energy.shape, denoised.shape
    (torch.Size([3]), torch.Size([3, 2]))
    """

    config_class, model_type = EnergyConfig, "energy"
    config: EnergyConfig

    def __init__(self, config: EnergyConfig, network: nn.Module | None = None) -> None:
        super().__init__(config, network)
        check_smooth(self.network)
        self.normalisers: dict[int, Normaliser] = {}
        if config.head == "scalar":
            self.readout = nn.Parameter(torch.randn(config.shape) / math.sqrt(config.dimensions))
        if config.gauge:
            self.gauge = nn.Parameter(torch.zeros(_GAUGE))

    @property
    def normalised(self) -> bool:
        """Whether ``log_density`` without a class is log p_σ: whether log Z was measured."""
        return -1 in self.normalisers

    @property
    def head(self) -> Head:
        """U as a function of the network."""
        config = self.config
        if config.head == "dot":
            return partial(heads.dot, scale=config.scale)
        if config.head == "path":
            return partial(heads.path, nodes=config.nodes)
        if config.head == "scalar":
            return partial(heads.scalar, readout=self.readout)
        return heads.norm if config.head == "norm" else heads.sqnorm

    def forward(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> EnergyAndDenoised:
        """E and D, both differentiable in all that they depend on, where gradients are wanted."""
        check_settled(self.network)
        again = torch.is_grad_enabled()
        x, sigma = self.prepared(x, sigma)
        factors = scalings(sigma, self.data_scale, self.config.output)
        y = spread(factors.inward, x) * x
        with torch.enable_grad():
            # The gradient is that of y, which is of order one, and not of x.
            y = y if y.requires_grad else y.detach().requires_grad_()
            value = self.head(self.output, y, self.noise_input(sigma), label)
            (field,) = torch.autograd.grad(value.sum(), y, create_graph=again)
        value = value if again else value.detach()
        energy = self._energy(x, sigma, factors.potential * value)
        if not self.config.temper:
            return EnergyAndDenoised(energy, spread(factors.skip, x) * x + spread(factors.out, x) * field)
        gradient = self._inverse_temperature * (
            (1 - spread(factors.skip, x)) * x - spread(factors.out, x) * field
        )  # σ² ∇E
        return EnergyAndDenoised(energy, x - gradient)

    def energy(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """E(x, σ) in nats, by one forward pass of the network; differentiable where x or the weights ask for it."""
        check_settled(self.network)
        x, sigma = self.prepared(x, sigma)
        factors = scalings(sigma, self.data_scale, self.config.output)
        y = spread(factors.inward, x) * x
        return self._energy(x, sigma, factors.potential * self.head(self.output, y, self.noise_input(sigma), label))

    def _energy(self, x: Tensor, sigma: Tensor, potential: Tensor) -> Tensor:
        quadratic = inner(x, x) / (2 * (sigma.square() + self.data_scale**2))
        moved = self._moved_by(sigma) if self.config.gauge else 0.0
        return self._inverse_temperature * (quadratic - potential) + moved

    def _moved_by(self, sigma: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """c(σ): a line and cosines of ln σ between the least and the largest level."""
        low, high = (math.log(level) for level in self.sigma_range)
        place = ((sigma.log() - low) / (high - low))[:, None]
        waves = (math.pi * place * torch.arange(1, _GAUGE, device=sigma.device)).cos()
        basis = torch.cat([place, waves], 1).to(self.gauge.dtype)
        return (basis @ self.gauge).to(sigma.dtype)

    @property
    def _inverse_temperature(self) -> float:
        return self.config.network.inverse_temperature if self.config.temper else 1.0

    def log_density(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, " n"]:
        """−E(x, σ) − log Z(σ); log Z is zero where it was not measured. No graph unless x asks for one."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            return (-self.energy(x, sigma, label)).to(x.dtype)

    def score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n *shape"]:
        """∇ log p_σ(x) = −∇E, differentiable where x asks for it."""
        return self.log_density_and_score(x, sigma, label)[1]

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"], label: Int[Tensor, " n"] | None = None
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both, of one pass forward and one backward."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
            energy, denoised = self(x, sigma, label)
            return (-energy).to(x.dtype), ((denoised - x) / _square(sigma, x)).to(x.dtype)

    def given(self, label: int | None) -> "GivenDensity":
        """The energy of one class as a Density; None, or −1, is no class. Raises UsageError for one that there is
        not."""
        self.check_label(label)
        return GivenDensity(self, label)

    def start_from(self, teacher: DenoisingModel) -> None:
        """Take a denoiser's network as this one's.

        Raises UsageError where the two differ in σ_d, in the convention of the noise, or in the network."""
        if self.config.head == "scalar":
            raise UsageError("a scalar head reads no denoiser's network; choose another head, or no teacher's start")
        mine, other = self.config, teacher.config
        for name in ("data_scale", "noise_input", "steps", "shape", "classes", "network", "output"):
            if getattr(mine, name) != getattr(other, name):
                raise UsageError(
                    f"model.{name} is {getattr(mine, name)}, but the teacher's is {getattr(other, name)}; "
                    "set them alike"
                )
        self.network.load_state_dict(teacher.network.state_dict())

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write a model folder, with the normalisers that were measured."""
        super().save_pretrained(folder, extra)
        write_normalisers(Path(folder), self.normalisers)

    def read_extras(self, folder: Path) -> None:
        """The normalisers in a model folder."""
        self.normalisers = read_normalisers(folder)


def _square(sigma: Tensor, x: Tensor) -> Tensor:
    return spread(sigma.expand(len(x)), x).square()


class GivenScore(Composable):
    """A model of one class, as a Score."""

    def __init__(self, model: Any, label: int | None) -> None:
        self.model, self.label = model, -1 if label is None else label
        self.shape, self.data_scale, self.sigma_range = model.shape, model.data_scale, model.sigma_range

    def labels(self, x: Tensor) -> Tensor | None:
        """One a sample; None where there are no classes."""
        if not self.model.config.classes:
            return None
        return torch.full((len(x),), self.label, dtype=torch.int64, device=x.device)

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """∇ log p_σ(x | label)."""
        found: Tensor = self.model.score(x, sigma, self.labels(x))
        return found


class GivenDensity(GivenScore):
    """An energy of one class, as a Density. ``normaliser`` is log Z(σ) where it was measured."""

    def __init__(self, model: EnergyModel, label: int | None) -> None:
        super().__init__(model, label)
        self.normaliser = model.normalisers.get(self.label)
        self.normalised = self.normaliser is not None

    def log_density(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """−E − log Z(σ)."""
        return self._shifted(self.model.log_density(x, sigma, self.labels(x)), sigma)

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both."""
        value, score = self.model.log_density_and_score(x, sigma, self.labels(x))
        return self._shifted(value, sigma), score

    def _shifted(self, value: Tensor, sigma: Tensor) -> Tensor:
        return value if self.normaliser is None else value - self.normaliser.log_z(sigma.expand(len(value)))
