"""What ordered samplers learn by: denoising cross entropy on their own samples, weighted by target / model, the
log-variance of path weights, and the variational free energy of an autoregressive one."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import mask_exactly


def masked_cross_entropy(
    network: nn.Module,
    x: Int[Tensor, "b d"],
    states: int,
    counts: Float[Tensor, " b"],
    uniforms: Float[Tensor, "b d"],
) -> Float[Tensor, " b"]:
    """(d/m) Σ_{masks} −log p(x_i | the rest), with m ~ U{1, ..., d} masks: an unbiased estimate of −log q(x | order)
    over uniform orders (arXiv 2508.10684, eq. 15).

    Args:
        counts: U[0, 1) numbers that choose m.
        uniforms: U[0, 1) numbers that choose which are masked.
    """
    d = x.shape[1]
    masks = (counts * d).long().clamp(max=d - 1) + 1
    hidden = mask_exactly(torch.ones_like(x, dtype=torch.bool), masks, uniforms)
    logs = network(torch.where(hidden, states, x)).gather(-1, x[..., None])[..., 0]
    return -torch.where(hidden, logs, 0.0).sum(1) * d / masks


def log_variance(log_rho: Float[Tensor, " b"], log_q: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """Var(log ρ − log q) over samples whose law is held fixed: 0 where q is the target (Richter et al. 2020)."""
    return (log_rho.detach() - log_q).var()


def free_energy_loss(log_rho: Float[Tensor, " b"], log_q: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Rows whose mean has the gradient of E_q(log q − log ρ), the reverse Kullback-Leibler divergence, by the score
    function with the batch's mean as baseline (arXiv 1809.10606)."""
    value = (log_q - log_rho).detach()
    return (value - value.mean()) * log_q
