"""Resampling where it is needed, and only there: a mask, so that no population waits for another or for the device."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from tenfold.smc.resampling import ancestors_of, check_uniforms
from tenfold.smc.weights import scaled_weights, size_of


class Resampled(NamedTuple):
    """What a decision about every population made of it.

    Attributes:
        ancestors: (m, n) int64; 0, 1, ... where a population was left as it is.
        log_weights: (m, n); 0 where it was resampled, and otherwise the cumulative ones.
        log_mean: (m,) log mean weight that resampling took out of the weights, 0 where there was none; its sum is the
            estimate of the log evidence.
        mask: (m,) which were resampled.
        size: (m,) effective sample sizes before.
    """

    ancestors: Int[Tensor, "*m n"]
    log_weights: Float[Tensor, "*m n"]
    log_mean: Float[Tensor, "*m"]
    mask: Bool[Tensor, "*m"]
    size: Float[Tensor, "*m"]


def resample_where(
    log_weights: Float[Tensor, "*m n"],
    uniforms: Float[Tensor, "*m u"],
    threshold: float = 0.5,
    scheme: str = "systematic",
) -> Resampled:
    """Resample the populations whose effective size is below ``threshold`` times n; weights of the others accumulate.

    Random numbers are used whether or not they are needed, so that a decision shifts no later draw. A threshold of 0
    never resamples; above 1 always. The evidence stays unbiased because the mean weight is kept (Del Moral, Doucet,
    Jasra 2012).
    """
    n = log_weights.shape[-1]
    check_uniforms(uniforms, scheme, n)
    weights, top = scaled_weights(log_weights)
    total = weights.sum(-1)
    size = size_of(weights, total)
    mask = size < threshold * n
    drawn = ancestors_of(weights, uniforms.double(), scheme, n)
    ancestors = torch.where(mask[..., None], drawn, torch.arange(n, device=drawn.device))
    after = torch.where(mask[..., None], 0.0, log_weights)
    log_mean = total.log() + top[..., 0] - math.log(n)
    return Resampled(ancestors, after, torch.where(mask, log_mean, 0.0), mask, size)


def gather_particles(
    values: Shaped[Tensor, "m n *shape"], ancestors: Int[Tensor, "m k"]
) -> Shaped[Tensor, "m k *shape"]:
    """Rows of each population by their ancestors.

    >>> gather_particles(torch.tensor([[5.0, 6.0]]), torch.tensor([[1, 1, 0]]))
    tensor([[6., 6., 5.]])
    """
    if values.ndim == 2:
        return values.gather(1, ancestors)
    m, n = values.shape[:2]
    rows = ancestors + n * torch.arange(m, device=ancestors.device)[:, None]
    return values.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, ancestors.shape)
