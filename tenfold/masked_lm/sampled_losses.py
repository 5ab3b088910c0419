"""A masked language model's bound as a function of the uniform number that chooses how much is masked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold import discrete
from tenfold.masked_lm.loss import Noised, bound, mask_at_times, mask_counts
from tenfold.masked_lm.model import MaskedLM
from tenfold.runs.sampled_loss import SampledLoss

# What hides tokens of rows that may be masked, given a number in [0, 1) and one for each token.
Hide = Callable[[Tensor, Tensor, Tensor, Tensor], Noised]


def sampled_losses(model: MaskedLM, rows: dict[str, Tensor], seed: int = 0) -> list[SampledLoss]:
    """The bound of one of the ``rows`` (drawn with its masks, independently), in nats per maskable token, as a function
    of the time and as one of the number of masks."""
    mask = model.special.mask

    def at_times(clean: Tensor, maskable: Tensor, places: Tensor, uniforms: Tensor) -> Noised:
        return mask_at_times(clean, maskable, discrete.times(places), uniforms, mask)

    def at_counts(clean: Tensor, maskable: Tensor, places: Tensor, uniforms: Tensor) -> Noised:
        return mask_counts(clean, maskable, places, uniforms, mask)

    forms: dict[str, Hide] = {"masked LM, time": at_times, "masked LM, number of masks": at_counts}
    return [SampledLoss(name, 1, _loss(model, rows, hide, seed), 16, 2, 60) for name, hide in forms.items()]


def _loss(model: MaskedLM, rows: dict[str, Tensor], hide: Hide, seed: int) -> Callable[[Any], Any]:
    generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def loss(points: Any) -> Any:
        chosen = torch.randint(len(rows["tokens"]), (len(points),), generator=generator)
        clean, maskable, real = (rows[name][chosen] for name in ("tokens", "maskable", "real"))
        places = torch.from_numpy(np.asarray(points)[:, 0]).float()
        noised = hide(clean, maskable, places, torch.rand(clean.shape, generator=generator))
        nll = model(noised.tokens, clean, noised.masked, None if bool(real.all()) else real)
        return (bound(nll.double(), noised) / maskable.sum(1).clamp(min=1)).numpy()

    return loss
