"""The likelihood of a masked chain of few steps, with and without a density ratio.

N steps reveal equally many random tokens each. The chain's bound is −Σ_k log p(x_{S_k} | x revealed before), in
expectation over the order: N = n is the bound of continuous time, and with fewer steps a factorised model pays for what
it takes as independent. A corrected chain draws k candidates of x_0 from p_ref, takes one by softmax(log r), and
reveals its tokens at S. With d_1 … d_k drawn from p_ref and c_j = d_j with x_S put in,

    p(x_S | x_t) = p_ref(x_S | x_t) E mean_j [ k r(c_j) / (r(c_j) + Σ_{i ≠ j} r(d_i)) ],

so that the log of one such mean is, in expectation, below log p: an upper bound on the negative log-likelihood of the
sampler that is used, whatever the ratio network says and without a normaliser.

(The joint −log p(x_0 | x_t) under the weight of the continuous bound is no bound: at the true joint posterior it falls
below the entropy of the data, as it counts one token's information for all that are still masked.)
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import categorical
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion.networks.protocol import Denoiser
from tenfold.errors import UsageError


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


def chosen_gain(given: Float[Tensor, "b k"], free: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """log mean_j [k r(c_j) / (r(c_j) + Σ_{i ≠ j} r(d_i))] from log r of the c_j (``given``) and d_i (``free``); 0 for
    one candidate."""
    k = given.shape[1]
    others = free[:, None, :].expand(-1, k, -1)
    itself = torch.eye(k, dtype=torch.bool, device=given.device)
    pool = torch.where(itself, given[:, :, None], others)
    return (given - pool.logsumexp(-1)).logsumexp(1)


@torch.no_grad()
def chain_bound(
    model: Denoiser,
    clean: Int[Tensor, "b n"],
    steps: int,
    log_ratio: Callable[[Tensor, Tensor], Tensor] | None = None,
    candidates: int = 16,
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
            drawn = categorical(weights, draws)
            fixed = torch.where(revealed[:, None], x[:, None], drawn)
            copies = noisy.repeat_interleave(candidates, 0)
            given, free = (
                log_ratio(kind.flatten(0, 1), copies).double().view(len(x), candidates) for kind in (fixed, drawn)
            )
            value = value + chosen_gain(given, free)
        found.append(-steps * value)
    return torch.cat(found)
