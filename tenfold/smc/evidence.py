"""The evidence of several populations, with its standard error."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError


@dataclass(frozen=True)
class Evidence:
    """log Z in nats, its standard error (None for one population, which cannot tell), and the number of populations."""

    log_z: float
    standard_error: float | None
    populations: int


def evidence_of(log_z: Float[Tensor, " m"]) -> Evidence:
    """log of the mean of the populations' unbiased estimates Ẑ, with the standard error of that log by the delta
    method: sd(Ẑ) / (√m mean Ẑ).

    Raises UsageError for no population, and for estimates that are NaN or +∞; where all are 0, log Z is −∞.

    >>> import torch
    >>> found = evidence_of(torch.tensor([0.0, 0.0]))
    >>> found.log_z, found.standard_error
    (0.0, 0.0)
    """
    values, m = log_z.double(), len(log_z)
    if not m or bool((values.isnan() | (values == math.inf)).any()):
        raise UsageError("an estimate of the evidence is NaN or infinite, or there is none; look at the log weights")
    mean = float(values.logsumexp(0)) - math.log(m)
    if m == 1 or mean == -math.inf:
        return Evidence(mean, None, m)
    return Evidence(mean, float((values - mean).exp().std()) / math.sqrt(m), m)
