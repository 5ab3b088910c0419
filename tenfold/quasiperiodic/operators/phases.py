"""Where a site of Z^d lies on the torus T^b: exact phases θ + Σᵢ nᵢ Ωᵢ mod 1 of the operators' potentials.

Phases are integers that wrap around, so that a box around n = 10⁹ costs no more than one around 0, and the
orbit of the stored frequencies is exact. A stored frequency has ``BITS`` bits, so that n α errs by n 2^−BITS;
``axis_phases`` is the only place that knows the arithmetic of ``tenfold.shifts``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt64

from tenfold.errors import UsageError
from tenfold.shifts.frequency import Frequency, Number
from tenfold.shifts.kronecker import Kronecker

BITS = 128
_WORD = 1 << 64
# How far integer relations between frequencies are looked for, by number of frequencies.
_RELATION_RADIUS = {1: 4096, 2: 64, 3: 16}


def axis_phases(alpha: Sequence[int], start: int, stop: int) -> UInt64[np.ndarray, "n b"]:
    """n α mod 1 for n = start … stop − 1 (negative too), α in ``BITS`` bits: the top 64 bits, (stop − start, b)."""
    return Kronecker(Frequency.from_phases(alpha, BITS), bits=BITS, allow_resonant=True).phases(start, stop)


def fixed_point(x: Any, bits: int = 64) -> int:
    """A real number mod 1 as the integer ⌊x 2^bits⌋ mod 2^bits. ``x`` is what ``tenfold.shifts.Number`` reads: a float
    (its exact dyadic value), a fraction, or text: a decimal, "377/610", golden, silver, bronze, sqrt(k), cbrt(k), pi.

    >>> fixed_point("1/4") == 1 << 62, fixed_point("golden") / 2**64
    (True, 0.6180339887498949)
    """
    return Number.of(x).fixed(bits)


def to_unit(phases: UInt64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Phases as numbers in [0, 1): their top 53 bits, rounded down."""
    return (phases >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclass(frozen=True)
class LatticeOrbit:
    """The Z^d action x_n = θ + Σᵢ nᵢ Ωᵢ mod 1 on T^b.

    ``omega`` has d rows of b frequencies in ``BITS`` bits, ``theta`` rows of b 64-bit phases, one for each member of a
    batch; ``batched`` tells a batch of one from no batch. Make it with ``lattice_orbit``.
    """

    omega: tuple[tuple[int, ...], ...]
    theta: tuple[tuple[int, ...], ...]
    batched: bool = False

    @property
    def dim(self) -> int:
        """d, the lattice's dimension."""
        return len(self.omega)

    @property
    def torus(self) -> int:
        """b, the torus's dimension."""
        return len(self.omega[0])

    def phases(self, lower: Sequence[int], shape: Sequence[int]) -> UInt64[np.ndarray, "*batch N b"]:
        """(N, b), or (batch, N, b), over the box lower + [0, shape) in C order."""
        total = np.zeros((*shape, self.torus), dtype=np.uint64)
        for axis, (start, count) in enumerate(zip(lower, shape, strict=True)):
            along = axis_phases(self.omega[axis], start, start + count)
            total += along.reshape([count if i == axis else 1 for i in range(self.dim)] + [self.torus])
        return _shifted(total.reshape(-1, self.torus), self.theta, self.batched)

    def at(self, theta: Any) -> "LatticeOrbit":
        """The same orbit from other starting phases: b numbers, or (batch, b) of them."""
        rows, batched = _theta_rows(theta, self.torus)
        return replace(self, theta=rows, batched=batched)

    def approximant(self, period: int) -> "LatticeOrbit":
        """The orbit with every frequency replaced by the nearest p/period."""
        one = 1 << BITS
        rows = tuple(
            tuple((2 * a * period + one) // (2 * one) * one // period % one for a in row) for row in self.omega
        )
        return replace(self, omega=rows)


@dataclass(frozen=True)
class SkewOrbit:
    """The skew shift on T^b: (x₁, …, x_b) ↦ (x₁ + ω, x₂ + x₁, …, x_b + x_{b−1}), n steps from θ; d = 1."""

    frequency: int
    theta: tuple[tuple[int, ...], ...]
    batched: bool = False

    @property
    def dim(self) -> int:
        """1: the orbit of one map."""
        return 1

    @property
    def torus(self) -> int:
        """b, the torus's dimension."""
        return len(self.theta[0])

    def phases(self, lower: Sequence[int], shape: Sequence[int]) -> UInt64[np.ndarray, "*batch N b"]:
        """(N, b), or (batch, N, b), for n = lower … lower + shape − 1: the closed form at the first n in
        exact integers, then the map's recursion as wrapping cumulative sums."""
        start, count = int(lower[0]), int(shape[0])
        found = np.empty((len(self.theta), count, self.torus), dtype=np.uint64)
        for row, theta in enumerate(self.theta):
            below = np.full(count, self.frequency, dtype=np.uint64)
            for k in range(1, self.torus + 1):
                # x_k(n + 1) = x_k(n) + x_{k−1}(n), with x₀ = ω.
                first = _skew_closed_form(k, start, self.frequency, theta)
                steps = np.concatenate([[np.uint64(first)], below[:-1]])
                below = np.cumsum(steps, dtype=np.uint64)
                found[row, :, k - 1] = below
        return found if self.batched else found[0]

    def at(self, theta: Any) -> "SkewOrbit":
        """The same orbit from other starting phases."""
        rows, batched = _theta_rows(theta, self.torus)
        return replace(self, theta=rows, batched=batched)

    def approximant(self, period: int) -> "SkewOrbit":
        """Refused: a skew shift on a ring needs more than a rational frequency."""
        raise UsageError(f"the skew shift has no rational approximant of period {period}; use an open box")


Orbit = LatticeOrbit | SkewOrbit


def lattice_orbit(omega: Any, theta: Any = 0.0, allow_resonant: bool = False) -> LatticeOrbit:
    """The orbit with frequencies ``omega``: one number (d = b = 1), b of them (d = 1), or d rows of b.

    Numbers are anything ``fixed_point`` reads; ``theta`` one number for all coordinates, b numbers, or rows of b
    for a batch. Raises UsageError for unequal rows, and for frequencies with an integer relation k·Ωᵢ ∈ Z of small
    k unless ``allow_resonant`` (the potential is then periodic, which is seldom meant)."""
    rows = omega if _nested(omega) else [omega if _listed(omega) else [omega]]
    matrix = tuple(tuple(fixed_point(a, BITS) for a in row) for row in rows)
    if not matrix or not matrix[0] or len({len(row) for row in matrix}) != 1:
        raise UsageError(f"frequencies {omega!r} are no matrix; give d rows of b numbers")
    relation = None if allow_resonant else integer_relation(matrix)
    if relation is not None:
        terms = " + ".join(f"{k}·ω{j + 1}" for j, k in enumerate(relation) if k)
        raise UsageError(
            f"the frequencies {omega!r} are rationally dependent: {terms} is a whole number; choose independent "
            "ones, or pass allow_resonant=True (--allow-resonant) for a potential that repeats"
        )
    start, batched = _theta_rows(theta, len(matrix[0]))
    return LatticeOrbit(matrix, start, batched)


def skew_orbit(frequency: Any, theta: Any, allow_resonant: bool = False) -> SkewOrbit:
    """The skew shift from ``theta`` (b numbers, b ≥ 1, or rows of b) with one frequency."""
    rows = theta if _nested(theta) else [theta if _listed(theta) else [theta]]
    lattice = lattice_orbit(frequency, 0.0, allow_resonant)
    start, batched = _theta_rows(theta, len(rows[0]))
    return SkewOrbit(lattice.omega[0][0] >> (BITS - 64), start, batched)


def integer_relation(omega: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """The smallest k ≠ 0 with Ωᵢ·k within rounding of a whole number for every i, or None.

    Looks at |k|∞ ≤ 4096, 64, 16 for b = 1, 2, 3 (and 4 beyond): a relation with larger k is not found."""
    b = len(omega[0])
    radius = _RELATION_RADIUS.get(b, 4)
    axis = np.arange(-radius, radius + 1, dtype=np.int64)
    k = np.arange(1, radius + 1)[:, None] if b == 1 else np.array(list(product(axis, repeat=b)), dtype=np.int64)
    weight = np.abs(k).sum(1)
    k, weight = k[weight > 0], weight[weight > 0]
    alike = np.ones(len(k), dtype=bool)
    for row in omega:
        top = np.array([a >> (BITS - 64) for a in row], dtype=np.uint64)
        total = (k.astype(np.uint64) * top).sum(1, dtype=np.uint64).view(np.int64)
        # A float carries 53 bits, so that a decimal such as 0.2 is a fifth only to that precision.
        alike &= np.abs(total.astype(np.float64)) <= weight * 2.0**11
    if not alike.any():
        return None
    best = k[alike][np.argmin(weight[alike])]
    return tuple(int(v) for v in (best if best[np.nonzero(best)[0][0]] > 0 else -best))


def _skew_closed_form(k: int, n: int, frequency: int, theta: Sequence[int]) -> int:
    # x_k(n) = Σ_{j<k} C(n, j) θ_{k−j} + C(n, k) ω, also for negative n with the generalised binomials.
    total, binomial = 0, 1
    for j in range(k):
        total += binomial * theta[k - j - 1]
        binomial = binomial * (n - j) // (j + 1)
    return (total + binomial * frequency) % _WORD


def _shifted(
    base: UInt64[np.ndarray, "N b"], theta: Sequence[Sequence[int]], batched: bool
) -> UInt64[np.ndarray, "*batch N b"]:
    start = np.array(theta, dtype=np.uint64)
    return base[None] + start[:, None] if batched else base + start[0]


def _theta_rows(theta: Any, torus: int) -> tuple[tuple[tuple[int, ...], ...], bool]:
    batched = _nested(theta)
    rows = theta if batched else [theta if _listed(theta) else [theta] * torus]
    found = tuple(tuple(fixed_point(x) for x in row) for row in rows)
    if not found or any(len(row) != torus for row in found):
        raise UsageError(
            f"theta has {len(found[0]) if found else 0} phases; the potential lives on T^{torus}: give {torus}"
        )
    return found, batched


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _nested(value: Any) -> bool:
    return _listed(value) and len(value) > 0 and _listed(value[0])
