"""ψ(t) by Krylov subspaces, with an a-posteriori bound and steps of adapted length.

In the subspace V of dimension m, H V = V T + β v e_mᵀ, so that y(s) = V e^{−isT} e₁ ‖ψ‖ has the residual
β |(e^{−isT})_{m1}| ‖ψ‖ and ‖ψ(s) − y(s)‖ ≤ ∫₀ˢ β |(e^{−iuT})_{m1}| du ‖ψ‖. All output
times inside a step come from its one subspace.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float64, Inexact, Num
from scipy.linalg import eigh_tridiagonal

from tenfold.errors import TenfoldError
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.propagation.chebyshev import Report
from tenfold.quasiperiodic.propagation.leak import gauss_legendre

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
    dimension: int = DIMENSION,
    report: Report | None = None,
) -> tuple[Complex128[np.ndarray, "times S N"], int, float]:
    """States (times, S, N) at ascending times of one sign, the number of products, and the error bound (the largest
    over the states, relative to ‖φ‖).

    Raises TenfoldError where steps become too short for the tolerance."""
    found = np.empty((len(times), *states.shape), dtype=np.complex128)
    products, worst = 0, 0.0
    for row, start in enumerate(states):
        apply = _single(box, row)
        state, now, error, step = start.astype(np.complex128), 0.0, 0.0, abs(times[-1])
        scale = float(np.linalg.norm(start))
        if not np.iscomplexobj(start) and box.is_real and len(times):
            state = start.astype(np.float64)
        done = int(np.count_nonzero(times == 0))
        found[:done, row] = start
        while done < len(times):
            space = krylov(apply, state, min(dimension, box.size))
            products += len(space.basis)
            left = times[-1] - now
            length = np.sign(left) * min(abs(left), 2 * abs(step))
            while space.bound(length) > tol * scale * abs(length / times[-1]):
                length *= 0.8
                if abs(length) < 1e-9 * abs(times[-1]):
                    raise TenfoldError(
                        f"Lanczos steps fell below {abs(length):.1e} for tol {tol:g}; use method 'chebyshev' or a "
                        "larger tol"
                    )
            error += space.bound(length)
            last = now + length if length != left else times[-1]
            inside = times[(np.abs(times) > abs(now)) & (np.abs(times) <= abs(last))]
            found[done : done + len(inside), row] = space.state(inside - now)
            done += len(inside)
            state = space.state(np.array([last - now]))[0]
            now, step = last, length
            if report is not None:
                report(len(space.basis))
        worst = max(worst, error / scale)
    return found, products, worst


def _single(box: Box, row: int) -> Callable[[np.ndarray], np.ndarray]:
    potential = box.potential.reshape(-1, box.size)[row if box.potential.ndim > 1 else 0]
    return lambda x: box.product.apply(x) + potential * x
