"""ψ(t) in a periodic box by splitting: e^{−iτV/2} e^{−iτA} e^{−iτV/2}, with e^{−iτA} exact by FFT.

Second order (Strang), or fourth order with the coefficients of Suzuki (Phys. Lett. A 146 (1990) 319). The step is
halved until two runs agree; the error is their difference by Richardson's rule, an estimate and no bound.
"""

import numpy as np
import scipy.fft
from jaxtyping import Complex128, Float64, Num

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.operators.matvec import translation_invariant
from tenfold.quasiperiodic.propagation.chebyshev import Report

# S4(τ) = S2(p τ)² S2((1 − 4p) τ) S2(p τ)², p = 1/(4 − 4^{1/3}).
_P = 1 / (4 - 4 ** (1 / 3))
STAGES = {2: (1.0,), 4: (_P, _P, 1 - 4 * _P, _P, _P)}
_MOST_STEPS = 1 << 22


def evolve_trotter(
    box: Box,
    states: Num[np.ndarray, "S N"],
    times: Float64[np.ndarray, " times"],
    tol: float,
    order: int = 4,
    report: Report | None = None,
) -> tuple[Complex128[np.ndarray, "times S N"], int, float]:
    """States (times, S, N) at ascending times of one sign, the number of FFT factors, and the estimated error.

    Raises UsageError for an open box, a kernel or another order, TenfoldError where four million steps are too few."""
    if box.boundary != "periodic" or isinstance(box.hopping, Kernel):
        raise UsageError(
            f"Trotter evolution needs a periodic box (operator.ring), not {box.describe()}; use 'chebyshev' there"
        )
    if order not in STAGES:
        raise UsageError(f"Trotter order is {order}; choose 2 or 4")
    step = 1.0 / max(box.interval.half_width, 1e-300)
    coarse, total = _run(box, states, times, step, order, report)
    while True:
        step /= 2
        if abs(times[-1]) / step > _MOST_STEPS:
            raise TenfoldError(f"Trotter needs more than {_MOST_STEPS} steps for tol {tol:g}; use method 'chebyshev'")
        fine, used = _run(box, states, times, step, order, report)
        total += used
        scale = np.linalg.norm(states, axis=-1)
        error = float((np.linalg.norm(fine - coarse, axis=-1) / scale).max()) / (2**order - 1)
        if error <= tol:
            return fine, total, error
        coarse = fine


def _run(
    box: Box,
    states: Num[np.ndarray, "S N"],
    times: Float64[np.ndarray, " times"],
    step: float,
    order: int,
    report: Report | None,
) -> tuple[Complex128[np.ndarray, "times S N"], int]:
    axes = tuple(range(1, len(box.shape) + 1))
    symbol = translation_invariant(box).symbol(box.shape, -1)
    potential = box.potential.reshape(-1, *box.shape)
    psi = states.astype(np.complex128).reshape(-1, *box.shape)
    found = np.empty((len(times), *states.shape), dtype=np.complex128)
    now, used = 0.0, 0
    for i, t in enumerate(times):
        count = int(np.ceil(abs(t - now) / step - 1e-12))
        tau = (t - now) / max(count, 1)
        stages = STAGES[order] if count else ()
        factors = [(np.exp(-0.5j * tau * s * potential), np.exp(-1j * tau * s * symbol)) for s in stages]
        for _ in range(count):
            for half, whole in factors:
                psi = half * psi
                spectrum = whole * scipy.fft.fftn(psi, axes=axes, overwrite_x=True)
                psi = half * scipy.fft.ifftn(spectrum, axes=axes, overwrite_x=True)
                used += 1
        now = t
        found[i] = psi.reshape(states.shape)
        if report is not None:
            report(count)
    return found, used
