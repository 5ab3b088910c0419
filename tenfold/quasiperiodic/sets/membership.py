"""Whether points lie in a semi-algebraic set, decided: float64 with an error bound, whole numbers where it fails.

Two kinds of error are told apart: rounding in float64 is removed by exact re-evaluation; the distance between the
stored and the real point (``slack``) is not, and a point that it leaves undecided is reported as such.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from tenfold.quasiperiodic.sets.formulas import Formula
from tenfold.quasiperiodic.sets.polynomials import Exponents
from tenfold.shifts.arrays import exact_fraction

UNIT = 2.0**-53
CHUNK = 1 << 14
Answers = Bool[np.ndarray, " n"]


class Membership:
    """The test of one set, its monomials shared among all polynomials."""

    def __init__(self, region: Formula) -> None:
        self.polynomials = region.polynomials
        self.dim = region.dim
        self.clauses = region.indexed
        # A set stays as it is when a polynomial is multiplied by a positive number.
        scaled = [p.balanced for p in self.polynomials]
        self._plan, position = _monomials([e for p in scaled for e, _ in p.terms], self.dim)
        self._sums = [[(position[e], float(c)) for e, c in p.terms] for p in scaled]
        # |computed − exact| ≤ Σ |c| (γ_{degree + terms + 1} + degree δ) for monomials in [0, 1] whose coordinates
        # have error δ: an a-priori form of the running error bound, with 1 % for the higher orders.
        self._rounding = [1.01 * p.size * UNIT * (p.degree + len(p.terms) + 2) for p in scaled]
        self._slope = [1.01 * float(sum(p.slopes)) for p in scaled]

    def values(self, x: Float64[np.ndarray, "n b"]) -> list[Float64[np.ndarray, " n"]]:
        """Values of the polynomials at points, each over a power of two (``Poly.balanced``)."""
        columns = [np.ascontiguousarray(x[:, j]) for j in range(self.dim)]
        made: list[np.ndarray] = []
        for parent, j in self._plan:
            made.append(columns[j] if parent < 0 else made[parent] * columns[j])
        found = []
        for terms in self._sums:
            total: np.ndarray | float = 0.0
            for place, c in terms:
                total = total + (c if place < 0 else made[place] * c)
            found.append(np.broadcast_to(np.asarray(total, dtype=np.float64), (len(x),)))
        return found

    def test(
        self, x: Float64[np.ndarray, "n b"], delta: float = UNIT
    ) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """(inside, unknown) of points, coordinates within ``delta`` of the real ones on the torus; where
        ``unknown`` is set, ``inside`` means nothing."""
        yes, maybe = np.empty(len(x), bool), np.empty(len(x), bool)
        for begin in range(0, len(x), CHUNK):
            part = x[begin : begin + CHUNK]
            values = self.values(part)
            bounds = [r + s * delta for r, s in zip(self._rounding, self._slope, strict=True)]
            some, possible = three_valued(
                self.clauses,
                [v > e for v, e in zip(values, bounds, strict=True)],
                [v < -e for v, e in zip(values, bounds, strict=True)],
            )
            # A coordinate this near to 0 may in truth lie just below 1.
            wraps = np.zeros(len(part), bool)
            for column in part.T if delta > 0 else ():
                wraps |= (column <= delta) | (column >= 1.0 - 2 * delta)
            yes[begin : begin + CHUNK] = some
            maybe[begin : begin + CHUNK] = (possible & ~some) | wraps
        return yes, maybe

    def as_floats_have_it(self, x: Float64[np.ndarray, "n b"]) -> Bool[np.ndarray, " n"]:
        """Membership of points by the values that float64 gives, near a boundary too."""
        signs = [np.sign(v) for v in self.values(x)]
        return np.logical_or.reduce(
            [np.logical_and.reduce([_holds(signs[i], s) for i, s in clause]) for clause in self.clauses]
        )

    def exact(
        self, numerators: Sequence[int], moduli: Sequence[int], slack: Sequence[int] | None = None
    ) -> bool | None:
        """Whether the point numerators / moduli lies in the set; with ``slack`` (units of 1/modulus per coordinate),
        whether all points that near do: None when some do and some may not."""
        if slack is None or not any(slack):
            return self._decide([sign_of(p.scaled_value(numerators, moduli)) for p in self.polynomials])
        if any(s and (r < s or r + s >= m) for r, m, s in zip(numerators, moduli, slack, strict=True)):
            return None
        signs: list[int | None] = []
        for p in self.polynomials:
            value = Fraction(p.scaled_value(numerators, moduli), p.scale(moduli))
            error = sum((g * Fraction(s, m) for g, s, m in zip(p.slopes, slack, moduli, strict=True)), Fraction(0))
            signs.append(sign_of(value) if abs(value) > error or not error else None)
        return self._decide(signs)

    def _decide(self, signs: Sequence[int | None]) -> bool | None:
        unknown = False
        for clause in self.clauses:
            answers = [_holds(signs[i], relation) for i, relation in clause]
            if all(answers):
                return True
            unknown |= None in answers and False not in answers
        return None if unknown else False

    def of_numbers(self, x: np.ndarray, given: np.ndarray) -> Bool[np.ndarray, " n"]:
        """Membership of points (n, b) of numbers that are meant exactly; ``x`` has them as floats."""
        inside, unknown = self.test(x, 0.0 if given.dtype.itemsize <= 8 and given.dtype.kind != "O" else UNIT)
        for i in np.flatnonzero(unknown):
            exact = [exact_fraction(v, "a coordinate") for v in given[i]]
            inside[i] = self.exact([v.numerator for v in exact], [v.denominator for v in exact])
        return inside

    def closest(self, numerators: Sequence[int], moduli: Sequence[int]) -> float:
        """The least |P| over the polynomials at a point."""
        values = (abs(Fraction(p.scaled_value(numerators, moduli), p.scale(moduli))) for p in self.polynomials)
        return float(min(*values, Fraction(10) ** 300))


def three_valued(
    clauses: Sequence[Sequence[tuple[int, str]]], above: Sequence[Answers], below: Sequence[Answers]
) -> tuple[Answers, Answers]:
    """(certain, possible) truth of a formula at many points, of polynomials surely above or surely below 0 there."""
    certain, possible = np.zeros_like(above[0]), np.zeros_like(above[0])
    for clause in clauses:
        all_certain, all_possible = np.ones_like(certain), np.ones_like(certain)
        for i, relation in clause:
            if relation == "==":
                all_certain[:] = False
                all_possible &= ~(above[i] | below[i])
                continue
            yes, no = (above[i], below[i]) if relation in (">", ">=") else (below[i], above[i])
            all_certain &= yes
            all_possible &= ~no
        certain |= all_certain
        possible |= all_possible
    return certain, possible


def sign_of(value: int | Fraction) -> int:
    """−1, 0 or 1."""
    return (value > 0) - (value < 0)


def _holds(sign: Any, relation: str) -> Any:
    if sign is None:
        return None
    return {">": sign > 0, ">=": sign >= 0, "<": sign < 0, "<=": sign <= 0, "==": sign == 0}[relation]


def _monomials(wanted: list[Exponents], dim: int) -> tuple[list[tuple[int, int]], dict[Exponents, int]]:
    """Products to form, each a former product (or −1) times a coordinate, and where each monomial ends up; the
    constant monomial is at −1."""
    plan: list[tuple[int, int]] = []
    position = {(0,) * dim: -1}
    for e in sorted(set(wanted), key=lambda e: (sum(e), e)):
        _place(e, plan, position)
    return plan, position


def _place(e: Exponents, plan: list[tuple[int, int]], position: dict[Exponents, int]) -> int:
    """Where a monomial is, made of one that is there if it can be."""
    if e not in position:
        smaller = {j: tuple(x - (k == j) for k, x in enumerate(e)) for j, x in enumerate(e) if x}
        j = max(smaller, key=lambda i: (smaller[i] in position, e[i]))
        plan.append((_place(smaller[j], plan, position), j))
        position[e] = len(plan) - 1
    return position[e]
