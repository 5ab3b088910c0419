"""ψ(t) = e^{−itH} φ by Chebyshev polynomials, many times in one sweep.

With H = c + h X and ‖X‖ ≤ 1, e^{−itH} = e^{−ict} [J₀(ht) + 2 Σ_k (−i)^k J_k(ht) T_k(X)] (Tal-Ezer and Kosloff,
J. Chem. Phys. 81 (1984) 3967). The vectors T_k φ do not depend on t: they are computed once, real wherever H and φ
are, in blocks of 64, and each block is added to the states at all times by two matrix products, one for even k and
one for odd k, because (−i)^k is then ±1 or ±i.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex128, Float64, Inexact, Int, Num

from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.operators.matvec import rows_of, states_of
from tenfold.quasiperiodic.propagation.bessel import bessel, degree

BLOCK = 64
Report = Callable[[int], None]
# Takes states (n, S, N) at the times ``first`` … ``first`` + n − 1.
Take = Callable[[int, np.ndarray], None]


class Sweep(NamedTuple):
    """States of each target, complex (times, S, its sites), and what they cost.

    ``remainder`` bounds the norm of the polynomial's error, for normalised states; ``products`` is the number of
    multiplications by H."""

    states: list[Complex128[np.ndarray, "_ _ _"]]
    products: int
    remainder: float


def coefficients(z: Float64[np.ndarray, " z"], tol: float) -> tuple[Float64[np.ndarray, "k z"], float]:
    """c_k = (2 − δ_k0) (−1)^⌊k/2⌋ J_k(z), float64 (K, len(z)), and Σ_{k ≥ K} 2|J_k| < tol for every z.

    K is the smallest such number; ψ = Σ_even c_k T_k φ − i Σ_odd c_k T_k φ."""
    table = bessel(z, degree(np.abs(z).max(initial=0.0)))
    magnitude = 2 * np.abs(table).max(1)
    rest = np.concatenate([np.cumsum(magnitude[::-1])[::-1], [0.0]])
    enough = max(int(np.argmax(rest < tol)), 1)
    table = table[:enough]
    table[1:] *= 2
    table[2::4] *= -1
    table[3::4] *= -1
    return table, float(rest[enough])


@lru_cache(maxsize=8)
def _cached(z: tuple[float, ...], tol: float) -> tuple[Float64[np.ndarray, "k z"], float]:
    return coefficients(np.array(z), tol)


def sweep(
    box: Box,
    states: Num[np.ndarray, "S N"],
    targets: Sequence[tuple[Float64[np.ndarray, "_"], slice | Int[np.ndarray, "_"]]],
    tol: float,
    report: Report | None = None,
) -> Sweep:
    """States (S, N) in one sweep for all ``targets``: times (any signs), and the sites that are wanted at them.

    ``report`` is called with the number of products done since its last call."""
    h, c = max(box.interval.half_width, 1e-300), box.interval.centre
    rows = rows_of(states, box.is_real)
    outputs = [_Sums(h * times, at, rows, tol) for times, at in targets]
    count = max(len(output.table) for output in outputs)
    step = stepper(box, rows, c, h)
    size = block_size(rows.size * rows.itemsize)
    block = np.empty((size, *rows.shape), dtype=rows.dtype)
    last, before = rows, np.zeros_like(rows)
    for first in range(0, count, size):
        filled = min(size, count - first)
        for i in range(filled):
            if first + i == 0:
                block[0] = rows
                last = block[0]
                continue
            # T_k = 2 X T_{k−1} − T_{k−2}, and T_1 = X T_0.
            step(last, before, block[i])
            if first + i == 1:
                block[i] *= 0.5
            before, last = last, block[i]
        for output in outputs:
            output.add(first, block[:filled])
        # The block is written anew: keep the two vectors that the recurrence needs.
        last, before = last.copy(), before.copy()
        if report is not None:
            report(filled)
    found = [output.states(len(states), c * t) for output, (t, _) in zip(outputs, targets, strict=True)]
    return Sweep(found, count - 1, max(output.remainder for output in outputs))


def block_size(size: int) -> int:
    """How many vectors of ``size`` bytes are kept before they are added to the states: 64, fewer (an even number) for
    large boxes."""
    return max(4, min(BLOCK, (1 << 27) // max(size, 1) // 2 * 2))


class _Sums:
    """Sums of c_k(t) T_k φ over even and over odd k, at some times and some sites."""

    def __init__(
        self,
        z: Float64[np.ndarray, " z"],
        at: slice | Int[np.ndarray, " edge"],
        rows: Inexact[np.ndarray, "rows N"],
        tol: float,
    ) -> None:
        self.at = at
        self.table = np.zeros((1, 0))
        self.remainder = 0.0
        if len(z):
            self.table, self.remainder = _cached(tuple(z.tolist()), tol)
        self.shape = (len(z), *rows[..., at].shape)
        self.even = np.zeros((len(z), int(np.prod(self.shape[1:]))), dtype=rows.dtype)
        self.odd = np.zeros_like(self.even)

    def add(self, first: int, block: Inexact[np.ndarray, "k rows N"]) -> None:
        """Add T_k φ, k = first … (first is even). Complex rows are added as twice as many reals."""
        part = self.table[first : first + len(block)]
        if not part.size:
            return
        vectors = np.ascontiguousarray(block[: len(part)][..., self.at]).reshape(len(part), -1).view(np.float64)
        self.even.view(np.float64)[...] += part[0::2].T @ vectors[0::2]
        if len(part) > 1:
            self.odd.view(np.float64)[...] += part[1::2].T @ vectors[1::2]

    def states(self, count: int, angle: Float64[np.ndarray, " z"]) -> Complex128[np.ndarray, "z {count} sites"]:
        """e^{−i angle} (even − i odd), complex (times, count, sites)."""
        e, o = (states_of(a.reshape(self.shape), count) for a in (self.even, self.odd))
        return np.exp(-1j * angle)[:, None, None] * (e - 1j * o)


def stepper(
    box: Box, rows: Inexact[np.ndarray, "rows N"], c: float, h: float
) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """``step(x, y, out)``: out = 2 (H − c)/h x − y, for rows of the shape of ``rows``."""
    product = box.product.scaled(2 / h)
    diagonal = np.broadcast_to(2 * (box.potential - c) / h, box.potential.shape)
    if diagonal.ndim > 1:
        # Rows are the batch, or the batch's real parts followed by its imaginary ones.
        diagonal = np.tile(diagonal.reshape(-1, box.size), (len(rows) // max(1, diagonal.size // box.size), 1))

    def step(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        np.multiply(diagonal, x, out=out)
        out -= y
        product.accumulate(x, out)

    return step
