"""Moments ⟨|X|^p⟩ = Σ |n|^p |ψ_n|² of states in a box."""

from collections.abc import Sequence
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.dynamics.front import fronts, moment_tail
from tenfold.quasiperiodic.operators.boxes import Box, Norm

if TYPE_CHECKING:
    from tenfold.quasiperiodic.dynamics.evolution import Evolution


def powers(p: float | Sequence[float] | np.ndarray) -> np.ndarray:
    """p as an array; UsageError unless every p is finite and above 0."""
    array = np.atleast_1d(np.asarray(p, dtype=np.float64))
    if not len(array) or not (np.isfinite(array).all() and (array > 0).all()):
        raise UsageError(f"p is {p}; moments are defined for finite p above 0")
    return array


def moments(
    box: Box, psi: np.ndarray, p: float | Sequence[float] | np.ndarray, norm: Norm = "linf", origin: Any = None
) -> np.ndarray:
    """Σ |n − origin|^p |ψ_n|² of states (..., N): (...), or (..., len(p)) for a sequence of p."""
    return moments_of_probabilities(box, np.abs(psi) ** 2, p, norm, origin)


def moments_of_probabilities(
    box: Box,
    probabilities: np.ndarray,
    p: float | Sequence[float] | np.ndarray,
    norm: Norm = "linf",
    origin: Any = None,
) -> np.ndarray:
    """Σ |n − origin|^p prob_n of probabilities (..., N)."""
    exponents = powers(p)
    weights = box.distance(norm, origin)[:, None] ** exponents
    found = probabilities @ weights
    return found if isinstance(p, Sequence | np.ndarray) else found[..., 0]


def moments_error(evolution: "Evolution", p: float, norm: Norm = "linf") -> np.ndarray:
    """See ``Evolution.moments_error``."""
    powers(p)
    box, bound = evolution.box, evolution.error_bound
    largest = float(box.distance(norm).max()) ** p
    mass = max((float(np.linalg.norm(a)) ** 2 for _, a in evolution.initial), default=1.0)
    inside = largest * bound * (2 + bound) * mass if isfinite(bound) else np.inf
    if evolution.certificate == "finite system":
        return np.full(len(evolution.times), inside)
    if not evolution.initial:
        return np.full(len(evolution.times), np.inf)
    d = len(box.shape)
    factor = {"linf": 1.0, "l2": sqrt(d), "l1": float(d)}[norm]
    table = fronts(box.operator.hopping)
    outside = [
        max(moment_tail(table, t, evolution.reach, s, a, p, factor) for s, a in evolution.initial)
        for t in evolution.times
    ]
    return inside + np.array(outside)
