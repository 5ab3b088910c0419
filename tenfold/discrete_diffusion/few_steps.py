"""The likelihood of a masked chain of few steps, with and without a density ratio.

N steps reveal equally many random tokens each. The chain's bound is −Σ_k log p(x_{S_k} | x revealed before), in
expectation over the order: N = n is the bound of continuous time, and with fewer steps a factorised model pays for what
it takes as independent. A corrected model draws x_0 from p_ref r/Z and keeps its tokens at S, so that

    log p(x_S | x_t) = log p_ref(x_S | x_t) + log E_ref[r | x_S] − log E_ref[r],

both expectations by K draws of the tokens that are not fixed. The first is biased low, which is to the model's
disadvantage, the second too, which flatters it: report several K.

(The joint −log p(x_0 | x_t) under the weight of the continuous bound is no bound: at the true joint posterior it falls
below the entropy of the data, as it counts one token's information for all that are still masked.)
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import discrete
from tenfold.discrete_diffusion.ratios import log_normaliser
from tenfold.discrete_paths import MaskSource
from tenfold.errors import UsageError

Ratio = Callable[[Tensor, Tensor], Tensor]


def one_step(
    clean: Int[Tensor, "b n"], steps: int, which: Int[Tensor, " b"], uniforms: Float[Tensor, "b n"], mask: int
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """x_t before step ``which`` of N, in a random order of the tokens, and S, what the step reveals."""
    n = clean.shape[1]
    if not 1 <= steps <= n:
        raise UsageError(f"{steps} steps for rows of {n} tokens; give 1 to {n}")
    rank = uniforms.argsort(1).argsort(1)
    first, last = which * n // steps, (which + 1) * n // steps
    hidden = rank >= first[:, None]
    return torch.where(hidden, mask, clean), hidden & (rank < last[:, None])


@torch.no_grad()
def chain_bound(
    model: Any,
    clean: Int[Tensor, "b n"],
    steps: int,
    log_ratio: Ratio | None = None,
    candidates: int = 64,
    seed: int = 0,
    batch: int = 16,
) -> Float[Tensor, " b"]:
    """An estimate of the bound of each row, nats, float64: one of the N steps, times N; the steps are spread over the
    rows. ``log_ratio`` takes (clean, noisy) rows to log r.

    Raises UsageError for a uniform source, a network that is told the time, and more steps than tokens."""
    source = model.source
    if not isinstance(source, MaskSource) or model.time_conditioned:
        raise UsageError("the bound of few steps is for masked models that are not told the time")
    generator = torch.Generator().manual_seed(seed)
    which = torch.randperm(len(clean), generator=generator) % steps
    uniforms = torch.rand(clean.shape, generator=generator)
    found = []
    for rows in torch.arange(len(clean)).split(batch):
        x = clean[rows.to(clean.device)]
        step, numbers = (values[rows].to(clean.device) for values in (which, uniforms))
        noisy, revealed = one_step(x, steps, step, numbers, source.mask)
        log_p = model(noisy).double()
        own = log_p.gather(-1, x[..., None])[..., 0]
        value = torch.where(revealed, own, 0.0).sum(1)
        if log_ratio is not None:
            draws = torch.rand(len(x), candidates, x.shape[1], generator=generator, dtype=torch.float64).to(x.device)
            weights = log_p.exp()[:, None].expand(-1, candidates, -1, -1)
            drawn = discrete.categorical(weights, draws)
            fixed = torch.where(revealed[:, None], x[:, None], drawn)
            copies = noisy.repeat_interleave(candidates, 0)
            given, free = (
                log_ratio(kind.flatten(0, 1), copies).double().view(len(x), candidates) for kind in (fixed, drawn)
            )
            value = value + log_normaliser(given) - log_normaliser(free)
        found.append(-steps * value)
    return torch.cat(found)
