"""Evolution by diagonalisation: small boxes, any time at one price; the reference of the other methods."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float64, Inexact, Num
from scipy.linalg import eigh_tridiagonal

from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.shifts.costs import foresee, require

EPS = 2.0**-53
CHEAPER = "fewer sites, or Chebyshev and quadrature in the place of the eigenbasis, are quicker, to a tolerance"


@dataclass(frozen=True)
class Spectral:
    """Eigenvalues (..., N) and eigenvectors (..., N, N) (columns) of a box."""

    energies: Float64[np.ndarray, "*batch N"]
    vectors: Inexact[np.ndarray, "*batch N N"]

    def coefficients(self, states: Num[np.ndarray, "*states N"]) -> Inexact[np.ndarray, "*found N"]:
        """c = U* φ for states (..., N)."""
        return np.squeeze(np.conj(np.swapaxes(self.vectors, -1, -2)) @ states[..., None], -1)

    def evolve(
        self, states: Num[np.ndarray, "*states N"], times: Float64[np.ndarray, " times"]
    ) -> Complex128[np.ndarray, "times *found N"]:
        """ψ(t) (times, ..., N)."""
        c = self.coefficients(states)
        turned = np.exp(-1j * times.reshape(-1, *[1] * c.ndim) * self.energies) * c
        if turned.ndim == 2 and not np.iscomplexobj(self.vectors):
            real = self.vectors.T
            return turned.real @ real + 1j * (turned.imag @ real)
        return np.squeeze(self.vectors @ turned[..., None], -1)


def rounding_of(box: Box, spectral: Spectral, states: Num[np.ndarray, "S N"], until: float, tol: float) -> float:
    """What floating point adds to ``evolve`` until |t|, relative to ‖φ‖, from the residual R = H U − U Λ.

    y(t) = U e^{−itΛ} c satisfies i y' = H y − R e^{−itΛ} c: it differs from e^{−itH} y(0) by at most
    |t| Σ_k ‖R_k‖ |c_k|, and y(0) from φ by ‖U c − φ‖. Where that is above ``tol``, the parts that oscillate are told
    apart: to first order (U* R)_jk adds no more than min(|t|, 2/|E_j − E_k|) times its size. The phases t E and R
    itself are rounded too."""
    c, scale = spectral.coefficients(states), np.linalg.norm(states, axis=-1)
    energy = max(abs(box.interval.low), abs(box.interval.high))
    # Vectors that hardly enter count as much as the solver may have lost.
    enter = (np.abs(c) > 1e-9 * scale[:, None]).reshape(-1, box.size).any(0)
    some: Any = slice(None) if enter.all() else np.flatnonzero(enter)
    few = np.abs(c).sum(-1) - np.abs(c[..., some]).sum(-1)
    energies, sizes = spectral.energies[..., some], np.abs(c[..., some])
    vectors = np.ascontiguousarray(np.swapaxes(spectral.vectors, -1, -2)[..., some, :])
    residual = box.product.apply(vectors.reshape(-1, box.size)).reshape(vectors.shape)
    residual += (box.potential[..., None, :] - energies[..., None]) * vectors
    lost = until * (np.linalg.norm(residual, axis=-1) * sizes).sum(-1)
    if (lost > tol * scale).any():
        duration = np.abs(energies[..., :, None] - spectral.energies[..., None, :])
        with np.errstate(divide="ignore"):
            np.divide(2, duration, out=duration)
        np.minimum(until, duration, out=duration)
        lasting = np.abs(residual.conj() @ spectral.vectors) * duration
        lost = np.linalg.norm((sizes[..., None, :] @ lasting)[..., 0, :], axis=-1)
    lost = lost + until * box.size * EPS * energy * np.maximum(few, 0.0)
    start = np.linalg.norm(np.squeeze(spectral.vectors @ c[..., None], -1) - states, axis=-1)
    turned = 2 * until * np.linalg.norm(spectral.energies * c, axis=-1)
    return float(((start + lost + EPS * turned) / scale).max()) + 8 * EPS * float(np.sqrt(box.size))


def diagonalise(box: Box) -> Spectral:
    """All eigenvalues and eigenvectors; by a band solver where the box is one-dimensional and tridiagonal."""
    hopping, what = box.hopping, f"diagonalising {box.size:,} sites"
    if (
        len(box.shape) == 1
        and box.boundary == "open"
        and box.potential.ndim == 1
        and box.is_real
        and hopping.range == 1
        and box.size > 1
    ):
        require(24 * box.size**2, what)
        bands = box.banded()
        foresee(lambda n: eigh_tridiagonal(bands[1, :n], bands[0, 1:n]), box.size, 3, what, CHEAPER)
        return Spectral(*eigh_tridiagonal(bands[1], bands[0, 1:]))
    require(64 * box.potential.size * box.size, what)
    matrix, batch = box.dense(), box.potential.size // box.size
    foresee(lambda n: np.linalg.eigh(matrix[(0,) * (matrix.ndim - 2)][:n, :n]), box.size, 3, what, CHEAPER, count=batch)
    return Spectral(*np.linalg.eigh(matrix))
