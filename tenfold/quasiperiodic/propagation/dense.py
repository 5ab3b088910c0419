"""Evolution by diagonalisation: small boxes, any time at one price; the reference of the other methods."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float64, Inexact, Num
from scipy.linalg import eigh_tridiagonal

from tenfold.quasiperiodic.operators.long_range import Box


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


def diagonalise(box: Box) -> Spectral:
    """All eigenvalues and eigenvectors; by a band solver where the box is one-dimensional and tridiagonal."""
    hopping = box.hopping
    if (
        len(box.shape) == 1
        and box.boundary == "open"
        and box.potential.ndim == 1
        and box.is_real
        and hopping.range == 1
    ):
        bands = box.banded()
        return Spectral(*eigh_tridiagonal(bands[1], bands[0, 1:]))
    return Spectral(*np.linalg.eigh(box.dense()))
