"""How far the next distribution of a sequence may be from the present one: bisection on the conditional effective
sample size."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.smc.weights import conditional_ess

_HALVINGS = 60


def next_exponent(
    log_weights: Float[Tensor, "*m n"],
    log_likelihood: Float[Tensor, "*m n"],
    exponent: Float[Tensor, "*m"],
    keep: float = 0.9,
    last: float = 1.0,
) -> Float[Tensor, "*m"]:
    """The largest λ' in (λ, ``last``] for which the step from γ L^λ to γ L^λ' keeps a conditional effective size of
    ``keep`` · n; float64, by bisection of fixed length, so that nothing waits for the device.

    The increments are L^{λ' − λ}, and the weights are those that particles carry by now, not uniform ones. The size
    falls as λ' grows, whatever the sign and the skewness of log L.

    Args:
        log_weights: cumulative.
        log_likelihood: log L of each particle; −∞ allowed.
        exponent: λ of each population.
        keep: in (0, 1).
        last: where the sequence ends.

    Raises:
        UsageError: ``keep`` outside (0, 1).
    """
    if not 0 < keep < 1:
        raise UsageError(f"keep is {keep}; the share of the effective size that a step keeps lies in (0, 1)")
    goal = keep * log_weights.shape[-1]

    def size(to: Float[Tensor, "*m"]) -> Float[Tensor, "*m"]:
        step = (to - exponent).clamp(min=torch.finfo(torch.float64).tiny)[..., None]
        return conditional_ess(log_weights, step * log_likelihood.double())

    low = exponent.double()
    high = torch.full_like(low, last)
    whole = size(high) >= goal
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        enough = size(middle) >= goal
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return torch.where(whole, last, low)
