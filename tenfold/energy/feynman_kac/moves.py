"""Moves that keep γ_σ: the Metropolis-adjusted Langevin algorithm, each particle accepted by itself, with a step size
that every population adapts to its own rate of acceptance."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.energy.composition.terms import Evaluated

Ask = Callable[[Tensor], Evaluated]


class MoveResult(NamedTuple):
    """Where particles are after a move, what the target says there, and which of them moved."""

    x: Float[Tensor, "n *shape"]
    found: Evaluated
    accepted: Bool[Tensor, " n"]


def step_size(scale: Float[Tensor, " m"], sigma: Float[Tensor, ""], order: Float[Tensor, ""]) -> Float[Tensor, " m"]:
    """h = c σ²/B: c is about 1 where the density is as narrow as its noise, and grows where it is smoother."""
    return scale * sigma.square() / order


def mala(
    ask: Ask,
    x: Float[Tensor, "n *shape"],
    found: Evaluated,
    h: Float[Tensor, " n"],
    z: Float[Tensor, "n *shape"],
    uniforms: Float[Tensor, " n"],
    from_score: bool = False,
) -> MoveResult:
    """y = x + h/2 s(x) + √h z, accepted with min(1, γ(y) N(x; y + h/2 s(y), h)/(γ(x) N(y; x + h/2 s(x), h))).

    Args:
        ask: the target at any x: log γ and its score, or with ``from_score`` its score alone.
        x, found: where particles are, and what the target says there.
        h: step size of each.
        z, uniforms: standard normal and U[0, 1) numbers.
        from_score: take ½ (s(x) + s(y)) · (y − x) for log γ(y) − log γ(x): exact to third order in the step if the
            score is a gradient, and only then about γ.
    """
    wide = h.to(x.dtype).view(-1, *(1,) * (x.ndim - 1))
    here = found.full_score
    y = x + wide / 2 * here + wide.sqrt() * z
    there = ask(y)
    after = there.full_score
    step = (y - x).flatten(1).double()
    if from_score:
        change = ((here + after).flatten(1).double() * step).sum(1) / 2
    else:
        change = there.log_density - found.log_density
    back = (step + h[:, None] / 2 * after.flatten(1).double()).square().sum(1)
    log_ratio = change - back / (2 * h) + z.flatten(1).double().square().sum(1) / 2
    # A NaN, between two places of no density, is no acceptance; one inside a density is found with the weights.
    accepted = uniforms.log() < log_ratio
    chosen = accepted.view(-1, *(1,) * (x.ndim - 1))
    return MoveResult(torch.where(chosen, y, x), there.where(accepted, found), accepted)


def adapted(scale: Float[Tensor, " m"], accepted: Bool[Tensor, "m n"], goal: float) -> Float[Tensor, " m"]:
    """c for the moves to come: log c rises with the rate of acceptance above ``goal``, within [1e-6, 1e6]."""
    return (scale * (accepted.double().mean(1) - goal).exp()).clamp(1e-6, 1e6)
