"""How well whole multiples of a frequency come back to 0: continued fractions and best approximations, exact.

‖x‖ is the distance to the nearest whole number, for vectors the largest over the coordinates.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_all_arguments, read_arguments
from tenfold.shifts.costs import Watch
from tenfold.shifts.frequency import Frequency, Number
from tenfold.shifts.reduction import Search, in_box

BITS = 256
BRUTE_LIMIT = 10**7
BRUTE_DIM = 8  # from here on the boxes of the lattice hold more vectors than a brute search has numbers
_TOGETHER = 16  # coordinates in which relations are looked for
_METHODS = ("auto", "lattice", "brute")
MOST_BITS = 1 << 13


@dataclass(frozen=True)
class ContinuedFraction:
    """[a₀; a₁, a₂, …] of a number in [0, 1), so that a₀ = 0, and its convergents p/q.

    ``complete`` says that the number is this finite fraction; ``exhausted`` that its known bits determine no
    further quotient."""

    quotients: tuple[int, ...]
    convergents: tuple[tuple[int, int], ...]
    complete: bool
    exhausted: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; convergents as strings, for they outgrow what JSON readers hold."""
        return {**asdict(self), "quotients": list(self.quotients),
                "convergents": [[str(p), str(q)] for p, q in self.convergents]}  # fmt: skip


@read_arguments
def continued_fraction(alpha: Any, terms: int = 20, bits: int = BITS) -> ContinuedFraction:
    """Up to ``terms`` partial quotients (a₀ counts) of one number.

    Rational numbers are expanded to their end. Of others, an interval [x, x + 2^−bits] that holds the number is
    expanded, and a quotient is given only where both ends share it (the interval form of the Gauss map).

    >>> continued_fraction("golden", 6).convergents[-1], continued_fraction("43/30").quotients
    ((5, 8), (0, 2, 3, 4))

    Raises UsageError for a vector or ``terms`` < 1."""
    frequency = Frequency.of(alpha)
    if frequency.dim != 1:
        raise UsageError(f"a continued fraction is of one number, but {frequency} has {frequency.dim}")
    if not 1 <= bits <= 1 << 20:
        raise UsageError(f"bits is {bits}; expected 1 to {1 << 20}")
    if terms < 1:
        raise UsageError(f"terms is {terms}; expected at least 1")
    number = frequency.components[0]
    quotients, complete, exhausted = _quotients(*_interval(number, bits), terms)
    p, p_before, q, q_before = 1, 0, 0, 1
    convergents = []
    for a in quotients:
        p, p_before, q, q_before = a * p + p_before, p, a * q + q_before, q
        convergents.append((p, q))
    return ContinuedFraction(tuple(quotients), tuple(convergents), complete, exhausted)


def _interval(number: Number, bits: int) -> tuple[Fraction, Fraction]:
    known = bits if number.known_bits is None else min(bits, number.known_bits)
    low = Fraction(number.fixed(known), 1 << known) if number.value is None else number.value
    return low, low if number.kind in ("rational", "phase") else low + Fraction(1, 1 << known)


def _quotients(low: Fraction, high: Fraction, terms: int) -> tuple[list[int], bool, bool]:
    # The map x ↦ 1/(x − a) reverses the order of the ends; ``None`` is infinity.
    found: list[int] = []
    a: int
    size = high.denominator.bit_length()
    watch = Watch(f"expanding {size} bits", "fewer terms or bits are quicker, and as exact")
    while len(found) < terms:
        a = math.floor(low)
        if math.floor(high) != a:
            return found, False, True
        found.append(a)
        low, high = low - a, high - a
        if low == high == 0:
            return found, True, False
        if low == 0:
            return found, False, True
        low, high = 1 / high, 1 / low
        watch(max(len(found) / terms, 1 - high.denominator.bit_length() / size))
    return found, False, False


@read_all_arguments
@dataclass(frozen=True)
class Records:
    """Successive best approximations.

    ``sizes`` are n (kind "simultaneous") or |k|_∞ (kind "dual") and ``vectors`` n or k themselves; ``distances``
    ‖n α‖ or ‖k · α‖ are exact for the stored frequency, whose error moves them by at most ``error``. ``limit``
    is the range searched, inclusive and complete.
    """

    kind: str
    frequency: str
    sizes: tuple[int, ...]
    vectors: tuple[tuple[int, ...], ...]
    distances: tuple[Fraction, ...]
    limit: int
    error: Fraction

    def smallest(self, size: int) -> Fraction:
        """The least distance over 1 … ``size``, less the error: a lower bound for the real number.

        Raises UsageError outside 1 … limit."""
        if not 1 <= size <= self.limit:
            raise UsageError(f"records reach from 1 to {self.limit}, not to {size}")
        best = min(d for s, d in zip(self.sizes, self.distances, strict=True) if s <= size)
        return max(best - self.error, Fraction(0))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, distances as floats."""
        return {
            "kind": self.kind, "frequency": self.frequency, "norm": "sup", "range": [1, self.limit],
            "range_inclusive": True, "error": float(self.error),
            "records": [{"size": s, "vector": list(v), "distance": float(d)} for s, v, d in
                        zip(self.sizes, self.vectors, self.distances, strict=True)],
        }  # fmt: skip


def _stored(frequency: Frequency, bits: int) -> tuple[list[int], list[int]]:
    """Numerators and moduli of the components; rational ones exact."""
    moduli = [1 << bits if c.value is None else min(c.value.denominator, 1 << bits) for c in frequency.components]
    return [c.over(m) for c, m in zip(frequency.components, moduli, strict=True)], moduli


@read_arguments
def best_simultaneous(alpha: Any, limit: int, method: str = "auto") -> Records:
    """The n ≤ ``limit`` with ‖n α‖ smaller than for every smaller n ≥ 1, and these distances.

    ``method`` "lattice" finds each next record in a box of the lattice of (n, n α − p) by LLL and complete
    enumeration, O(log limit) boxes for any ``limit``, each about 3^b nodes; "brute" computes all n (limit ≤ 10^7);
    "auto" is "brute" from eight coordinates on where the limit allows it. They agree; minutes are said.

    >>> best_simultaneous("golden", 100).sizes
    (1, 2, 3, 5, 8, 13, 21, 34, 55, 89)

    Raises UsageError for ``limit`` < 1, or a search of days."""
    _positive(limit, "limit")
    if method not in _METHODS:
        raise UsageError(f"method is {method!r}; expected 'auto', 'lattice' or 'brute'")
    frequency = Frequency.of(alpha)
    quick = frequency.dim >= BRUTE_DIM and limit <= BRUTE_LIMIT
    way = ("brute" if quick else "lattice") if method == "auto" else method
    return _best_simultaneous(frequency, limit, way)


@lru_cache(maxsize=64)
def _best_simultaneous(frequency: Frequency, limit: int, method: str, bits: int = 0) -> Records:
    bits = bits or BITS + 2 * limit.bit_length()
    steps, moduli = _stored(frequency, bits)
    exact = all(c.exact_over(m) for c, m in zip(frequency.components, moduli, strict=True))
    error = Fraction(0 if exact else limit, 1 << bits)

    def distance(n: int) -> Fraction:
        return max(Fraction(min(n * a % m, -n * a % m), m) for a, m in zip(steps, moduli, strict=True))

    if method == "brute":
        sizes = list(_brute_records(steps, moduli, bits, limit))
    else:
        sizes = list(_simultaneous(steps, moduli, limit, distance))
    distances = tuple(distance(n) for n in sizes)
    if not exact and distances[-1] <= error * 2**64 and bits < MOST_BITS:  # nearer than these bits can tell
        return _best_simultaneous(frequency, limit, method, 4 * bits)
    return Records(
        "simultaneous", str(frequency), tuple(sizes), tuple((n,) for n in sizes), distances, limit, error
    )  # fmt: skip


def _simultaneous(
    steps: list[int], moduli: list[int], limit: int, distance: Callable[[int], Fraction]
) -> Iterator[int]:
    rows = [[1, *steps]]
    rows += [[0] + [m if i == j else 0 for i in range(len(steps))] for j, m in enumerate(moduli)]
    size, best = 1, distance(1)
    yield size
    reach = 1
    search = Search(
        f"searching the lattice for n up to {limit} in {len(steps)} dimensions",
        f"method 'brute' takes seconds for n up to {BRUTE_LIMIT}, as exact, and fewer coordinates are quicker",
        limit.bit_length(),
    )
    while best and reach < limit:
        reach = min(2 * max(reach, size), limit)
        half = [reach, *(max(1, math.ceil(best * m) - 1) for m in moduli)]
        found = sorted({abs(v[0]) for v, _ in in_box(rows, half, search)} - {0})
        for n in found:
            if n > size and (d := distance(n)) < best:
                size, best = n, d
                yield size


def _brute_records(steps: list[int], moduli: list[int], bits: int, limit: int) -> Iterator[int]:
    if limit > BRUTE_LIMIT:
        raise UsageError(f"limit is {limit}; brute force goes to {BRUTE_LIMIT}, use method='lattice'")
    # Distances to 2^-64 pick the candidates, whole numbers decide.
    top = np.array([(a << 64) // m % (1 << 64) for a, m in zip(steps, moduli, strict=True)], dtype=np.uint64)
    best: Fraction | None = None
    bound = np.inf
    for begin in range(1, limit + 1, 1 << 18):
        n = np.arange(begin, min(begin + (1 << 18), limit + 1), dtype=np.uint64)
        phase = n[:, None] * top
        near = np.minimum(phase, np.uint64(0) - phase).max(axis=1).astype(np.float64) * 2.0**-64
        running = np.minimum.accumulate(np.minimum(near, bound))
        for i in np.flatnonzero(near <= running + 1e-9 * running + limit * 2.0**-62):
            number = int(n[i])
            d = max(Fraction(min(number * a % m, -number * a % m), m) for a, m in zip(steps, moduli, strict=True))
            if best is None or d < best:
                best = d
                yield number
        bound = float(running[-1])


@read_arguments
def best_dual(alpha: Any, radius: int) -> Records:
    """Whole vectors 0 ≠ k, |k|_∞ ≤ ``radius``, with ‖k · α‖ smaller than for every k of smaller |k|_∞, the best of
    each |k|_∞; the first non-zero entry of k is positive.

    >>> best_dual("sqrt2, sqrt3", 5).vectors
    ((1, 1), (1, -2), (2, 3), (5, 4))

    Raises UsageError for ``radius`` < 1."""
    _positive(radius, "radius")
    return _best_dual(Frequency.of(alpha), radius, BITS + 2 * radius.bit_length())


@lru_cache(maxsize=64)
def _best_dual(frequency: Frequency, radius: int, bits: int) -> Records:
    steps, modulus, inexact = _common(frequency, bits)
    rows = dual_rows(steps, modulus)
    size, best, vectors = 0, modulus // 2 + 1, []
    reach = 0
    search = Search(
        f"searching the lattice for |k| up to {radius} in {frequency.dim} dimensions",
        "a smaller radius or fewer coordinates are quicker, and as exact",
        radius.bit_length() + 1,
    )
    while best and reach < radius:
        reach = min(max(1, 2 * reach, 2 * size), radius)
        half = [reach] * frequency.dim + [max(1, best - 1)]
        found = sorted(
            (max(map(abs, v[:-1])), abs(v[-1]), signed(v[:-1])) for v, _ in in_box(rows, half, search) if any(v[:-1])
        )
        for norm, value, vector in found:
            if norm > size and value < best:
                size, best = norm, value
                vectors.append((norm, vector, Fraction(value, modulus)))
    error = Fraction(radius * frequency.dim if inexact else 0, modulus)
    if Fraction(best, modulus) <= error * 2**64 and inexact and bits < MOST_BITS:
        return _best_dual(frequency, radius, 4 * bits)
    sizes, chosen, distances = zip(*vectors, strict=True)
    return Records("dual", str(frequency), sizes, chosen, distances, radius, error)


def relation(alpha: Any) -> tuple[int, ...] | None:
    """Small whole numbers k ≠ 0 with k · α ∈ Z, or None.

    |k|_∞ goes up to 4096, or as far as the known bits of α rule out chance; a k is reported when k · α is a whole
    number to within what rounding α explains. Of more than 16 coordinates, relations among neighbours are looked for:
    16 of them at a time, each with the 8 before and after it."""
    parts = Frequency.of(alpha).components
    for first in range(0, max(len(parts) - _TOGETHER // 2, 1), _TOGETHER // 2):
        found = _relation(Frequency(parts[first : first + _TOGETHER]))
        if found is not None:
            return (*[0] * first, *found, *[0] * (len(parts) - first - len(found)))
    return None


@lru_cache(maxsize=256)
def _relation(frequency: Frequency) -> tuple[int, ...] | None:
    if any(c.kind == "phase" for c in frequency.components):
        return None
    known = min(BITS if c.known_bits is None else c.known_bits for c in frequency.components)
    reach = min(4096, 1 << max(0, (min(known, BITS) - 22) // (frequency.dim + 1)))
    if known < 30:  # a short decimal or float says too little for anything but exact coincidence
        reach, known = 64, BITS
    steps, modulus, inexact = _common(frequency, BITS)
    rows = dual_rows(steps, modulus)

    def within(size: int) -> Iterator[tuple[int, ...]]:
        noise = size * frequency.dim if inexact or known < BITS else 0
        half = [size] * frequency.dim + [max(1, noise << BITS - known if modulus == 1 << BITS else noise)]
        return (signed(v[:-1]) for v, _ in in_box(rows, half) if any(v[:-1]) and (noise or not v[-1]))

    # Small boxes first: a rational vector has so many relations in the large one.
    for size in sorted({min(size, reach) for size in (1, 8, 128, 4096)}):
        found = [k for k in within(size) if _holds(frequency, k)]
        if found:
            return min(found, key=lambda k: (max(map(abs, k)), sum(map(abs, k)), [-x for x in k]))
    return None


def _holds(frequency: Frequency, k: Sequence[int]) -> bool:
    """Whether k · α is as near to a whole number as many more bits can tell: a huge partial quotient is not."""
    if all(c.value is not None for c in frequency.components):
        return True
    total = sum(x * a for x, a in zip(k, frequency.fixed(MOST_BITS), strict=True)) % (1 << MOST_BITS)
    known = min((c.known_bits for c in frequency.components if c.known_bits is not None), default=MOST_BITS)
    return min(total, (1 << MOST_BITS) - total) <= sum(map(abs, k)) << MOST_BITS - known


def _common(frequency: Frequency, bits: int) -> tuple[list[int], int, bool]:
    """Components over one modulus, and whether any is rounded."""
    values = [c.value for c in frequency.components]
    if all(v is not None for v in values):
        modulus = math.lcm(*(v.denominator for v in values))  # type: ignore[union-attr]
        if modulus < 1 << 4 * bits:
            return [int(v * modulus) for v in values], modulus, False  # type: ignore[operator]
    return list(frequency.fixed(bits)), 1 << bits, True


def dual_rows(steps: Sequence[int], modulus: int) -> list[list[int]]:
    """The lattice of (k, k · α − p), α = steps / modulus, last entry in units of 1/modulus."""
    size = len(steps)
    return [[int(i == j) for j in range(size)] + [steps[i]] for i in range(size)] + [[0] * size + [modulus]]


def signed(k: Sequence[int]) -> tuple[int, ...]:
    """Of ±k the one whose first non-zero entry is positive."""
    first = next(x for x in k if x)
    return tuple(k) if first > 0 else tuple(-x for x in k)


def _positive(value: int, name: str) -> None:
    if value < 1:
        raise UsageError(f"{name} is {value}; expected at least 1")
