"""Skew shifts, and the Z^d action of several frequencies, in exact phases."""

from collections.abc import Iterator, Sequence
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped
from numpy.typing import DTypeLike

from tenfold.errors import UsageError
from tenfold.shifts import limbs
from tenfold.shifts.frequency import Frequency, Number
from tenfold.shifts.kronecker import BITS, offsets

BLOCK = 1 << 14


class SkewShift:
    """The orbit of θ under (x_1, …, x_b) ↦ (x_1 + ω, x_2 + x_1, …, x_b + x_{b−1}) on T^b, with random access:

        x_k(n) = θ_k + Σ_{0<j<k} C(n, j) θ_{k−j} + C(n, k) ω  mod 1,   n ≥ 0.

    Phases are whole numbers modulo 2^bits (64, 128 or 256), exact for the stored ω and θ; the real orbit is within
    ``phase_error(n)``, about C(n, b) 2^−bits.

    >>> SkewShift("golden", [0, 0]).points(2, 3).round(3).tolist()
    [[0.236, 0.618]]
    """

    def __init__(self, omega: Any, theta: Any, bits: int = 128) -> None:
        if bits not in BITS:
            raise UsageError(f"bits is {bits}; expected 64, 128 or 256")
        self.bits, self.omega = bits, Number.of(omega)
        self.theta = Frequency.of(theta).components
        self.moduli = (1 << bits,) * len(self.theta)
        self._step, self._starts = self.omega.fixed(bits), tuple(t.rounded(bits) for t in self.theta)
        self._slack = tuple(int(not x.exact_over(1 << bits)) for x in (self.omega, *self.theta))

    @property
    def dim(self) -> int:
        """b."""
        return len(self.theta)

    def exact_at(self, n: int) -> tuple[int, ...]:
        """The phases of point n, whole numbers modulo 2^bits."""
        if n < 0:
            raise UsageError(f"n is {n}; a skew shift is given for n ≥ 0")
        return tuple(x % self.moduli[0] for x in _closed_form(n, self._step, self._starts))

    def slack(self, n: int) -> tuple[int, ...]:
        """How far the real point n can lie from the stored one, in units of 2^−bits per coordinate."""
        return tuple(_closed_form(n, self._slack[0], self._slack[1:]))

    def phase_error(self, n: int) -> float:
        """Largest distance between the real and the stored point n, over the coordinates."""
        return max(self.slack(n)) / 2.0**self.bits

    def points(
        self, start: int, stop: int, dtype: DTypeLike = np.float64, out: Float[np.ndarray, "n b"] | None = None
    ) -> Float[np.ndarray, "n b"]:
        """Points start … stop − 1 in [0, 1)."""
        if stop < start:
            raise UsageError(f"the range {start} … {stop} is reversed; give start ≤ stop")
        result = np.empty((stop - start, self.dim), dtype) if out is None else out
        for begin in range(start, stop, BLOCK):
            rows = min(BLOCK, stop - begin)
            for k, column in enumerate(self._columns(begin, rows)):
                limbs.floats(column[-1], result.dtype.type, result[begin - start :, k][:rows])
        return result

    def at(self, n: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*n b"]:
        """Points of an array of indices (…,), n ≥ 0: (…, b)."""
        index = np.asarray(n)
        flat = [[x >> self.bits - 64 for x in self.exact_at(int(i))] for i in index.ravel()]
        top = np.array(flat, dtype=np.uint64).reshape(*index.shape, self.dim)
        return limbs.floats(top, np.dtype(dtype).type)

    def integers(self, start: int, stop: int) -> Shaped[np.ndarray, "n b"]:
        """Phases of points start … stop − 1, Python integers, dtype object (stop − start, b)."""
        return np.stack([limbs.join(c) for c in self._columns(start, stop - start)], axis=1)

    def _columns(self, begin: int, rows: int) -> list[limbs.Limbs]:
        # Coordinate k grows by coordinate k − 1 at each step: a prefix sum of the one before.
        count = self.bits // 64
        columns, grown = [], limbs.multiply(np.arange(rows, dtype=np.uint64), limbs.split(self._step, count))
        for first in self.exact_at(begin):
            columns.append(limbs.add(grown, limbs.split(first, count)))
            grown = limbs.prefix_sums(columns[-1])
        return columns

    def to_dict(self) -> dict[str, Any]:
        """What defines the orbit, JSON-able."""
        return {"skew_shift": self.omega.text, "theta": [t.text for t in self.theta], "bits": self.bits}


def _closed_form(n: int, omega: int, theta: Sequence[int]) -> Iterator[int]:
    for k in range(1, len(theta) + 1):
        yield comb(n, k) * omega + sum(comb(n, j) * theta[k - j - 1] for j in range(k))


class LatticeShift:
    """Points x_n = θ + Σ_i n_i Ω_i mod 1 for n in Z^d, Ω of shape (d, b), in phases modulo 2^bits.

    ``omega`` is a sequence of d rows, each what ``Frequency.of`` reads; ``LatticeShift.diagonal`` gives each axis
    its own frequency.

    >>> LatticeShift([["golden", 0], [0, "silver"]]).at([[1, 2], [0, 0]]).round(3).tolist()
    [[0.618, 0.828], [0.0, 0.0]]
    """

    def __init__(self, omega: Any, theta: Any = 0, bits: int = 128) -> None:
        if bits not in BITS:
            raise UsageError(f"bits is {bits}; expected 64, 128 or 256")
        self.omega = tuple(Frequency.of(row) for row in omega)
        widths = {row.dim for row in self.omega}
        if len(widths) != 1:
            raise UsageError(
                f"the rows of Omega have {sorted(widths) or 'no'} entries; expected one number, b, for all"
            )
        self.bits, self.theta = bits, offsets(theta, widths.pop())
        count = bits // 64
        self._rows = [limbs.split(row.fixed(bits), count) for row in self.omega]
        self._start = limbs.split([t.rounded(bits) for t in self.theta], count)
        self._inexact = any(not c.exact_over(1 << bits) for row in self.omega for c in row.components)

    @classmethod
    def diagonal(cls, frequency: Any, theta: Any = 0, bits: int = 128) -> "LatticeShift":
        """One frequency per axis: b = d and x_n = (θ_j + n_j ω_j)_j."""
        parts = Frequency.of(frequency).components
        zero = Number.of(0)
        return cls([[c if i == j else zero for j in range(len(parts))] for i, c in enumerate(parts)], theta, bits)

    @property
    def axes(self) -> int:
        """d."""
        return len(self.omega)

    @property
    def dim(self) -> int:
        """b."""
        return len(self.theta)

    def phase_error(self, n: Any) -> float:
        """Largest distance between the real and the stored point of one n in Z^d."""
        return (int(np.abs(np.asarray(n, dtype=object)).sum()) * self._inexact + 1) / 2.0**self.bits

    def at(self, n: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*n b"]:
        """Points of indices (…, d), |n_i| < 2^63: (…, b) in [0, 1)."""
        index = np.asarray(n)
        if index.shape[-1:] != (self.axes,) or index.dtype.kind not in "iu":
            raise UsageError(
                f"indices have shape {index.shape} and dtype {index.dtype}; expected whole (…, {self.axes})"
            )
        return self._at([index[..., i].astype(np.int64) for i in range(self.axes)], dtype)

    def box(self, low: Any, high: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*axes b"]:
        """Points of the box low_i ≤ n_i ≤ high_i (inclusive): (high_1 − low_1 + 1, …, high_d − low_d + 1, b)."""
        lows, highs = [int(x) for x in np.atleast_1d(low)], [int(x) for x in np.atleast_1d(high)]
        if len(lows) != self.axes or len(highs) != self.axes or any(a > b for a, b in zip(lows, highs, strict=True)):
            raise UsageError(f"the box {lows} … {highs} is no box of {self.axes} axes; give low ≤ high for each")
        axes = [np.arange(a, b + 1) for a, b in zip(lows, highs, strict=True)]
        return self._at(np.meshgrid(*axes, indexing="ij", sparse=True), dtype)

    def _at(self, n: Sequence[Int64[np.ndarray, "..."]], dtype: DTypeLike) -> Float[np.ndarray, "*n b"]:
        total = self._start
        for along, row in zip(n, self._rows, strict=True):
            total = limbs.add(total, limbs.multiply_signed(along[..., None], row))
        return limbs.floats(total[-1], np.dtype(dtype).type)
