"""Moments ⟨|X|^p⟩ = Σ |n|^p |ψ_n|² of states in a box."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.long_range import Box


def powers(p: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """p as an array; UsageError unless every p is finite and above 0."""
    array = np.atleast_1d(np.asarray(p, dtype=np.float64))
    if not len(array) or not (np.isfinite(array).all() and (array > 0).all()):
        raise UsageError(f"p is {p}; moments are defined for finite p above 0")
    return array


def moments(
    box: Box, psi: np.ndarray, p: float | Sequence[float] | np.ndarray, norm: str = "linf", origin: Any = None
) -> np.ndarray:
    """Σ |n − origin|^p |ψ_n|² of states (..., N): (...), or (..., len(p)) for a sequence of p."""
    return moments_of_probabilities(box, np.abs(psi) ** 2, p, norm, origin)


def moments_of_probabilities(
    box: Box,
    probabilities: np.ndarray,
    p: float | Sequence[float] | np.ndarray,
    norm: str = "linf",
    origin: Any = None,
) -> np.ndarray:
    """Σ |n − origin|^p prob_n of probabilities (..., N)."""
    exponents = powers(p)
    weights = box.distance(norm, origin)[:, None] ** exponents
    found = probabilities @ weights
    return found if isinstance(p, Sequence | np.ndarray) else found[..., 0]
