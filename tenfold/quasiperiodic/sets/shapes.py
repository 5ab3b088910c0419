"""Constructors of semi-algebraic sets."""

import functools
import itertools
import math
import operator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.formulas import RELATIONS
from tenfold.quasiperiodic.sets.polynomials import Poly, variables
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.settings.arguments import read_arguments
from tenfold.shifts.arrays import exact_fraction, indices, listed, reals
from tenfold.shifts.frequency import Frequency


@read_arguments
def box(low: Any, high: Any, closed: bool = False) -> Set:
    """∏ [low_j, high_j), or with closed upper ends. Raises UsageError unless 0 ≤ low_j < high_j ≤ 1.

    >>> box([0, "1/4"], ["1/2", "3/4"]).contains([[0.1, 0.25], [0.1, 0.75]]).tolist()
    [True, False]
    """
    low, high = listed(low, "low"), listed(high, "high")
    if len(low) != len(high) or not low:
        raise UsageError(f"a box has {len(low)} lower and {len(high)} upper ends; give one of each per coordinate")
    clause = []
    for x, a, b in zip(variables(len(low)), low, high, strict=True):
        lower, upper = x - a, x - b
        if not 0 <= -lower.exact([0] * len(low)) < -upper.exact([0] * len(low)) <= 1:
            raise UsageError(f"the side [{a}, {b}) is no interval of [0, 1]; give 0 ≤ low < high ≤ 1")
        clause += [(lower, ">="), (upper, "<=" if closed else "<")]
    return Set([clause])


def intervals(ends: Any) -> Set:
    """A union of half-open intervals [a, b) in dimension 1."""
    ends = listed(ends, "the intervals")
    if not ends:
        raise UsageError("a union of intervals has none; give at least one pair of ends")
    if any(len(listed(pair, "an interval")) != 2 for pair in ends):
        raise UsageError("an interval is no pair of ends; give pairs such as (0, '1/4')")
    return Set(dict.fromkeys(box([a], [b]).clauses[0] for a, b in ends))


def ball(centre: Any, radius: Any) -> Set:
    """{|x − c|_2 ≤ r}, not wrapped around the torus."""
    centre = listed(centre, "the centre")
    if exact_fraction(radius, "the radius") <= 0:
        raise UsageError(f"the radius is {radius}; expected a positive number")
    r = Poly.constant(len(centre), radius)
    total = Poly.constant(len(centre), 0)
    for x, c in zip(variables(len(centre)), centre, strict=True):
        total = total + (x - c) ** 2
    return Set([[(total - r * r, "<=")]])


@read_arguments
def halfspace(normal: Any, bound: Any, relation: str = "<=") -> Set:
    """{k · x s bound}."""
    return Set([[(Poly.linear(normal) - bound, relation)]])


def slab(normal: Any, low: Any, high: Any) -> Set:
    """{low ≤ k · x < high}, of degree 2."""
    linear = Poly.linear(normal)
    return Set([[(linear - low, ">="), (linear - high, "<")]])


def polytope(normals: Any, bounds: Any) -> Set:
    """{A x ≤ c}, row by row."""
    normals, bounds = listed(normals, "the normals"), listed(bounds, "the bounds")
    if len(normals) != len(bounds) or not bounds:
        raise UsageError(f"{len(normals)} normals have {len(bounds)} bounds; give one each, and at least one")
    return Set([[(Poly.linear(a) - c, "<=") for a, c in zip(normals, bounds, strict=True)]])


@read_arguments
def band(function: Poly, width: Any, axis: int = -1) -> Set:
    """{|x_axis − f(x)| ≤ w}: a neighbourhood of a graph; f a polynomial in all b variables."""
    if not -function.dim <= axis < function.dim:
        raise UsageError(f"axis is {axis}, but the function has {function.dim} variables")
    if exact_fraction(width, "the width") < 0:
        raise UsageError(f"the width is {width}; expected at least 0")
    difference = variables(function.dim)[axis] - function
    return Set([[(difference - width, "<="), (difference + width, ">=")]])


def from_sympy(expression: Any, symbols: Any) -> Set:
    """A set from a sympy relation, or And, Or, Not of relations, between polynomials in ``symbols`` (in the order of
    the coordinates).

    Raises UsageError for anything that is not polynomial with rational or float coefficients."""
    import sympy

    symbols = listed(symbols, "the symbols")
    if not all(isinstance(symbol, sympy.Symbol) for symbol in symbols):
        raise UsageError(f"the symbols are {symbols}; expected those of sympy, in the order of the coordinates")
    if isinstance(expression, sympy.And | sympy.Or):
        join = operator.and_ if isinstance(expression, sympy.And) else operator.or_
        return functools.reduce(join, (from_sympy(a, symbols) for a in expression.args))
    if isinstance(expression, sympy.Not):
        return ~from_sympy(expression.args[0], symbols)
    if not isinstance(expression, sympy.core.relational.Relational) or expression.rel_op not in RELATIONS:
        raise UsageError(f"{expression} is no inequality between polynomials; build it of >=, <=, >, < and Eq")
    try:
        poly = sympy.Poly(expression.lhs - expression.rhs, *symbols)
    except (sympy.polys.polyerrors.BasePolynomialError, TypeError, ValueError):
        raise UsageError(f"{expression} is not polynomial in {', '.join(map(str, symbols))}") from None
    exponents, coefficients = zip(*poly.terms(), strict=True)
    exact = []
    for c in coefficients:
        if c.is_Rational:
            exact.append(Fraction(int(c.p), int(c.q)))
        elif c.is_Float and c.is_finite:
            value = sympy.Rational(c)  # what the digits of the float say, exactly
            exact.append(Fraction(int(value.p), int(value.q)))
        else:
            raise UsageError(f"the coefficient {c} is no rational number or float; approximate it first")
    return Set([[(Poly.of(np.array(exponents), exact), expression.rel_op)]])


@dataclass(frozen=True)
class TrigonometricSublevel:
    """{|v(x) − E| < δ} for a trigonometric polynomial v, between two semi-algebraic sets: inner ⊂ it ⊂ outer.

    ``error`` bounds |v − its Taylor polynomial| on the cube; ``order`` is the polynomial's degree;
    ``algebraic_degree`` that of the exact description by c_j = cos 2πx_j, s_j = sin 2πx_j: the two inequalities of
    degree max |k|_1, and c_j² + s_j² = 1."""

    inner: Set
    outer: Set
    error: float
    order: int
    algebraic_degree: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, without the polynomials."""
        return {
            "order": self.order, "error": self.error, "degree": self.outer.degree,
            "algebraic_degree": self.algebraic_degree,
        }  # fmt: skip


@read_arguments
def trigonometric_sublevel(
    k: Any, cosines: Any, sines: Any, energy: float, delta: float, budget: float = 1e-9
) -> TrigonometricSublevel:
    """The sublevel set {x ∈ [0, 1)^b : |v(x) − E| < δ}, v(x) = Σ_r C_r cos(2π k_r · x) + S_r sin(2π k_r · x).

    k: whole (r, b). Each term is expanded about the cube's centre, where |2π k · (x − ½)| ≤ π |k|_1, to the order
    that leaves at most ``budget`` in all (coefficients are rounded to rational numbers, which the error includes).
    Raises UsageError when the budget is not below δ, or needs an order over 80."""
    vectors = indices(k, "k")
    cosines, sines = (reals(x, "a coefficient").ravel().tolist() for x in (cosines, sines))
    if vectors.ndim != 2 or not vectors.size or not len(vectors) == len(cosines) == len(sines):
        raise UsageError("k has to be whole numbers (terms, b), with one cosine and one sine coefficient each")
    if not 0 < budget < delta:
        raise UsageError(f"the error budget is {budget} and delta {delta}; expected 0 < budget < delta")
    weights = [abs(c) + abs(s) for c, s in zip(cosines, sines, strict=True)]
    reach = math.pi * max(sum(map(abs, row)) for row in vectors.tolist())
    order = 0
    while sum(weights) * _remainder(reach, order) > budget / 2:
        order += 1
        if order > 80:
            raise UsageError(
                f"|k| is so large that no Taylor polynomial of order 80 is within {budget}; rescale or cut"
            )
    dim = vectors.shape[1]
    pi = Fraction(3) + Fraction(Frequency.named("pi").components[0].fixed(200), 1 << 200)
    total = Poly.constant(dim, -Fraction(float(energy)))
    for row, c, s in zip(vectors.tolist(), cosines, sines, strict=True):
        angle = Poly.linear([Fraction(2 * x) * pi for x in row], -sum(row) * pi)
        # 2π k·x = angle + π Σk: a whole multiple of π turns cosine and sine by a sign.
        sign = -1 if sum(row) % 2 else 1
        total = total + _taylor(angle, order, Fraction(float(c)) * sign, Fraction(float(s)) * sign)
    rounded = Poly(dim, tuple((e, round(a * (1 << 160)) * Fraction(1, 1 << 160)) for e, a in total.terms))
    error = Fraction(sum(weights) * _remainder(reach, order) * 1.001) + Fraction(len(total.terms) + 1, 1 << 150)
    width, e = Fraction(float(delta)), Fraction(error)

    def sublevel(w: Fraction) -> Set:
        return Set([[(rounded - w, "<"), (rounded + w, ">")]])

    algebraic = 2 + dim
    degree = max(2, max((int(np.abs(row).sum()) for row in vectors), default=0))
    return TrigonometricSublevel(sublevel(width - e), sublevel(width + e), float(error), order, algebraic * degree)


def _remainder(reach: float, order: int) -> float:
    return math.exp((order + 1) * math.log(reach) - math.lgamma(order + 2)) if reach else 0.0


def _taylor(angle: Poly, order: int, cosine: Fraction, sine: Fraction) -> Poly:
    total, power = Poly.constant(angle.dim, 0), Poly.constant(angle.dim, 1)
    signs = itertools.cycle([(1, 0), (0, 1), (-1, 0), (0, -1)])
    for n in range(order + 1):
        c, s = next(signs)
        total = total + power * ((cosine * c + sine * s) / math.factorial(n))
        power = power * angle
    return total
