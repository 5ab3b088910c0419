"""Noisy scores of a density that can be evaluated but not sampled, p̄ = Z p, by noising the noisy sequences.

The uniform kernel is symmetric, p(x_t | x_0) = p(x_0 | x_t) as functions, so p_t(y)/p_t(x) = E_{x_0 ~ K(·|y)} p̄(x_0)
/ E_{x_0 ~ K(·|x)} p̄(x_0). With masks, p(x_0^i = y | x_t) is proportional to the mean of p̄ over completions of x_t
with y at i, the other masks filled uniformly. Hopeless at much noise over many sites: watch the effective sample size.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete.paths import MaskSource, Source, UniformSource
from tenfold.discrete_diffusion.targets.densities import LogDensity
from tenfold.discrete_diffusion.targets.protocol import all_candidates, edited
from tenfold.errors import UsageError


def log_mean(values: Float[Tensor, "*b k"], log_weights: Float[Tensor, "*b k"] | None = None) -> Float[Tensor, "*b"]:
    """log of the mean of exp(values), or of its sum with weights."""
    if log_weights is None:
        return values.logsumexp(-1) - math.log(values.shape[-1])
    return (values + log_weights).logsumexp(-1)


def effective_sample_size(log_weights: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """(Σ w)²/Σ w², between 1 and k."""
    return (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()


def uniform_log_ratio(
    log_density: LogDensity,
    noisy: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    candidates: Int[Tensor, "b m c"],
    alpha: Float[Tensor, " b"],
    source: Source,
    whether: Float[Tensor, "b k n"],
    which: Float[Tensor, "b k n"],
) -> tuple[Float[Tensor, "b m c"], Float[Tensor, " b"]]:
    """log p_t(x with y at i)/p_t(x) by K noised copies of each, the same random numbers for both, and the effective
    sample size of the denominator. Bias O(1/K).

    Raises UsageError for a mask source, whose kernel is not symmetric."""
    if not isinstance(source, UniformSource):
        raise UsageError(
            "the ratio by noising needs the symmetric kernel of a uniform source; with masks use completions"
        )
    k = whether.shape[1]
    neighbours = edited(noisy, sites, candidates)

    def values(sequences: Tensor) -> Tensor:
        copies = sequences[..., None, :].expand(*sequences.shape[:-1], k, sequences.shape[-1])
        around = [slice(None)] + [None] * (sequences.ndim - 2)
        u, w = (numbers[tuple(around)].expand(copies.shape) for numbers in (whether, which))
        a = alpha.view(-1, *[1] * (copies.ndim - 2)).expand(copies.shape[:-1])
        flat = source.noise(copies.flatten(0, -2), a.flatten(), u.flatten(0, -2), w.flatten(0, -2))
        return log_density(flat).view(copies.shape[:-1])

    here = values(noisy)
    return log_mean(values(neighbours)) - log_mean(here)[:, None, None], effective_sample_size(here)


def mask_log_posterior(
    log_density: LogDensity,
    noisy: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    source: Source,
    which: Float[Tensor, "b k n"],
) -> tuple[Float[Tensor, "b m v"], Float[Tensor, "b m"]]:
    """log p(x_0^i = y | x_t) at masked sites by K completions, the same for every y, and the least effective sample
    size over y. Self-normalised: bias O(1/K).

    Raises UsageError for a uniform source."""
    if not isinstance(source, MaskSource):
        raise UsageError("completions fill masks, of which a uniform source has none; use uniform_log_ratio")
    k, size = which.shape[1], source.vocabulary
    fill = (which * size).long().clamp(max=size - 1)
    complete = torch.where((noisy == source.mask)[:, None], fill, noisy[:, None])
    b, m = sites.shape
    repeated_sites = sites[:, None].expand(b, k, m).flatten(0, 1)
    tokens = all_candidates(repeated_sites, size)
    values = log_density(edited(complete.flatten(0, 1), repeated_sites, tokens).flatten(0, 2))
    values = values.view(b, k, m, size).permute(0, 2, 3, 1)
    return log_mean(values).log_softmax(-1), effective_sample_size(values).amin(-1)
