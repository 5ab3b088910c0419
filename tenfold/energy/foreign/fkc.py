"""The sampler of guidance that is published with Feynman-Kac correctors (arXiv 2503.02819), in its own order of
operations, so that runs of it can be compared digit by digit.

It resamples after every step but the last by the increment of that step alone, less its mean and clamped to ±1, with
weights of at least 1e-6, and keeps no evidence: its particles have no law that can be written down.
``ParticleSampler`` with ``WeightOptions("continuous")`` has the same rates without any of this.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.energy.density import Score
from tenfold.errors import UsageError

_MOST, _LEAST_WEIGHT = 1.0, 1e-6


class FkcRun(NamedTuple):
    """What the sampler of FKC made of T steps: particles at the end; before each of its T − 1 resamplings the particles
    and their increments of log weight, unclamped; and the ancestors that it chose."""

    particles: Float[Tensor, "n *shape"]
    proposed: Float[Tensor, "r n *shape"]
    increments: Float[Tensor, "r n"]
    ancestors: Int[Tensor, "r n"]


@torch.no_grad()
def fkc_guidance(
    unconditional: Score,
    conditional: Score,
    weight: float,
    sigma: Float[Tensor, " t1"],
    start: Float[Tensor, "n *shape"],
    noise: Float[Tensor, "t n *shape"],
    uniforms: Float[Tensor, " r"],
) -> FkcRun:
    """Guided samples, weighed and resampled as FKC's published code does it (arXiv 2503.02819, Proposition 3.2).

    A step from σ to σ' < σ moves by x' = x + 2σ(σ − σ') s̄ + √(2σ(σ − σ')) z with s̄ = s_u + w (s_c − s_u), and its
    increment is w(w − 1) σ(σ − σ') ‖s_u − s_c‖², where we have (σ² − σ'²)/2 for σ(σ − σ').

    Args:
        unconditional: s_u.
        conditional: s_c.
        weight: w.
        sigma: falling noise levels, of which the last may be 0.
        start: particles at the first level.
        noise: z of every step, standard normal.
        uniforms: U[0, 1) numbers, one for each step but the last.

    Raises:
        UsageError: levels that do not fall, or numbers that are not as many as the steps.
    """
    steps = len(sigma) - 1
    if steps < 2 or not bool((sigma[1:] < sigma[:-1]).all() & (sigma[-1] >= 0)):
        raise UsageError("the noise levels do not fall to 0 or above; give at least three, the largest first")
    if len(noise) != steps or len(uniforms) != steps - 1:
        raise UsageError(
            f"{len(noise)} draws of noise and {len(uniforms)} uniforms were given for {steps} steps; give {steps} and "
            f"{steps - 1}"
        )
    x, proposed, increments, ancestors = start, [], [], []
    for k, (here, there) in enumerate(pairwise(sigma)):
        apart = conditional.score(x, here) - (plain := unconditional.score(x, here))
        length = here * (here - there)
        x = x + 2 * length * (plain + weight * apart) + (2 * length).sqrt() * noise[k]
        if k == steps - 1:
            break
        increment = weight * (weight - 1) * length * apart.flatten(1).square().sum(1)
        chosen = _ancestors(increment, uniforms[k])
        proposed.append(x)
        increments.append(increment)
        ancestors.append(chosen)
        x = x[chosen]
    return FkcRun(x, *map(torch.stack, (proposed, increments, ancestors)))


def _ancestors(increment: Float[Tensor, " n"], uniform: Float[Tensor, ""]) -> Int[Tensor, " n"]:
    """Systematic points (u + j/n) modulo 1, not sorted, in the cumulative sums of weights that need not sum to one."""
    weights = (increment - increment.mean()).clamp(-_MOST, _MOST).softmax(0).clamp(min=_LEAST_WEIGHT)
    points = (uniform + torch.arange(len(weights), device=weights.device) / len(weights)) % 1
    return torch.searchsorted(weights.cumsum(0), points.to(weights)).clamp(max=len(weights) - 1)
