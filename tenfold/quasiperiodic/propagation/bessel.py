"""Bessel functions J_k(z) for all k at once and many z, by Miller's backward recurrence."""

import numpy as np
from jaxtyping import Float64
from scipy.special import jv

_HUGE, _DOWN, _UP = 1e200, 1e-250, 1e250
_SMALL = 1.0


def degree(z: float) -> int:
    """Past this order |J_k(z)| is below 1e-17: J falls like the Airy function of (k − z)(2/z)^{1/3}."""
    return int(np.ceil(abs(z) + 11.5 * abs(z) ** (1 / 3) + 20))


def bessel(z: Float64[np.ndarray, " z"], count: int = 0) -> Float64[np.ndarray, "k z"]:
    """J_k(z), float64 (count, len(z)), for k = 0 … count − 1 and real z of any sign; ``count`` is by default
    ``degree`` of the largest |z|.

    J_{k−1} = (2k/z) J_k − J_{k+1} downwards from a start where J is below rounding, normalised by J_0 + 2 Σ J_{2k} = 1;
    SciPy's for |z| < 1. Absolute error below 2e-14 up to z = 10⁴ (tests/quasiperiodic/test_bessel.py)."""
    z = np.atleast_1d(np.asarray(z, dtype=np.float64))
    size = np.abs(z)
    count = count or degree(size.max(initial=0.0))
    table = np.empty((count, len(z)))
    small = size < _SMALL
    if small.any():
        table[:, small] = jv(np.arange(count)[:, None], size[small])
    if not small.all():
        table[:, ~small] = _miller(size[~small], count)
    # J_k(−z) = (−1)^k J_k(z)
    table[1::2, z < 0] *= -1
    return table


def _miller(z: Float64[np.ndarray, " z"], count: int) -> Float64[np.ndarray, "{count} z"]:
    # Well past the wanted orders, so that the arbitrary start has died out.
    need = max(count, degree(z.max()))
    start = need + 20 + int(6 * np.sqrt(need))
    table = np.zeros((start + 2, len(z)))
    table[start] = 1e-300
    inverse = 2.0 / z
    scratch = np.empty_like(z)
    for k in range(start, 0, -1):
        np.multiply(inverse, table[k], out=scratch)
        scratch *= k
        np.subtract(scratch, table[k + 1], out=table[k - 1])
        if k % 8 == 0:
            # A step grows by less than 2 k/z + 1; eight steps from 1e200 stay far below overflow for k < 10⁶.
            np.abs(table[k - 1], out=scratch)
            if scratch.max() > _HUGE:
                large = scratch > _HUGE
                table[k - 1 :, large] *= _DOWN
    total = table[0] + 2 * table[2::2].sum(0)
    return table[:count] / total
