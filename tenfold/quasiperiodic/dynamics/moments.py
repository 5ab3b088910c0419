"""Moments ⟨|X|^p⟩ = Σ |n|^p |ψ_n|² of states in a box."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Complex128, Float64, Num

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.operators.windows import Site

# One number, or several.
Numbers = float | Sequence[float] | Num[np.ndarray, "..."]


def powers(p: Numbers) -> Float64[np.ndarray, " p"]:
    """p as an array; UsageError unless every p is finite and above 0."""
    array = np.atleast_1d(np.asarray(p, dtype=np.float64))
    if not len(array) or not (np.isfinite(array).all() and (array > 0).all()):
        raise UsageError(f"p is {p}; moments are defined for finite p above 0")
    return array


def moments(
    box: Box, psi: Complex128[np.ndarray, "*batch N"], p: Numbers, norm: str = "linf", origin: Site | None = None
) -> Float64[np.ndarray, "*found"]:
    """Σ |n − origin|^p |ψ_n|² of states (..., N): (...), or (..., len(p)) for a sequence of p."""
    return moments_of_probabilities(box, np.abs(psi) ** 2, p, norm, origin)


def moments_of_probabilities(
    box: Box,
    probabilities: Float64[np.ndarray, "*batch N"],
    p: Numbers,
    norm: str = "linf",
    origin: Site | None = None,
) -> Float64[np.ndarray, "*found"]:
    """Σ |n − origin|^p prob_n of probabilities (..., N)."""
    exponents = powers(p)
    weights = box.distance(norm, origin)[:, None] ** exponents
    found = probabilities @ weights
    return found if isinstance(p, Sequence | np.ndarray) else found[..., 0]
