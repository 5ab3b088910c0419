"""Samplers without a grid: every jump at its own time."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import mask_exactly
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion.samplers.state import Chain


def first_hitting(chain: Chain) -> Int[Tensor, "b n"]:
    """With n masks left the next one goes at 1 − α' = (1 − α) U^{1/n} (arXiv 2409.02908): no grid, no error of time,
    ⌈n/k⌉ calls."""
    k = chain.options.per_call
    noise_left = 1 - chain.predict.alpha(chain.times(1.0))
    most = int(chain.masks.sum(1).max())
    for _ in progress.track(range(-(-most // k)), "calls"):
        masked = chain.masks
        left = masked.sum(1)
        # The hitting times of k masks in turn; the network is told the first.
        turns = (left[:, None] - torch.arange(k, device=chain.device)).clamp(min=1)
        levels = noise_left[:, None] * (chain.uniforms(chain.size, k) ** (1 / turns)).cumprod(1)
        going = mask_exactly(masked, left.clamp(max=k), chain.uniforms(*masked.shape))
        chain.reveal(going, time_of(chain.schedule, 1 - levels[:, 0]))
        noise_left = levels[:, -1]
    return chain.noisy


def gillespie(chain: Chain) -> Int[Tensor, "b n"]:
    """Every free site is redrawn from the prediction at rate λ: in −log(1 − α) the events come at a rate of one a site.
    What is left at 1 − α = floor is drawn at once."""
    free, floor = ~chain.prompt, chain.options.floor
    sites = free.sum(1).double()
    clock = -(1 - chain.predict.alpha(chain.times(1.0))).log()
    end = -math.log(floor)
    running = sites > 0
    while bool(running.any()):
        clock = clock - torch.log1p(-chain.uniforms(chain.size)) / sites.clamp(min=1)
        running &= clock < end
        which = running.nonzero()[:, 0]
        if not len(which):
            break
        t = time_of(chain.schedule, -torch.expm1(-clock[which]))
        prediction = chain.predict(chain.noisy[which], t, "posterior")
        site = chain.random.tokens(free[which].double())
        rows = torch.arange(len(which), device=chain.device)
        chain.noisy[which, site] = chain.random.tokens(prediction[rows, site].exp())
    t = time_of(chain.schedule, torch.full_like(clock, 1 - floor))
    chain.move(chain.predict(chain.noisy, t, "posterior").exp())
    return chain.noisy
