"""Discrete noise: schedules and masks here; paths, objectives and bounds in modules of their own."""

from tenfold.discrete.masking import (
    categorical,
    gumbel_argmax,
    mask_exactly,
    mask_further,
    mask_independently,
    reveal_probability,
    stay_probability,
    strata,
    stratified,
    times,
)
from tenfold.discrete.schedules import (
    Cosine,
    Geometric,
    Linear,
    LinearSigma,
    Polynomial,
    Schedule,
    likelihood_weight,
    sigma,
    sigma_prime,
    time_of,
)

__all__ = [
    "Cosine",
    "Geometric",
    "Linear",
    "LinearSigma",
    "Polynomial",
    "Schedule",
    "categorical",
    "gumbel_argmax",
    "likelihood_weight",
    "mask_exactly",
    "mask_further",
    "mask_independently",
    "reveal_probability",
    "sigma",
    "sigma_prime",
    "stay_probability",
    "strata",
    "stratified",
    "time_of",
    "times",
]
