"""Where a site of Z^d lies on the torus T^b: exact phases θ + Σᵢ nᵢ Ωᵢ mod 1 of the operators' potentials.

Phases are integers that wrap around, so that a box around n = 10⁹ costs no more than one around 0, and the
orbit of the stored frequencies is exact. A stored frequency has ``BITS`` bits, so that n α errs by n 2^−BITS; a skew
shift, whose error grows as C(n, b), takes as many bits as its sites ask for. Phases are right to ``PHASE_ERROR``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt64

from tenfold.errors import UsageError
from tenfold.shifts import limbs
from tenfold.shifts.frequency import Frequency, Number
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.reduction import in_box

BITS = 128
# Of every phase that an orbit gives, for |n| < 2^63: the truncation of θ and of a few sums to 64 bits.
PHASE_ERROR = 2.0**-60
# How far integer relations between frequencies are looked for, by number of frequencies.
_RELATION_RADIUS = {1: 4096, 2: 64, 3: 16}


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
        starts = np.array(self.theta, dtype=np.uint64)
        total = np.zeros(0, np.uint64)
        for axis, (start, count) in enumerate(zip(lower, shape, strict=True)):
            line = Kronecker(Frequency.from_phases(self.omega[axis], BITS), bits=BITS, allow_resonant=True)
            along = line.phases(start, start + count)
            total = along if not axis else (total[:, None] + along).reshape(-1, self.torus)
        if self.batched:
            return total + starts[:, None]
        total += starts[0]
        return total

    def at(self, theta: Any) -> "LatticeOrbit":
        """The same orbit from other starting phases: b numbers, or (batch, b) of them."""
        rows, batched = _theta_rows(theta, self.torus)
        return replace(self, theta=tuple(tuple(x.fixed(64) for x in row) for row in rows), batched=batched)

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

    frequency: Number
    theta: tuple[tuple[Number, ...], ...]
    batched: bool = False

    @property
    def dim(self) -> int:
        """1: the orbit of one map."""
        return 1

    @property
    def torus(self) -> int:
        """b, the torus's dimension."""
        return len(self.theta[0])

    def bits(self, lower: int, count: int) -> int:
        """Bits, a multiple of 64, at which phases of n = lower … lower + count − 1 are right to 2^−72: a number that is
        stored with an error of 2^−bits is multiplied by binomials of n below (|n| + b)^b."""
        largest = max(abs(lower), abs(lower + count)) + self.torus
        return -(-(72 + self.torus * largest.bit_length()) // 64) * 64

    def phases(self, lower: Sequence[int], shape: Sequence[int]) -> UInt64[np.ndarray, "*batch N b"]:
        """(N, b), or (batch, N, b), for n = lower … lower + shape − 1: the closed form at the first n in
        exact integers, then the map's recursion as wrapping cumulative sums."""
        start, count = int(lower[0]), int(shape[0])
        bits = self.bits(start, count)
        # C(start, j), generalised for negative n.
        binomials = list(accumulate(range(self.torus), lambda c, j: c * (start - j) // (j + 1), initial=1))
        found = np.empty((len(self.theta), count, self.torus), dtype=np.uint64)
        for row, theta in enumerate(self.theta):
            numbers = [self.frequency.rounded(bits), *(x.rounded(bits) for x in theta)]
            below = tuple(np.broadcast_to(x, count) for x in limbs.split(numbers[0], bits // 64))
            for k in range(1, self.torus + 1):
                # x_k(n) = Σ_{j<k} C(n, j) θ_{k−j} + C(n, k) ω, and x_k(n + 1) = x_k(n) + x_{k−1}(n) with x₀ = ω.
                first = sum(c * x for c, x in zip(binomials[: k + 1], numbers[k::-1], strict=True))
                below = limbs.add(limbs.prefix_sums(below), limbs.split(first, bits // 64))
                found[row, :, k - 1] = below[-1]
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

    What ``tenfold.shifts.Frequency`` reads is read here: numbers, fractions, decimals, names of one number or of
    several ("cubic", "rd:3", "liouville:2,1000"); ``theta`` one number for all coordinates, b numbers, or rows of b
    for a batch. Raises UsageError for unequal rows, and for frequencies with an integer relation k·Ωᵢ ∈ Z of small
    k unless ``allow_resonant`` (the potential is then periodic, which is seldom meant)."""
    matrix = tuple(Frequency.of(row).fixed(BITS) for row in _rows(omega))
    if len({len(row) for row in matrix}) != 1:
        raise UsageError(f"frequencies {omega!r} are no matrix; give d rows of b numbers")
    relation = None if allow_resonant else integer_relation(matrix)
    if relation is not None:
        terms = " + ".join(f"{k}·ω{j + 1}" for j, k in enumerate(relation) if k)
        raise UsageError(
            f"the frequencies {omega!r} are rationally dependent: {terms} is a whole number; choose independent "
            "ones, or pass allow_resonant=True (--allow-resonant) for a potential that repeats"
        )
    return LatticeOrbit(matrix, ()).at(theta)


def skew_orbit(frequency: Any, theta: Any, allow_resonant: bool = False) -> SkewOrbit:
    """The skew shift from ``theta`` (b numbers, b ≥ 1, or rows of b) with one frequency."""
    given = Frequency.of(frequency)
    if given.dim != 1:
        raise UsageError(f"a skew shift has one frequency, not {given.dim}; choose one of {given}")
    lattice_orbit(given, 0.0, allow_resonant)
    rows, batched = _theta_rows(theta, None)
    return SkewOrbit(given.components[0], rows, batched)


def integer_relation(omega: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """The smallest k ≠ 0 with Ωᵢ·k within rounding of a whole number for every i, or None.

    Looks at |k|∞ ≤ 4096, 64, 16 for b = 1, 2, 3, 4 up to b = 8, 1 up to b = 16 and 0 beyond, where 64 bits do not rule
    out chance: a relation with larger k is not found."""
    b, d = len(omega[0]), len(omega)
    radius = _RELATION_RADIUS.get(b, 4 if b <= 8 else int(b <= 16))
    if not radius:
        return None
    top = [[a >> (BITS - 64) for a in row] for row in omega]
    rows = [[int(i == j) for j in range(b)] + [row[i] for row in top] for i in range(b)]
    rows += [[0] * b + [int(i == j) << 64 for j in range(d)] for i in range(d)]
    # A float carries 53 bits, so that a decimal such as 0.2 is a fifth only to that precision.
    found = [
        v[:b]
        for v, _ in in_box(rows, [radius] * b + [radius * b << 11] * d)
        if any(v[:b]) and max(map(abs, v[b:])) <= sum(map(abs, v[:b])) << 11
    ]
    if not found:
        return None
    best = min(found, key=lambda k: sum(map(abs, k)))
    sign = 1 if next(x for x in best if x) > 0 else -1
    return tuple(sign * x for x in best)


def _theta_rows(theta: Any, torus: int | None) -> tuple[tuple[tuple[Number, ...], ...], bool]:
    """Rows of θ and whether they are a batch; a single number stands for ``torus`` of them."""
    batched = _nested(theta)
    rows = tuple(Frequency.of(row).components for row in _rows(theta))
    if not batched and len(rows[0]) == 1 and torus is not None:
        rows = (rows[0] * torus,)
    widths = {len(row) for row in rows}
    if len(widths) != 1 or (torus is not None and widths != {torus}):
        raise UsageError(
            f"theta has {len(rows[0])} phases; the potential lives on T^{torus}: give {torus}"
            if torus is not None
            else f"the rows of theta have {sorted(widths)} phases; give as many in each"
        )
    return rows, batched


def _rows(value: Any) -> Any:
    """Rows of numbers: of tensors and arrays of one number too."""
    value = value.tolist() if hasattr(value, "detach") or (isinstance(value, np.ndarray) and not value.ndim) else value
    return value if _nested(value) else [value]


def _nested(value: Any) -> bool:
    rows = list | tuple | np.ndarray
    return isinstance(value, rows) and getattr(value, "ndim", 1) > 0 and len(value) > 0 and isinstance(value[0], rows)
