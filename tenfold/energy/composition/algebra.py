"""log γ_σ(x) = Σ_i β_i(σ) log p_{i,σ}(x) + r_σ(x): what compositions flatten to, and the operators that make them.

    a & b                  product (AND)               a + reward(f)       tilt by e^f
    2.0 * a                power, temperature 1/2      a.within(-1, 1)     a box, at the last level a hard one
    1.3 * a - 0.3 * b      NOT                         a.above(n, c)       a half-space
    guidance(u, c, w)      (1 − w) u + w c             a | b               mixture (OR)

γ_σ at σ > 0 is a path of densities to the wanted one, not its diffusion: samplers must weigh. A mixture alone is its
own diffusion.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.energy.composition.constraints import Bound, InBox, InHalfSpace
from tenfold.energy.composition.rewards import RewardPath
from tenfold.energy.composition.terms import (
    Evaluated,
    Power,
    Term,
    Wanted,
    ask_model,
    energy_of,
    sum_of_powers,
    times,
    weighted,
)
from tenfold.energy.density import Density, Score
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


class Composable:
    """The operators. Energies, closed forms and compositions inherit them; ``composed`` makes one of anything else."""

    def __and__(self, other: Any) -> "Composition":
        return composed(self)._joined(composed(other))

    def __add__(self, other: Any) -> "Composition":
        if isinstance(other, RewardPath):
            own = composed(self)
            return replace(own, rewards=(*own.rewards, other))
        return self & other

    __radd__ = __add__

    def __mul__(self, power: Any) -> "Composition":
        return composed(self)._raised(power)

    __rmul__ = __mul__

    def __neg__(self) -> "Composition":
        return -1.0 * self

    def __sub__(self, other: Any) -> "Composition":
        if isinstance(other, RewardPath):
            return self + (-1.0) * other  # type: ignore[operator]
        return self & -composed(other)

    def __or__(self, other: Any) -> "Mixture":
        parts = [
            part
            for one in (self, other)
            for part in (one.components if isinstance(one, Mixture) and one.equal else (one,))
        ]
        return mixture(parts)

    def within(self, low: Bound, high: Bound) -> "Composition":
        """The target restricted to a box."""
        return self + InBox(low, high)

    def above(self, normal: Float[Tensor, "*shape"], offset: float) -> "Composition":
        """The target restricted to the half-space ⟨normal, x⟩ ≥ offset."""
        return self + InHalfSpace(normal, offset)


@dataclass(frozen=True)
class Composition(Composable):
    """Models with powers, and rewards. Without rewards it is a Density again, up to a constant at each level.

    Raises:
        UsageError: no model is left, or models of different shapes, or networks of differently scaled data.
    """

    terms: tuple[Term, ...]
    rewards: tuple[RewardPath, ...] = ()

    def __post_init__(self) -> None:
        if not self.terms:
            raise UsageError("all powers of the composition are 0; at least one model must remain")
        first = self.terms[0].model
        for term in self.terms[1:]:
            if tuple(term.model.shape) != tuple(first.shape):
                raise UsageError(
                    f"models of samples {tuple(first.shape)} and {tuple(term.model.shape)} cannot be composed; "
                    "all must be of one data space"
                )
        scales = [float(t.model.data_scale) for t in self.terms if isinstance(t.model, nn.Module)]
        if scales and max(scales) > 1.01 * min(scales):
            raise UsageError(
                f"networks with sigma_data {min(scales):g} and {max(scales):g} cannot be composed; they were trained "
                "on differently scaled data"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.terms[0].model.shape)

    @property
    def dimensions(self) -> int:
        """d, numbers in a sample."""
        return int(torch.Size(self.shape).numel())

    @property
    def data_scale(self) -> float:
        """σ_d: the root mean square of the models'."""
        squares = [float(term.model.data_scale) ** 2 for term in self.terms]
        return float((sum(squares) / len(squares)) ** 0.5)

    @property
    def normalised(self) -> bool:
        """Whether log γ is a log density: one normalised model by itself."""
        one = self.terms[0]
        return len(self.terms) == 1 and one.power == 1 and not self.rewards and getattr(one.model, "normalised", False)

    @property
    def all_energies(self) -> bool:
        """Whether every model has a log density."""
        return all(isinstance(term.model, Density) for term in self.terms)

    @property
    def looks_ahead(self) -> bool:
        """Whether a reward reads the denoiser."""
        return any(one.looks_ahead for one in self.rewards)

    def powers(self, sigma: Float[Tensor, ""]) -> Float[Tensor, " k"]:
        """β_i(σ), float64."""
        return torch.stack([term.at(sigma) for term in self.terms])

    def order(self, sigma: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """B(σ) = Σ β_i times the order of each model (1, but of mixtures of powers): γ_σ is about N(0, σ²/B I) at high
        noise."""
        orders = [_order(term.model, sigma) * term.at(sigma) for term in self.terms]
        return torch.stack(orders).sum()

    def units(self, wanted: Wanted) -> int:
        """Network evaluations of one call in units of a forward pass: an energy's gradient counts 3 with its value."""
        energy = {"density": 1, "both": 3, "score": 3}[wanted]
        return sum(energy if isinstance(term.model, Density) else 1 for term in self.terms)

    def evaluate(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        wanted: Wanted = "both",
        parts: bool = False,
        last: bool = False,
        denoised: Float[Tensor, "n *shape"] | None = None,
    ) -> Evaluated:
        """log γ, its score, or both, at one level: each model is asked once.

        Args:
            x: samples.
            sigma: their level, float64.
            wanted: what.
            parts: whether to keep what each model said.
            last: whether constraints are hard, and rewards the user's own.
            denoised: D(x, σ) for rewards that look ahead, where scores are not asked for.
        """
        level, powers = sigma.to(x), self.powers(sigma)
        found = [ask_model(term.model, x, level, wanted) for term in self.terms]
        logs = torch.stack([log for log, _ in found], 1) if wanted != "score" else None
        scores = torch.stack([score for _, score in found], 1) if wanted != "density" else None
        score = None if scores is None else weighted(scores, powers)
        made = Evaluated(
            None if logs is None else torch.where(powers == 0, 0.0, logs * powers).sum(1),
            score,
            logs=logs if parts else None,
            scores=scores if parts else None,
        )
        if not self.rewards:
            return made
        if self.looks_ahead and denoised is None and score is not None:
            denoised = x + (sigma.square() / self.order(sigma)).to(x.dtype) * score
        values = [one.at_level(x, sigma, denoised, self.data_scale, last) for one in self.rewards]
        total = torch.stack([value.double() for value, _ in values]).sum(0)
        return replace(made, reward=total, ascent=torch.stack([way for _, way in values]).sum(0))

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """Σ β_i ∇ log p_i; powers that depend on σ need one σ for all."""
        self._plain()
        return weighted(torch.stack([t.model.score(x, sigma) for t in self.terms], 1), self._powers(sigma))

    def log_density(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """Σ β_i log p_i."""
        self._plain()
        logs = torch.stack([energy_of(t.model).log_density(x, sigma) for t in self.terms], 1)
        return (logs * self._powers(sigma).to(logs)).sum(1)

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both."""
        self._plain()
        found = [energy_of(t.model).log_density_and_score(x, sigma) for t in self.terms]
        powers = self._powers(sigma)
        logs = torch.stack([log for log, _ in found], 1)
        return (logs * powers.to(logs)).sum(1), weighted(torch.stack([s for _, s in found], 1), powers)

    def _powers(self, sigma: Tensor) -> Tensor:
        if sigma.ndim and any(callable(term.power) for term in self.terms):
            raise UsageError("a power that depends on sigma needs one sigma for all samples")
        return self.powers(sigma if sigma.ndim == 0 else sigma.new_ones(()))

    def _plain(self) -> None:
        if self.rewards:
            raise UsageError(
                "a composition with rewards has no density of its own; sample it, or leave the rewards out"
            )

    def _joined(self, other: "Composition") -> "Composition":
        powers: dict[int, tuple[Score, list[Power]]] = {}
        for term in (*self.terms, *other.terms):
            powers.setdefault(id(term.model), (term.model, []))[1].append(term.power)
        terms = [Term(model, sum_of_powers(of)) for model, of in powers.values()]
        return Composition(tuple(t for t in terms if t.power != 0), (*self.rewards, *other.rewards))

    def _raised(self, power: Any) -> "Composition":
        if isinstance(power, Score):
            raise UsageError("densities are multiplied by a & b; * raises a density to a power")
        if not callable(power) and not _is_finite(power):
            raise UsageError(f"a power is {power!r}; expected a finite number or a function of sigma")
        if self.rewards and power != 1:
            raise UsageError("raise the models to their powers first, and add rewards and constraints last")
        terms = [Term(t.model, times(t.power, power)) for t in self.terms]
        return replace(self, terms=tuple(t for t in terms if t.power != 0))


@dataclass(frozen=True)
class Mixture(Composable):
    """log Σ_i w_i p_i: of diffused densities it is the diffused mixture, so that samples of it need no weights.

    Attributes:
        components: energies.
        log_weights: log w_i, one each; weights of unnormalised energies count with their constants.
        equal: whether nobody chose the weights.
    """

    components: tuple[Density, ...]
    log_weights: tuple[float, ...]
    equal: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(self.components[0].shape)

    @property
    def data_scale(self) -> float:
        """The root mean square of the components'."""
        return float((sum(float(c.data_scale) ** 2 for c in self.components) / len(self.components)) ** 0.5)

    @property
    def normalised(self) -> bool:
        """Whether all components are, and the weights sum to 1."""
        total = float(torch.tensor(self.log_weights, dtype=torch.float64).exp().sum())
        return all(c.normalised for c in self.components) and abs(total - 1) < 1e-9

    def log_density(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """logsumexp_i (log w_i + log p_i)."""
        logs = torch.stack([c.log_density(x, sigma) for c in self.components], 1)
        return (logs + logs.new_tensor(self.log_weights)).logsumexp(1)

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """Scores of the components, weighted by who is responsible."""
        return self.log_density_and_score(x, sigma)[1]

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both."""
        found = [c.log_density_and_score(x, sigma) for c in self.components]
        logs = torch.stack([log for log, _ in found], 1)
        logs = logs + logs.new_tensor(self.log_weights)
        scores = torch.stack([score for _, score in found], 1)
        share = logs.softmax(1).to(scores).view(*logs.shape, *(1,) * (scores.ndim - 2))
        return logs.logsumexp(1), (share * scores).sum(1)


def mixture(components: Sequence[Any], weights: Sequence[float] | None = None) -> Mixture:
    """The mixture of energies; ``a | b`` with equal weights.

    Args:
        components: normalised densities, or any energies if their weights are said.
        weights: positive; of energies that are not normalised they are weights on e^{−E}, whatever that integrates to.

    Raises:
        UsageError: no log density, rewards inside, shapes that differ, or unnormalised energies without weights.
    """
    parts: list[Density] = []
    for part in components:
        if isinstance(part, Composition) and part.rewards:
            raise UsageError("a mixture is made of energies; add rewards and constraints to the whole of it")
        parts.append(energy_of(part))
    if len({tuple(part.shape) for part in parts}) != 1:
        raise UsageError(
            f"a mixture of samples {sorted({tuple(p.shape) for p in parts})}; all must be of one data space"
        )
    if weights is None:
        loose = [str(i + 1) for i, part in enumerate(parts) if not part.normalised]
        if loose:
            raise UsageError(
                f"component(s) {', '.join(loose)} of a mixture are not normalised, so their shares are unknown; give "
                "calibrated energies (calibrate), or weights on the energies as they are (mixture(..., weights=...))"
            )
        logs = torch.full((len(parts),), 1 / len(parts), dtype=torch.float64).log()
        return Mixture(tuple(parts), tuple(logs.tolist()), True)
    if len(weights) != len(parts) or not all(0 < w < torch.inf for w in weights):
        raise UsageError(f"weights are {tuple(weights)}; give {len(parts)} positive numbers")
    return Mixture(tuple(parts), tuple(torch.tensor(weights, dtype=torch.float64).log().tolist()))


def composed(model: Any) -> Composition:
    """Any score or energy as a composition.

    Raises UsageError for anything else.
    """
    if isinstance(model, Composition):
        return model
    if not isinstance(model, Score):
        raise UsageError(
            f"{type(model).__name__} cannot be composed; expected an energy or a score, with score(x, sigma), "
            "shape and data_scale"
        )
    return Composition((Term(model, 1.0),))


@read_arguments
def guidance(unconditional: Any, conditional: Any, weight: float) -> Composition:
    """p_u^{1−w} p_c^w: what classifier-free guidance with weight w means to sample."""
    return (
        (1 - weight) * composed(unconditional) + weight * composed(conditional)
        if weight not in (0, 1)
        else composed(conditional if weight else unconditional)
    )


def _order(model: Score, sigma: Tensor) -> Tensor:
    if isinstance(model, Composition):
        return model.order(sigma)
    if isinstance(model, Mixture):
        return torch.stack([_order(c, sigma) for c in model.components]).min()
    return torch.ones((), dtype=torch.float64, device=sigma.device)


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
