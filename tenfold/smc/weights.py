"""Log weights of particles: normalised, their effective number, their mean. The last axis is that of the particles.

A log weight of −∞ is a dead particle. A population of dead particles alone has an effective size of 0 and a log mean
of −∞; its normalised weights are 0.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError

_LEAST = torch.finfo(torch.float64).min


def normalised_weights(log_weights: Float[Tensor, "*m n"]) -> Float[Tensor, "*m n"]:
    """W_i = w_i / Σ w, float64; 0 for all where every particle is dead.

    >>> normalised_weights(torch.tensor([0.0, 0.0, -torch.inf])).tolist()
    [0.5, 0.5, 0.0]
    """
    weights, _ = scaled_weights(log_weights)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1.0, total)


def effective_sample_size(log_weights: Float[Tensor, "*m n"]) -> Float[Tensor, "*m"]:
    """(Σ w)² / Σ w² by logsumexp, float64; between 1 and n, 0 where every particle is dead (Kong, Liu, Wong 1994).

    >>> effective_sample_size(torch.tensor([1e4, 1e4, 1e4 - 1e3])).item()
    2.0
    """
    weights, _ = scaled_weights(log_weights)
    return size_of(weights, weights.sum(-1))


def size_of(weights: Float[Tensor, "*m n"], total: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
    """(Σ w)²/Σ w² of weights whose largest is 1, and of their sum; 0 where all are 0."""
    return total.square() / torch.linalg.vecdot(weights, weights).clamp_(min=1)


def scaled_weights(log_weights: Float[Tensor, "*m n"]) -> tuple[Float[Tensor, "*m n"], Float[Tensor, "*m 1"]]:
    """w / max w, float64, and log max w (finite, where every particle is dead too): sums of large logs would lose the
    digits that tell the weights apart."""
    top = log_weights.amax(-1, keepdim=True).double().clamp_(min=_LEAST)
    return (log_weights - top).exp_(), top


def log_mean_weight(log_weights: Float[Tensor, "*m n"]) -> Float[Tensor, "*m"]:
    """log (1/n) Σ w, float64: the factor that a resampling adds to the estimate of the evidence."""
    return log_weights.double().logsumexp(-1) - math.log(log_weights.shape[-1])


def conditional_ess(log_weights: Float[Tensor, "*m n"], log_increments: Float[Tensor, "*m n"]) -> Float[Tensor, "*m"]:
    """n (Σ W g)² / Σ W g², float64, of increments g under the normalised weights W that particles already carry (Zhou,
    Johansen, Aston 2016); n where the increments are constant.

    >>> w = torch.tensor([0.0, -torch.inf, -torch.inf, -torch.inf])
    >>> conditional_ess(w, torch.zeros(4)).item()
    4.0
    """
    logs, steps = log_weights.double(), log_increments.double()
    steps = torch.where(logs == -torch.inf, 0.0, steps)
    first, second = (logs + steps).logsumexp(-1), (logs + 2 * steps).logsumexp(-1)
    share = (2 * first - second - logs.logsumexp(-1)).exp()
    return torch.where(first == -torch.inf, 0.0, share * log_weights.shape[-1])


def check_log_weights(log_weights: Float[Tensor, "*m n"], where: str = "") -> None:
    """Raise UsageError for log weights that are NaN or +∞, and for populations that have no living particle.

    It waits for the device: samplers call it seldom, or once. ``where`` ends the sentence, "at step 3" say.
    """
    if log_weights.shape[-1] == 0:
        raise UsageError(f"a population has no particles{where and ' ' + where}; give at least one")
    bad = int((log_weights.isnan() | (log_weights == torch.inf)).sum())
    if bad:
        raise UsageError(
            f"{bad} of {log_weights.numel()} log weights are NaN or +infinity{where and ' ' + where}; look for NaN in "
            "the densities, and for a reward that is not finite"
        )
    dead = int((log_weights.amax(-1) == -torch.inf).sum())
    if dead:
        raise UsageError(
            f"{dead} population(s) died: every particle has weight 0{where and ' ' + where}; use more particles, more "
            "steps, or a weaker constraint"
        )
