"""Gauss-Legendre nodes and weights, computed once for each number of nodes."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.special import roots_legendre


@lru_cache(maxsize=64)
def gauss_legendre(count: int) -> tuple[Float64[np.ndarray, " {count}"], Float64[np.ndarray, " {count}"]]:
    """Nodes (ascending) and weights on [−1, 1], read-only."""
    x, w = (np.asarray(a, dtype=np.float64) for a in roots_legendre(count))
    x.flags.writeable = w.flags.writeable = False
    return x, w
