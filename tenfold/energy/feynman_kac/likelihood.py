"""Log-likelihoods: of an energy by its value, of any score by the probability-flow ODE."""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.composition.algebra import composed
from tenfold.energy.density import Density, Score
from tenfold.energy.feynman_kac.divergence import divergence, width_at
from tenfold.energy.noise import check_grid
from tenfold.errors import UsageError
from tenfold.training.streams import Draws

__all__ = ["energy_log_likelihood", "flow_log_likelihood"]


def energy_log_likelihood(
    model: Any, x: Float[Tensor, "n *shape"], sigma: float = 0.002, chunk: int | None = None
) -> Float[Tensor, " n"]:
    """log p_σ(x) in nats by one forward pass; float64.

    Raises UsageError for a score without an energy, or an energy whose constant is unknown.
    """
    target = composed(model)
    if not target.normalised:
        raise UsageError(
            "a log-likelihood needs a normalised density, and the model's constant is unknown; calibrate it first "
            "(calibrate), or use the probability flow"
        )
    energy = target.terms[0].model
    assert isinstance(energy, Density)
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        return torch.cat([energy.log_density(part, level).double() for part in x.split(chunk or max(1, len(x)))])


def flow_log_likelihood(
    model: Score,
    x: Float[Tensor, "n *shape"],
    grid: Float[Tensor, " t"],
    method: Literal["full", "probe"] = "full",
    seed: int = 0,
    start: int = 0,
) -> Float[Tensor, " n"]:
    """log p at the last level of the grid, in nats, by Heun's rule along dx/dσ = −σ s(x, σ); float64.

    log p_{σ_min}(x) = log N(x_T; 0, (σ_max² + σ_d²) I) − ∫ σ ∇ · s dσ along the flow (Song et al. 2021). The error is
    that of the grid, of σ_max, and of the score; with "probe" also that of one random direction a sample.

    Args:
        model: a score.
        x: samples at the last level.
        grid: falling levels.
        method: of the divergence: "full" takes 2 d scores a stage, "probe" 2.
        seed, start: key the probes: sample i has those of start + i.
    """
    levels = check_grid(grid).to(x.device).flip(0)
    index = torch.arange(start, start + len(x), device=x.device)
    place, gained = x, torch.zeros(len(x), dtype=torch.float64, device=x.device)

    def slopes(at: Tensor, sigma: Tensor, step: int) -> tuple[Tensor, Tensor]:
        level = sigma.to(at.dtype)
        signs = Draws(seed, step).uniform("probe", index, tuple(x.shape[1:]))
        probe = torch.where(signs < 0.5, -1.0, 1.0).to(at.dtype)
        spread = divergence(lambda y: model.score(y, level), at, width_at(sigma, at.dtype), method, probe)
        return -level * model.score(at, level), sigma * spread

    with torch.no_grad():
        for k in progress.track(range(len(levels) - 1), "probability flow", "steps"):
            h = levels[k + 1] - levels[k]
            first, second = slopes(place, levels[k], k)
            ahead = place + h.to(x.dtype) * first
            first_next, second_next = slopes(ahead, levels[k + 1], k)
            place = place + h.to(x.dtype) / 2 * (first + first_next)
            gained = gained + h / 2 * (second + second_next)
    variance = levels[-1].square() + float(model.data_scale) ** 2
    d = x[0].numel()
    last = -(place.flatten(1).double().square().sum(1) / variance + d * (math.log(2 * math.pi) + variance.log())) / 2
    return last - gained
