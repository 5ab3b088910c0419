"""What a run of the sampler holds while it goes, what every step leaves, and what it returns."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from tenfold.energy.composition.terms import Evaluated
from tenfold.energy.feynman_kac.steering import Steered
from tenfold.smc.ancestry import genealogies, relative_variance, unique_ancestors
from tenfold.smc.evidence import Evidence, evidence_of
from tenfold.smc.particles import WeightedParticles

LAWS = {
    "exact": "the target at sigma_min, unbiased for any number of steps",
    "continuous": "the target at sigma_min, approximate: Euler steps of the continuous weights",
    "telescoping": "the target at sigma_min, approximate: the first model's step is taken for its time reversal",
    "twisted": "the discretised sampler, tilted by the reward",
    "escorted": "the target at sigma_min, approximate: Euler steps of the escorted rate",
    "steering": "the discretised sampler, tilted by the reward",
    "none": "the guided sampler as it is, without weights",
}


@dataclass
class Swarm:
    """Particles at one level: places x (m n, ...), what the target says there, log weights (m, n) since the last
    resampling, log Z (m,) until then, who descends from whom, and c of the moves."""

    x: Float[Tensor, "n *shape"]
    found: Evaluated
    log_weights: Float[Tensor, "m k"]
    log_z: Float[Tensor, " m"]
    roots: Int[Tensor, "m k"]
    step_scale: Float[Tensor, " m"]
    steered: Steered | None = None


@dataclass
class Trace:
    """What every step leaves: tensors on the device."""

    log_path: list[Tensor] = field(default_factory=list)
    ess: list[Tensor] = field(default_factory=list)
    resampled: list[Tensor] = field(default_factory=list)
    ancestors: list[Tensor] = field(default_factory=list)
    acceptance: list[Tensor] = field(default_factory=list)
    theta: list[Tensor] = field(default_factory=list)
    failures: list[Tensor] = field(default_factory=list)
    bad: list[tuple[int, Tensor]] = field(default_factory=list)


@dataclass(frozen=True)
class ParticleRun:
    """Populations at the last level, and how they came there.

    Attributes:
        weighted: particles (m, n, ...) and log weights (m, n); returned weighted unless the last step resampled.
        sigma: (t + 1,) the grid.
        log_path: (t + 1, m) log of the estimate of ∫ γ at each level, counted from the first level's weights: with the
            default start, of which the density is known, log ∫ γ_σ itself; with given particles log Z_σ/Z_{σ_max}.
        ess: (t, m) effective sizes before resampling.
        resampled: (t, m) which populations resampled.
        ancestors: (t, m, n).
        roots: (m, n) numbers of the first generation's particles that those of the last descend from.
        acceptance: (t, m) rates of moves; NaN-free, empty (0, m) without moves.
        step_scale: (m,) where c of the moves ended.
        theta: (t, m or 1, k) coefficients of the control; (0, 0, 0) without.
        control_failures: steps and populations whose control had no solution.
        units: network evaluations, in forward passes of one particle; those of a pilot are included.
        weights: what kind they are.
        law: what the weighted particles are distributed as.
        warnings: sentences about what may be wrong with it.
    """

    weighted: WeightedParticles
    sigma: Float[Tensor, " t1"]
    log_path: Float[Tensor, "t1 m"]
    ess: Float[Tensor, "t m"]
    resampled: Bool[Tensor, "t m"]
    ancestors: Int[Tensor, "t m n"]
    roots: Int[Tensor, "m n"]
    acceptance: Float[Tensor, "s m"]
    step_scale: Float[Tensor, " m"]
    theta: Float[Tensor, "r q k"]
    control_failures: int
    units: int
    weights: str
    warnings: tuple[str, ...] = field(default=())

    @property
    def law(self) -> str:
        """What the weighted particles are distributed as."""
        return LAWS[self.weights]

    @property
    def particles(self) -> Shaped[Tensor, "m n *shape"]:
        """As they are: weighted."""
        return self.weighted.particles

    @property
    def log_weights(self) -> Float[Tensor, "m n"]:
        """Of the particles."""
        return self.weighted.log_weights

    @property
    def log_z(self) -> Float[Tensor, " m"]:
        """log of each population's estimate of ∫ γ at the last level (see ``log_path``)."""
        return self.log_path[-1]

    @property
    def log_ratio(self) -> Float[Tensor, " m"]:
        """log Z at the last level over Z at the first, of each population."""
        return self.log_path[-1] - self.log_path[0]

    @property
    def evidence(self) -> Evidence:
        """log of the mean estimate over populations, with its standard error."""
        return evidence_of(self.log_z)

    @property
    def unique(self) -> Int[Tensor, " m"]:
        """Particles of the first generation with descendants in the last."""
        return unique_ancestors(self.roots)

    @property
    def lines(self) -> Int[Tensor, "t1 m n"]:
        """The ancestors of every particle of the last generation at each resampling."""
        return genealogies(self.ancestors)


def degeneracy(
    log_z: Float[Tensor, " m"],
    log_weights: Float[Tensor, "m n"],
    roots: Int[Tensor, "m n"],
    resampled: Bool[Tensor, "t m"],
    weighed: bool,
) -> list[str]:
    """Sentences where the numbers are not to be trusted: few lines are left, or log Z is uncertain by more than 1."""
    said, n = [], roots.shape[1]
    left = unique_ancestors(roots).double()
    if n > 1 and float(left.min()) < 0.05 * n:
        said.append(
            f"the particles descend from {float(left.mean()):.1f} of {n} in the mean over populations, fewer than 5 %; "
            "use more particles, more steps, or moves"
        )
    if not weighed:
        return said
    if len(log_z) > 1:
        error = evidence_of(log_z).standard_error
        error = torch.inf if error is None else error
    else:
        error = float(relative_variance(log_weights, roots, resampled.sum(0)).sqrt()[0])
    if error >= 1 - 1e-9 and n > 1:
        said.append(
            f"log Z is uncertain by {error:.2g} or more; use more particles or populations, steps, moves or control"
        )
    return said
