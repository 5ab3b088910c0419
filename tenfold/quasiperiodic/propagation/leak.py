"""What a box lost, from the evolution inside it: an a-posteriori bound on ‖ψ − ψ_L‖.

With P the box and Q its complement, d/dt (ψ − ψ_L) = −iH (ψ − ψ_L) − i Q A P ψ_L, so that for φ inside the box

    ‖ψ(t) − ψ_L(t)‖ ≤ ∫₀ᵗ ‖Q A P ψ_L(s)‖ ds ≤ (t ∫₀ᵗ ‖Q A P ψ_L(s)‖² ds)^{1/2}.             (leak)

Only sites within the hopping's radius of the surface enter. The integrand is an entire function of s of exponential
type 2h, so that Gauss-Legendre quadrature with slightly more than h τ/2 nodes a panel is exact to rounding; its error
is added (Trefethen, Approximation Theory and Approximation Practice, theorem 19.3).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import exp, log

import numpy as np
import scipy.sparse
from jaxtyping import Float64, Int, Num
from scipy.special import roots_legendre

from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.propagation.dense import Spectral
from tenfold.quasiperiodic.propagation.front import coupling


@dataclass(frozen=True)
class Surface:
    """``edge``: positions of the sites that the hopping connects with the outside; ``out`` (outside, edge): Q A P
    on them; ``strength`` ≥ ‖Q A P‖."""

    edge: Int[np.ndarray, " edge"]
    out: scipy.sparse.csr_array
    strength: float

    def loss(self, amplitudes: Num[np.ndarray, "*batch edge"]) -> Float64[np.ndarray, "*batch"]:
        """‖Q A P ψ‖² for the amplitudes on the edge."""
        flat = amplitudes.reshape(-1, len(self.edge))
        lost = self.out @ flat.T
        return (np.abs(lost) ** 2).sum(0).reshape(amplitudes.shape[:-1])


def surface(box: Box) -> Surface:
    """The surface of an open box (empty for a ring, or without hopping)."""
    hopping = box.hopping
    edge = box.edge(hopping.range)
    relative = box.sites[edge] - np.array(box.lower)
    targets, columns, values = [], [], []
    for at, m in enumerate(hopping.offsets):
        target = relative + m  # A_{n + m, n} carries u_n to n + m
        outside = np.flatnonzero(((target < 0) | (target >= np.array(box.shape))).any(1))
        values.append(hopping.along(at, box.sites[edge[outside]] + m))
        targets.append(target[outside])
        columns.append(outside)
    sites, rows = np.unique(np.concatenate(targets), axis=0, return_inverse=True)
    places = (rows.ravel(), np.concatenate(columns))
    shape = (max(len(sites), 1), len(edge))
    return Surface(edge, scipy.sparse.csr_array((np.concatenate(values), places), shape=shape), coupling(hopping))


@lru_cache(maxsize=64)
def gauss_legendre(count: int) -> tuple[Float64[np.ndarray, " {count}"], Float64[np.ndarray, " {count}"]]:
    """Nodes (ascending) and weights on [−1, 1], read-only."""
    x, w = (np.asarray(a, dtype=np.float64) for a in roots_legendre(count))
    x.flags.writeable = w.flags.writeable = False
    return x, w


@lru_cache(maxsize=16)
def nodes(h: float, length: float) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], float]:
    """Gauss-Legendre nodes and weights on [0, length], and a bound on the quadrature's error for ‖Q A P ψ_L(s)‖² per
    ‖Q A P‖² ‖φ‖²."""
    z = h * abs(length)
    count = int(np.ceil(0.5 * z + 8 * z ** (1 / 3) + 24))
    x, w = gauss_legendre(count)
    # On the ellipse ρ the integrand is at most e^{z (ρ − 1/ρ)/2}; n nodes err by 64/15 M ρ^{2−2n}/(1 − ρ^{−2}).
    rho = np.geomspace(1.01, 50.0, 400)
    exponent = z * (rho - 1 / rho) / 2 + (2 - 2 * count) * np.log(rho) - np.log1p(-(rho**-2)) + log(64 / 15)
    error = exp(min(float(exponent.min()), 700.0)) * abs(length) / 2
    return 0.5 * length * (x + 1), 0.5 * abs(length) * w, error


def spectral_loss(
    box: Box, spectral: Spectral, states: Num[np.ndarray, "*batch N"], time: float
) -> Float64[np.ndarray, "*found"]:
    """|∫₀ᵗ ‖Q A P ψ_L(s)‖² ds| for states (..., N) from the eigenbasis, in closed form; t of any sign."""
    skin = surface(box)
    rows = spectral.vectors[..., skin.edge, :]
    lost = skin.out.toarray() @ rows * spectral.coefficients(states)[..., None, :]
    gram = np.conj(np.swapaxes(lost, -1, -2)) @ lost
    omega = spectral.energies[..., :, None] - spectral.energies[..., None, :]
    # ∫₀ᵗ e^{iωs} ds = t e^{iωt/2} sinc(ωt/2)
    kernel = time * np.exp(0.5j * omega * time) * np.sinc(omega * time / (2 * np.pi))
    return np.asarray(np.abs(np.real((gram * kernel).sum((-1, -2)))))
