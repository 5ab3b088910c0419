"""Drift that flattens the weights: b = Σ_i θ_i b_i added to the score, with θ from a small linear system over weighted
particles (DriftLite, arXiv 2509.21655; here with exact discrete weights).

For normalised γ and tame b, h_b = s · b + ∇ · b has mean 0 under γ, so adding b to the drift and h_b to the rate of the
weights changes nothing but their spread. The b_i are the scores of the models, x, and the ascent of the rewards: the
gradients of log p_i, ‖x‖²/2 and r. The exact weights of ``steps`` hold for any mean of the proposal; they need no
∇ · b, and a poor θ costs variance alone. Fitted on the particles that it then moves it does bias the evidence; fitted
in a pilot it does not.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.composition.algebra import Composition
from tenfold.energy.composition.terms import Evaluated
from tenfold.energy.feynman_kac.steps import NoiseStep, rate
from tenfold.smc.weights import normalised_weights

HALF = 0.5
"""Twist under which a reward's rate has no Laplacian; with control, θ finds the rest."""


class Bases(NamedTuple):
    """The a_i (m, n, k), up to a constant each, and their gradients b_i (m, n, k, d); float64."""

    potentials: Float[Tensor, "m n k"]
    fields: Float[Tensor, "m n k d"]


class Fitted(NamedTuple):
    """θ (m, k) float64, and in how many populations the system had no usable solution (θ = 0 there)."""

    theta: Float[Tensor, "m k"]
    failures: Float[Tensor, ""]


def bases_of(x: Float[Tensor, "n *shape"], found: Evaluated, populations: int) -> Bases:
    """log p_i of every model, ‖x‖²/2, and r where there is one."""
    assert found.logs is not None
    assert found.scores is not None
    rows = x.flatten(1).double()
    potentials = [found.logs, rows.square().sum(1, keepdim=True) / 2]
    fields = [found.scores.flatten(2).double(), rows[:, None]]
    if found.ascent is not None:
        assert found.reward is not None
        potentials.append(found.reward[:, None])
        fields.append(found.ascent.flatten(1).double()[:, None])
    split = (populations, -1)
    return Bases(torch.cat(potentials, 1).unflatten(0, split), torch.cat(fields, 1).unflatten(0, split))


def drift(found: Evaluated, x: Float[Tensor, "n *shape"], theta: Float[Tensor, "m k"]) -> Float[Tensor, "n *shape"]:
    """b = Σ θ_i b_i; θ (1, k) serves all populations."""
    assert found.scores is not None
    fields = [found.scores, x[:, None]] + ([] if found.ascent is None else [found.ascent[:, None]])
    each = theta.repeat_interleave(len(x) // len(theta), 0).to(x.dtype)
    return torch.einsum("nk,nkd->nd", each, torch.cat(fields, 1).flatten(2)).view(x.shape)


def reward_rate(
    target: Composition, x: Float[Tensor, "n *shape"], found: Evaluated, span: NoiseStep, last: bool
) -> Float[Tensor, " n"]:
    """∂_τ r + ½ s̄ · ∇r per unit of v: how r changes along the flow of the models. 0 for rewards that look ahead: along
    the flow the denoised sample hardly moves."""
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    assert found.score is not None
    for one in target.rewards:
        if not one.looks_ahead:
            now, ascent = one.at_level(x, span.sigma, None, target.data_scale, False)
            then, _ = one.at_level(x, span.sigma_next, None, target.data_scale, last)
            along = (found.score * ascent).flatten(1).double().sum(1) / 2
            total = total + (then.double() - now.double()) / span.v + along
    return total


def total_rate(
    target: Composition, x: Float[Tensor, "n *shape"], found: Evaluated, span: NoiseStep, last: bool
) -> Float[Tensor, " n"]:
    """The log-weight rate per unit of v at half twist: of products and powers, of powers that change with σ, and of
    rewards."""
    assert found.score is not None
    assert found.scores is not None
    powers, powers_next = target.powers(span.sigma), target.powers(span.sigma_next)
    total = rate(found.score, found.scores, powers)
    if any(callable(term.power) for term in target.terms):
        assert found.logs is not None
        total = total + (found.logs * (powers_next - powers)).sum(1) / span.v
    return total + reward_rate(target, x, found, span, last) if target.rewards else total


def energy_control(
    log_weights: Float[Tensor, "m n"], rates: Float[Tensor, "m n"], bases: Bases, ridge: float
) -> Fitted:
    """``ecg``: the Ritz solution of ∇·(γ ∇A) = −γ (G − E G) with b = ∇A, A = Σ θ_i a_i. Its system is
    E[∇a_i · ∇a_j] θ_j = E[(G − E G) a_i]: values and gradients, no second derivative."""
    weights = normalised_weights(log_weights)
    gram = torch.einsum("mn,mnid,mnjd->mij", weights, bases.fields, bases.fields)
    centred = _centred(weights, rates)
    right = torch.einsum("mn,mni->mi", weights * centred, _centred(weights, bases.potentials))
    return _solved(gram, right, ridge)


def variance_control(
    log_weights: Float[Tensor, "m n"],
    rates: Float[Tensor, "m n"],
    divergences: Float[Tensor, "m n k"],
    ridge: float,
) -> Fitted:
    """``vcg``: minimise Var(G + Σ θ_i h_i); its system is E[h_i h_j] θ_j = −E[G h_i] with centred quantities.

    ``divergences`` are the h_i = s · b_i + ∇ · b_i."""
    weights = normalised_weights(log_weights)
    centred = _centred(weights, divergences)
    gram = torch.einsum("mn,mni,mnj->mij", weights, centred, centred)
    right = -torch.einsum("mn,mni->mi", weights * _centred(weights, rates), centred)
    return _solved(gram, right, ridge)


def stein(found: Evaluated, bases: Bases, laplacians: Float[Tensor, "q j"], dimensions: int) -> Float[Tensor, "m n k"]:
    """h_i = s · b_i + ∇ · b_i, of mean 0 under γ; ``laplacians`` are Δ log p_i, and Δ r where there is a reward."""
    m = len(bases.fields)
    score = found.full_score.flatten(1).double().unflatten(0, (m, -1))
    models = found.scores.shape[1] if found.scores is not None else 0
    of_x = laplacians.new_full((len(laplacians), 1), dimensions)
    spread = torch.cat([laplacians[:, :models], of_x, laplacians[:, models:]], 1).double()
    return torch.einsum("mnd,mnkd->mnk", score, bases.fields) + spread.unflatten(0, (m, -1))


def _centred(weights: Tensor, values: Tensor) -> Tensor:
    wide = weights.view(*weights.shape, *(1,) * (values.ndim - 2))
    # Dead particles have weight 0 and may have any value.
    values = torch.where(wide > 0, values, 0.0)
    return values - (wide * values).sum(1, keepdim=True)


def _solved(gram: Tensor, right: Tensor, ridge: float) -> Fitted:
    """The systems of the populations, scaled to a unit diagonal, with a ridge."""
    scale = gram.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    unit = gram / (scale[:, :, None] * scale[:, None]) + ridge * torch.eye(gram.shape[1]).to(gram)
    solution, _ = torch.linalg.solve_ex(unit, (right / scale)[..., None])
    theta = solution[..., 0] / scale
    good = theta.isfinite().all(1, keepdim=True) & gram.isfinite().all(2).all(1, keepdim=True)
    return Fitted(torch.where(good, theta, 0.0), (~good).sum().double())
