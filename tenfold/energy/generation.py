"""Samples of a model itself, without weights: EDM's deterministic sampler (arXiv 2206.00364, Algorithm 1)."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.density import Score
from tenfold.training.streams import Draws


def heun(
    model: Score, start: Float[Tensor, "n *shape"], grid: Float[Tensor, " t"], last: bool = True
) -> Float[Tensor, "n *shape"]:
    """Solve dx/dσ = −σ ∇log p_σ(x) along a falling grid of noise levels by Heun's rule, 2 T evaluations of the score.

    ``last`` adds the step to σ = 0: the denoiser at the least level."""
    x, levels = start, grid.to(start)
    with torch.no_grad():
        for k in progress.track(range(len(levels) - 1), "sampling", "steps"):
            here, there = levels[k], levels[k + 1]
            slope = -here * model.score(x, here)
            guess = x + (there - here) * slope
            x = x + (there - here) * 0.5 * (slope - there * model.score(guess, there))
        return x + levels[-1].square() * model.score(x, levels[-1]) if last else x


def generate(
    model: Score, count: int, grid: Float[Tensor, " t"], seed: int, device: torch.device, chunk: int = 512
) -> Float[Tensor, "n *shape"]:
    """``count`` samples; number i is the same whatever the count and the chunk."""
    parts = []
    for index in torch.arange(count, device=device).split(chunk):
        noise = Draws(seed, 0).normal("start", index, tuple(model.shape))
        scale = (grid[0].square() + model.data_scale**2).sqrt()  # of p_σ at the largest level
        parts.append(heun(model, scale.to(noise) * noise, grid))
    return torch.cat(parts)
