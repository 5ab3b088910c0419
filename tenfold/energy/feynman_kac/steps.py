"""One step from level σ to σ' < σ: the proposals N(μ, V I) with μ = x + pull · s̄, and the weights that belong to them.

v = σ² − σ'² throughout; B is the order of the target, Σ β_i. The backward kernel is the noising one, N(x; x', v I), but
for control.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError


class NoiseStep(NamedTuple):
    """A step of the grid, float64 numbers on the device of the particles."""

    sigma: Tensor
    sigma_next: Tensor

    @property
    def v(self) -> Tensor:
        """v = σ² − σ'², of which differences of squares would lose digits."""
        return (self.sigma - self.sigma_next) * (self.sigma + self.sigma_next)


class Affine(NamedTuple):
    """μ = x + pull · s̄ and V."""

    pull: Tensor
    variance: Tensor


def gaussian(span: NoiseStep, order: Tensor, delta: float | Tensor) -> Affine:
    """The step that is exact for γ = N(m, δ² I)^B: with q = σ'² + δ², pull = v (σ² + δ²)/(q + B v), V = v q/(q + B v).

    δ → 0 is ``ancestral``, δ → ∞ is ``euler_maruyama``.
    """
    q = span.sigma_next.square() + delta**2
    return Affine(span.v * (q + span.v) / (q + order * span.v), span.v * q / (q + order * span.v))


def ancestral(span: NoiseStep, order: Tensor) -> Affine:
    """pull = v σ²/(σ'² + B v), V = v σ'²/(σ'² + B v): the posterior step of DDPM where B = 1."""
    return gaussian(span, order, 0.0)


def euler_maruyama(span: NoiseStep) -> Affine:
    """pull = V = v."""
    return Affine(span.v, span.v)


def proposal(kind: str, span: NoiseStep, order: Tensor, delta: float) -> Affine:
    """By name; "base" is the ancestral step of one model, B = 1."""
    if kind == "em":
        return euler_maruyama(span)
    if kind == "gaussian":
        return gaussian(span, order, delta)
    return ancestral(span, torch.ones_like(order) if kind == "base" else order)


@dataclass(frozen=True)
class ProposedStep:
    """A proposed step: where from, where to, and by which standard normal numbers."""

    x: Float[Tensor, "n *shape"]
    x_next: Float[Tensor, "n *shape"]
    z: Float[Tensor, "n *shape"]
    affine: Affine
    span: NoiseStep


def shifted(x: Float[Tensor, "n *shape"], by: Tensor, along: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
    """x + by · along, with a number in float64 that is rounded to the type of x."""
    return torch.addcmul(x, along, by.to(x.dtype))


def square_norm(x: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
    """‖x‖² of each sample as float64, summed in the type of x: pairwise, so that it is as exact as its terms."""
    return x.flatten(1).square().sum(1).double()


def exact_increment(
    moved: ProposedStep,
    log_density: Float[Tensor, " n"],
    log_density_next: Float[Tensor, " n"],
    drift_next: Float[Tensor, "n *shape"] | None = None,
) -> Float[Tensor, " n"]:
    """log G = log γ'(x') − log γ(x) + log N(x; x' − V b(x'), v I) − log N(x'; μ, V I), float64.

    Unbiased for Z'/Z whatever μ and b are. ‖x' − μ‖²/V is ‖z‖² by construction. Without control b = 0. With it, b is
    the drift that it added, taken at x': against the noising kernel alone every step would carry the noise −√v ⟨b, z⟩,
    which the time reversal of the controlled process does not have.
    """
    d = moved.x[0].numel()
    back = moved.x_next - moved.x
    if drift_next is not None:
        back = shifted(back, -moved.affine.variance, drift_next)
    gone = square_norm(back) / moved.span.v
    drawn = square_norm(moved.z)
    normaliser = d * (moved.affine.variance / moved.span.v).log()
    return log_density_next - log_density + (drawn - gone + normaliser) / 2


def rate(
    score: Float[Tensor, "n *shape"], scores: Float[Tensor, "n k *shape"], powers: Float[Tensor, " k"]
) -> Float[Tensor, " n"]:
    """½ (‖s̄‖² − Σ β_i ‖s_i‖²): the log-weight rate per unit of v without rewards (FKC, arXiv 2503.02819); float64.

    ½ β (β − 1) ‖s‖² for a power, Σ_{i<j} ⟨s_i, s_j⟩ for a product, ½ w (w − 1) ‖s_c − s_u‖² for guidance.
    """
    squares = scores.flatten(2).double().square().sum(2)
    return (score.flatten(1).double().square().sum(1) - (powers * squares).sum(1)) / 2


def twisted_increment(
    moved: ProposedStep,
    reward: Float[Tensor, " n"],
    reward_next: Float[Tensor, " n"],
    ascent: Float[Tensor, "n *shape"],
    twist: float,
) -> Float[Tensor, " n"]:
    """log G = r'(x') − r(x) − ½ ζ² ‖∇r‖² − ζ ⟨∇r, z⟩ with ζ = twist · pull/√V, float64: no further network call.

    Exact for the law of the discretised sampler whose means are affine in the score (TDS, arXiv 2306.17775).
    """
    zeta = twist * moved.affine.pull / moved.affine.variance.sqrt()
    up, z = ascent.flatten(1).double(), moved.z.flatten(1).double()
    return reward_next - reward - zeta.square() * up.square().sum(1) / 2 - zeta * (up * z).sum(1)


def check_affine(affine: Affine, span: NoiseStep, kind: str, order: Tensor) -> None:
    """Raise UsageError where a step has no variance or an infinite mean."""
    if not bool((affine.variance > 0) & affine.variance.isfinite() & affine.pull.isfinite()):
        raise UsageError(
            f"the {kind} proposal has no variance from sigma {float(span.sigma):g} to {float(span.sigma_next):g}: with "
            f"powers that sum to {float(order):g} the target is not normalisable there; raise the positive powers"
        )
