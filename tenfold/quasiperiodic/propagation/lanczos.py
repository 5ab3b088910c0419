"""ψ(t) by Krylov subspaces, with an a-posteriori bound and steps of adapted length.

In the subspace V of dimension m, H V = V T + β v e_mᵀ, so that y(s) = V e^{−isT} e₁ ‖ψ‖ has the residual
β |(e^{−isT})_{m1}| ‖ψ‖ and ‖ψ(s) − y(s)‖ ≤ ∫₀ˢ β |(e^{−iuT})_{m1}| du ‖ψ‖. All output
times inside a step come from its one subspace.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float64, Inexact, Num
from scipy.linalg import eigh_tridiagonal

from tenfold.errors import TenfoldError
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.propagation.chebyshev import Report, Take
from tenfold.quasiperiodic.propagation.leak import gauss_legendre
from tenfold.shifts.costs import Watch

DIMENSION = 30


@dataclass(frozen=True)
class Krylov:
    """A subspace: orthonormal rows (m, N), the tridiagonal matrix's eigenvalues and vectors, β, ‖ψ‖."""

    basis: Inexact[np.ndarray, "m N"]
    energies: Float64[np.ndarray, " m"]
    vectors: Float64[np.ndarray, "m m"]
    beta: float
    norm: float

    def state(self, times: Float64[np.ndarray, " times"]) -> Complex128[np.ndarray, "times N"]:
        """y(s) for each s, (times, N)."""
        small = (np.exp(-1j * times[:, None] * self.energies) * self.vectors[0]) @ self.vectors.T
        return self.norm * (small @ self.basis)

    def bound(self, length: float) -> float:
        """∫₀^length of the residual, by (length ∫ residual²)^{1/2} and Gauss-Legendre quadrature."""
        if self.beta == 0:
            return 0.0
        width = float(self.energies[-1] - self.energies[0]) * abs(length)
        x, w = gauss_legendre(int(0.5 * width) + 24)
        s = 0.5 * length * (x + 1)
        last = (np.exp(-1j * s[:, None] * self.energies) * self.vectors[0]) @ self.vectors[-1]
        return float(self.norm * self.beta * abs(length) * np.sqrt(0.5 * (w * np.abs(last) ** 2).sum()))


def krylov(apply: Callable[[np.ndarray], np.ndarray], state: Inexact[np.ndarray, " N"], dimension: int) -> Krylov:
    """Lanczos with full reorthogonalisation from ``state`` (N,)."""
    norm = float(np.linalg.norm(state))
    basis = np.empty((dimension, len(state)), dtype=state.dtype)
    basis[0] = state / norm
    alpha, beta = np.zeros(dimension), np.zeros(dimension)
    size = dimension
    for j in range(dimension):
        w = apply(basis[j])
        alpha[j] = np.vdot(basis[j], w).real
        for _ in range(2):
            w = w - basis[: j + 1].T @ (basis[: j + 1].conj() @ w)
        beta[j] = np.linalg.norm(w)
        # The subspace is invariant: nothing is left outside it but rounding.
        if beta[j] <= 1e-14 * max(1.0, float(np.abs(alpha[: j + 1]).max()) + float(beta[:j].max(initial=0.0))):
            beta[j], size = 0.0, j + 1
            break
        if j + 1 < dimension:
            basis[j + 1] = w / beta[j]
    energies, vectors = eigh_tridiagonal(alpha[:size], beta[: size - 1])
    return Krylov(basis[:size], energies, vectors, float(beta[size - 1]), norm)


def evolve_lanczos(
    box: Box,
    states: Num[np.ndarray, "S N"],
    times: Float64[np.ndarray, " times"],
    tol: float,
    take: Take,
    most: int = 1 << 62,
    dimension: int = DIMENSION,
    report: Report | None = None,
) -> tuple[int, float]:
    """States at ascending times of one sign, handed to ``take`` at up to ``most`` times together; the number of
    products, and the error bound (the largest over the states, relative to ‖φ‖).

    Raises TenfoldError where steps become too short for the tolerance."""
    paths = [_Path(box, row, start, times, tol, dimension, report) for row, start in enumerate(states)]
    watch = Watch(
        f"a Lanczos evolution to t = {times[-1]:g}", "a larger tol is quicker, and 'chebyshev' where memory allows"
    )
    for first in range(0, len(times), most):
        found = np.empty((min(most, len(times) - first), *states.shape), dtype=np.complex128)
        for row, path in enumerate(paths):
            for _ in path.fill(found[:, row], first):
                watch(sum(one.fraction for one in paths), len(paths))
        take(first, found)
    return sum(path.products for path in paths), max(path.error / path.scale for path in paths)


class _Path:
    """One state on its way through the times, by steps of adapted length."""

    def __init__(
        self,
        box: Box,
        row: int,
        start: Num[np.ndarray, " N"],
        times: Float64[np.ndarray, " times"],
        tol: float,
        dimension: int,
        report: Report | None,
    ) -> None:
        self._apply, self._times, self._tol, self._report = _single(box, row), times, tol, report
        self._dimension, self.scale = min(dimension, box.size), float(np.linalg.norm(start))
        self._state = start.astype(np.complex128 if np.iscomplexobj(start) or not box.is_real else np.float64)
        self._before, self._last, self._step = 0.0, 0.0, abs(float(times[-1]))
        self._space: Krylov | None = None
        self.products, self.error = 0, 0.0

    @property
    def fraction(self) -> float:
        """How much of the time is behind."""
        return self._last / self._times[-1] if self._times[-1] else 1.0

    def fill(self, found: Complex128[np.ndarray, "times N"], first: int) -> Iterator[None]:
        """The states at times ``first`` …; yields after every step."""
        done, wanted = 0, self._times[first : first + len(found)]
        while done < len(wanted):
            inside = wanted[done:][np.abs(wanted[done:]) <= abs(self._last)]
            if len(inside):
                found[done : done + len(inside)] = (
                    self._state if self._space is None else self._space.state(inside - self._before)
                )
                done += len(inside)
                continue
            self._advance()
            yield

    def _advance(self) -> None:
        """One step: its subspace gives the states at all times inside."""
        if self._space is not None:
            self._state = self._space.state(np.array([self._last - self._before]))[0]
        now, until = self._last, float(self._times[-1])
        space = krylov(self._apply, self._state, self._dimension)
        self.products += len(space.basis)
        left = until - now
        length = np.sign(left) * min(abs(left), 2 * abs(self._step))
        while space.bound(length) > self._tol * self.scale * abs(length / until):
            length *= 0.8
            if abs(length) < 1e-9 * abs(until):
                raise TenfoldError(
                    f"Lanczos steps fell below {abs(length):.1e} for tol {self._tol:g}; use method 'chebyshev' or a "
                    "larger tol"
                )
        self.error += space.bound(length)
        self._before, self._last = now, now + length if length != left else until
        self._space, self._step = space, length
        if self._report is not None:
            self._report(len(space.basis))


def _single(box: Box, row: int) -> Callable[[np.ndarray], np.ndarray]:
    potential = box.potential.reshape(-1, box.size)[row if box.potential.ndim > 1 else 0]
    return lambda x: box.product.apply(x) + potential * x
