"""A diffusion model's bound as a function of the uniform number that chooses how much noise there is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.discrete_diffusion.likelihood import Denoiser, one_draw
from tenfold.runs.sampled_loss import SampledLoss


def sampled_losses(model: Denoiser, rows: Int[Tensor, "b n"], name: str, seed: int = 0) -> list[SampledLoss]:
    """The tight bound of one of the ``rows``, drawn with its noise, independently, in nats per token: as a function of
    the number of masks, of a masked model that is not told the time, else of α."""
    return [SampledLoss(f"{name}, noise level", 1, _loss(model, rows, seed), 16, 4, 100)]


def _loss(model: Denoiser, rows: Tensor, seed: int) -> Callable[[Any], Any]:
    generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def loss(points: Any) -> Any:
        clean = rows[torch.randint(len(rows), (len(points),), generator=generator)]
        places = torch.from_numpy(np.asarray(points)[:, 0])
        whether, which = torch.rand(2, *clean.shape, generator=generator)
        every = torch.ones_like(clean, dtype=torch.bool)
        return (one_draw(model, clean, every, places, whether, which) / clean.shape[1]).numpy()

    return loss
