"""ψ(t) in a periodic box by splitting: e^{−iτV/2} e^{−iτA} e^{−iτV/2}, with e^{−iτA} exact by FFT.

Second order (Strang), or fourth order with the coefficients of Suzuki (Phys. Lett. A 146 (1990) 319). The step is
halved until two runs agree; the error is their difference by Richardson's rule, an estimate and no bound.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
from jaxtyping import Complex128, Float64, Num

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.operators.matvec import translation_invariant
from tenfold.quasiperiodic.propagation.chebyshev import Report, Take
from tenfold.shifts.costs import Watch

# S4(τ) = S2(p τ)² S2((1 − 4p) τ) S2(p τ)², p = 1/(4 − 4^{1/3}).
_P = 1 / (4 - 4 ** (1 / 3))
STAGES = {2: (1.0,), 4: (_P, _P, 1 - 4 * _P, _P, _P)}
_MOST_STEPS = 1 << 22


def evolve_trotter(
    box: Box,
    states: Num[np.ndarray, "S N"],
    times: Float64[np.ndarray, " times"],
    tol: float,
    take: Take,
    most: int = 1 << 62,
    order: int = 4,
    report: Report | None = None,
) -> tuple[int, float]:
    """States at ascending times of one sign, handed to ``take`` at up to ``most`` times together, again for every
    halving of the step; the number of FFT factors, and the estimated error of the last.

    More than ``most`` times are not held from one halving to the next, but run through again. Raises UsageError for an
    open box, a kernel or another order, TenfoldError where four million steps are too few."""
    if box.boundary != "periodic" or isinstance(box.hopping, Kernel):
        raise UsageError(
            f"Trotter evolution needs a periodic box (operator.ring), not {box.describe()}; use 'chebyshev' there"
        )
    if order not in STAGES:
        raise UsageError(f"Trotter order is {order}; choose 2 or 4")
    runs = _Runs(box, states, times, most, STAGES[order], report)
    scale = np.linalg.norm(states, axis=-1)
    step, held = 1.0 / max(box.interval.half_width, 1e-300), len(times) <= most
    coarse: Iterable[np.ndarray] = list(runs.of(step)) if held else runs.of(step)
    while True:
        if abs(times[-1]) / (step / 2) > _MOST_STEPS:
            raise TenfoldError(f"Trotter needs more than {_MOST_STEPS} steps for tol {tol:g}; use method 'chebyshev'")
        first, error, fine = 0, 0.0, []
        for rough, better in zip(coarse, runs.of(step / 2), strict=True):
            error = max(error, float((np.linalg.norm(better - rough, axis=-1) / scale).max()))
            take(first, better)
            first += len(better)
            fine += [better] if held else []
        error, step = error / (2**order - 1), step / 2
        if error <= tol:
            return runs.used, error
        coarse = fine if held else runs.of(step)


class _Runs:
    """Runs through the times by steps of one length; ``used`` counts their FFT factors."""

    def __init__(
        self,
        box: Box,
        states: Num[np.ndarray, "S N"],
        times: Float64[np.ndarray, " times"],
        most: int,
        stages: tuple[float, ...],
        report: Report | None,
    ) -> None:
        self._states, self._times, self._most, self._stages, self._report = states, times, most, stages, report
        self._symbol = translation_invariant(box).symbol(box.shape, -1)
        self._potential = box.potential.reshape(-1, *box.shape)
        self.used = 0

    def of(self, step: float) -> Iterator[Complex128[np.ndarray, "n S N"]]:
        """States at up to ``most`` times together."""
        shape, axes = self._potential.shape[1:], tuple(range(1, self._potential.ndim))
        psi = self._states.astype(np.complex128).reshape(-1, *shape)
        now, until = 0.0, float(self._times[-1])
        watch = Watch(f"splitting to t = {until:g}", "a larger tol is quicker, and 'chebyshev' with a bound")
        for first in range(0, len(self._times), self._most):
            part = self._times[first : first + self._most]
            found = np.empty((len(part), *self._states.shape), dtype=np.complex128)
            for i, t in enumerate(part):
                count = int(np.ceil(abs(t - now) / step - 1e-12))
                tau = (t - now) / max(count, 1)
                stages = self._stages if count else ()
                factors = [
                    (np.exp(-0.5j * tau * s * self._potential), np.exp(-1j * tau * s * self._symbol)) for s in stages
                ]
                for done in range(count):
                    for half, whole in factors:
                        psi = half * psi
                        spectrum = whole * scipy.fft.fftn(psi, axes=axes, overwrite_x=True)
                        psi = half * scipy.fft.ifftn(spectrum, axes=axes, overwrite_x=True)
                    watch(abs(now + done * tau), abs(until))
                self.used += count * len(stages)
                now = t
                found[i] = psi.reshape(self._states.shape)
                if self._report is not None:
                    self._report(count)
            yield found
