"""A compiled loop for long runs of points in 64-bit phases; bit for bit what NumPy gives."""

from inspect import unwrap

import numpy as np
from jaxtyping import Float, UInt64

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.shifts import kronecker


@read_arguments
def use_compiled_points(on: bool = True) -> None:
    """Let ``Kronecker.points`` with 64 bits use a loop compiled by numba from now on, in this process (or NumPy again).

    It pays for runs of many millions of points: importing numba and compiling take about a second, once. Raises
    UsageError without numba."""
    if not on:
        kronecker.FILL = None
        return
    try:
        import numba
    except ImportError:
        raise UsageError("compiled points need numba; install it with 'pip install tenfold[quasiperiodic]'") from None
    kronecker.FILL = numba.njit(cache=True, nogil=True)(unwrap(fill))


def fill(
    out: Float[np.ndarray, "n b"],
    start: UInt64[np.ndarray, " b"],
    step: UInt64[np.ndarray, " b"],
    shift: np.uint64,
    scale: float,
) -> None:
    """out_i = ⌊(start + i · step)/2^shift⌋ · scale, phases modulo 2^64. Python here, compiled by numba."""
    # Pairs of columns: their additions and conversions overlap, and every cache line is written once.
    for j in range(0, start.size - 1, 2):
        x, y, a, b = start[j], start[j + 1], step[j], step[j + 1]
        for i in range(out.shape[0]):
            out[i, j] = np.float64(np.int64(x >> shift)) * scale
            out[i, j + 1] = np.float64(np.int64(y >> shift)) * scale
            x += a
            y += b
    if start.size % 2:
        x, a, last = start[-1], step[-1], start.size - 1
        for i in range(out.shape[0]):
            out[i, last] = np.float64(np.int64(x >> shift)) * scale
            x += a
