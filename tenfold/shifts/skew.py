"""Skew shifts, and the Z^d action of several frequencies, in exact phases."""

import copy
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped
from numpy.typing import DTypeLike

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_all_arguments
from tenfold.shifts import limbs
from tenfold.shifts.arrays import above, float_type, indices, listed, output
from tenfold.shifts.costs import require
from tenfold.shifts.frequency import Frequency, Number, offsets
from tenfold.shifts.kronecker import BITS

BLOCK = 1 << 14
_LARGEST = 256


@read_all_arguments
class SkewShift:
    """The orbit of θ under (x_1, …, x_b) ↦ (x_1 + ω, x_2 + x_1, …, x_b + x_{b−1}) on T^b, with random access:

        x_k(n) = θ_k + Σ_{0<j<k} C(n, j) θ_{k−j} + C(n, k) ω  mod 1,   n ≥ 0.

    Phases are whole numbers modulo 2^bits. Without ``bits`` every point takes as many as make its real value right to
    2^−64, for C(n, b) grows fast; with 64, 128 or 256 ``bits`` the orbit of the stored ω and θ is exact, and the real
    one within ``phase_error(n)``, about C(n, b) 2^−bits.

    >>> SkewShift("golden", [0, 0]).points(2, 3).round(3).tolist()
    [[0.236, 0.618]]
    """

    def __init__(self, omega: Any, theta: Any, bits: int | None = None) -> None:
        if bits is not None and bits not in BITS:
            raise UsageError(f"bits is {bits}; expected 64, 128 or 256")
        self.given_bits, self.omega = bits, Number.of(omega)
        self.theta = Frequency.of(theta).components
        self._set(bits or 128)

    def _set(self, bits: int) -> None:
        self.bits, self.moduli = bits, (1 << bits,) * len(self.theta)
        self._step, self._starts = self.omega.fixed(bits), tuple(t.rounded(bits) for t in self.theta)
        self._slack = tuple(int(not x.exact_over(1 << bits)) for x in (self.omega, *self.theta))

    def reaching(self, n: int) -> "SkewShift":
        """The sequence with the bits that points 0 … n need: itself where they are given, or enough."""
        if n < 0:
            raise UsageError(f"n is {n}; a skew shift is given for n ≥ 0")
        if n >> _LARGEST:
            raise UsageError(f"n has {n.bit_length()} binary digits; a skew shift goes to n < 2^{_LARGEST}")
        needed = 64 * -(-(64 + sum(_closed_form(n, 1, (1,) * self.dim)).bit_length()) // 64)
        if self.given_bits is not None or needed <= self.bits:
            return self
        other = copy.copy(self)
        other._set(needed)
        return other

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
        right = self.reaching(n)
        return above(Fraction(max(right.slack(n)), right.moduli[0]))

    def real_at(self, n: int, bits: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The real point n to ``bits`` bits: (numerators, moduli, slack), slack in units of 1/modulus; 0 where ω and θ
        are known fractions."""
        values = [x.value for x in (self.omega, *self.theta)]
        known = math.lcm(*(v.denominator for v in values if v is not None)) if None not in values else 1 << bits
        modulus = known if None not in values and known.bit_length() <= 16 * bits else 1 << bits
        omega, *theta = (x.over(modulus) for x in (self.omega, *self.theta))
        slack = [int(not x.exact_over(modulus)) for x in (self.omega, *self.theta)]
        found = tuple(x % modulus for x in _closed_form(n, omega, theta))
        return found, (modulus,) * self.dim, tuple(_closed_form(n, slack[0], slack[1:]))

    def points(
        self, start: int, stop: int, dtype: DTypeLike = np.float64, out: Float[np.ndarray, "n b"] | None = None
    ) -> Float[np.ndarray, "n b"]:
        """Points start … stop − 1 in [0, 1)."""
        kind, right = _checked(start, stop, dtype), self.reaching(stop)
        if out is None:
            require((stop - start) * self.dim * kind.itemsize, f"{stop - start} points", "take shorter ranges in turn")
        result = output(out, (stop - start, self.dim), kind)
        for begin in range(start, stop, BLOCK):
            rows = min(BLOCK, stop - begin)
            for k, column in enumerate(right._columns(begin, rows)):
                limbs.floats(column[-1], result.dtype.type, result[begin - start :, k][:rows])
        return result

    def at(self, n: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*n b"]:
        """Points of an array of indices (…,), n ≥ 0: (…, b)."""
        index, kind = indices(n), float_type(dtype)
        right = self.reaching(int(index.max(initial=0)))
        flat = [[x >> right.bits - 64 for x in right.exact_at(i)] for i in index.ravel().tolist()]
        top = np.array(flat, dtype=np.uint64).reshape(*index.shape, self.dim)
        return limbs.floats(top, kind.type)

    def integers(self, start: int, stop: int) -> Shaped[np.ndarray, "n b"]:
        """Phases of points start … stop − 1, Python integers, dtype object (stop − start, b)."""
        _checked(start, stop, np.float64)
        require((stop - start) * self.dim * 64, f"{stop - start} points", "take shorter ranges in turn")
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
        return {"skew_shift": self.omega.text, "theta": [t.text for t in self.theta], "bits": self.given_bits}


def _checked(start: int, stop: int, dtype: DTypeLike) -> np.dtype:
    if stop < start:
        raise UsageError(f"the range {start} … {stop} is reversed; give start ≤ stop")
    if start < 0:
        raise UsageError(f"n is {start}; a skew shift is given for n ≥ 0")
    return float_type(dtype)


def _closed_form(n: int, omega: int, theta: Sequence[int]) -> Iterator[int]:
    for k in range(1, len(theta) + 1):
        yield comb(n, k) * omega + sum(comb(n, j) * theta[k - j - 1] for j in range(k))


@read_all_arguments
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
        self.omega = tuple(Frequency.of(row) for row in listed(omega, "Omega"))
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
        steps = sum(abs(i) for i in indices(n).ravel().tolist())
        return above(Fraction(steps * self._inexact + 1, 1 << self.bits))

    def at(self, n: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*n b"]:
        """Points of indices (…, d), |n_i| < 2^63: (…, b) in [0, 1)."""
        index = indices(n)
        if index.shape[-1:] != (self.axes,):
            raise UsageError(f"indices have shape {index.shape}; expected (…, {self.axes})")
        return self._at([index[..., i] for i in range(self.axes)], dtype)

    def box(self, low: Any, high: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*axes b"]:
        """Points of the box low_i ≤ n_i ≤ high_i (inclusive): (high_1 − low_1 + 1, …, high_d − low_d + 1, b)."""
        lows, highs = (np.atleast_1d(indices(x, "a corner")).tolist() for x in (low, high))
        if len(lows) != self.axes or len(highs) != self.axes or any(a > b for a, b in zip(lows, highs, strict=True)):
            raise UsageError(f"the box {lows} … {highs} is no box of {self.axes} axes; give low ≤ high for each")
        count = math.prod(b - a + 1 for a, b in zip(lows, highs, strict=True))
        require(4 * count * self.dim * self.bits // 8, f"the box of {count} points", "take smaller boxes in turn")
        axes = [np.arange(a, b + 1) for a, b in zip(lows, highs, strict=True)]
        return self._at(np.meshgrid(*axes, indexing="ij", sparse=True), dtype)

    def _at(self, n: Sequence[Int64[np.ndarray, "..."]], dtype: DTypeLike) -> Float[np.ndarray, "*n b"]:
        total = self._start
        for along, row in zip(n, self._rows, strict=True):
            total = limbs.add(total, limbs.multiply_signed(along[..., None], row))
        return limbs.floats(total[-1], float_type(dtype).type)
