"""Polynomials in several variables with exact rational coefficients."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_all_arguments, read_arguments
from tenfold.settings.values import read
from tenfold.shifts.arrays import exact_fraction, indices, listed, reals

Exponents = tuple[int, ...]
MOST_VARIABLES, MOST_TERMS, MOST_DEGREE = 64, 20_000, 256


@read_all_arguments
@dataclass(frozen=True)
class Poly:
    """Σ_i c_i x_1^{e_i1} … x_b^{e_ib}, coefficients as exact fractions (a float stands for its exact value).

    ``terms`` pairs exponents with non-zero coefficients, sorted; build one with ``Poly.of``, from variables
    (``variables(b)``) by +, −, ·, **, or from text.

    >>> x, y = variables(2)
    >>> p = y - x**2 - Fraction(1, 50)
    >>> p.degree, p(np.array([[0.5, 0.5]])).tolist()
    (2, [0.22999999999999998])
    """

    dim: int
    terms: tuple[tuple[Exponents, Fraction], ...]

    @classmethod
    def of(cls, exponents: Any, coefficients: Any) -> "Poly":
        """A polynomial from exponents (m, b) and m coefficients (int, float, Fraction, or text such as "1/50").

        Raises UsageError for other shapes, negative exponents, NaN and infinities."""
        table = indices(exponents, "exponents")
        if table.ndim != 2 or table.shape[1] < 1:
            raise UsageError(f"exponents have shape {table.shape}; expected whole numbers (terms, b)")
        values = [exact_fraction(c, "a coefficient") for c in listed(coefficients, "the coefficients")]
        if len(values) != len(table):
            raise UsageError(f"{len(table)} monomials have {len(values)} coefficients; give one each")
        if table.size and table.min() < 0:
            raise UsageError(f"an exponent is {table.min()}; expected at least 0")
        gathered: dict[Exponents, Fraction] = {}
        for row, c in zip(table.tolist(), values, strict=True):
            gathered[tuple(row)] = gathered.get(tuple(row), Fraction(0)) + c
        return cls._from(table.shape[1], gathered)

    @classmethod
    def _from(cls, dim: int, terms: Mapping[Exponents, Fraction]) -> "Poly":
        if not 1 <= dim <= MOST_VARIABLES:
            raise UsageError(f"a polynomial has {dim} variables; expected 1 to {MOST_VARIABLES}")
        if len(terms) > MOST_TERMS or (degree := max(map(sum, terms), default=0)) > MOST_DEGREE:
            what = f"{len(terms)} terms" if len(terms) > MOST_TERMS else f"degree {degree}"
            raise UsageError(f"a polynomial has {what}; at most {MOST_TERMS} terms and degree {MOST_DEGREE} are taken")
        return cls(dim, tuple(sorted((e, c) for e, c in terms.items() if c)))

    @classmethod
    def constant(cls, dim: int, value: Any) -> "Poly":
        """The constant polynomial."""
        return cls._from(dim, {(0,) * dim: exact_fraction(value, "a coefficient")})

    @classmethod
    def linear(cls, coefficients: Any, constant: Any = 0) -> "Poly":
        """a · x + c."""
        exact = [exact_fraction(c, "a coefficient") for c in listed(coefficients, "the coefficients")]
        dim = len(exact)
        units = [tuple(int(i == j) for i in range(dim)) for j in range(dim)]
        return cls._from(dim, dict(zip(units, exact, strict=True))) + constant

    @property
    def degree(self) -> int:
        """Total degree; 0 for constants."""
        return max((sum(e) for e, _ in self.terms), default=0)

    @cached_property
    def degrees(self) -> Exponents:
        """The largest exponent of each variable."""
        return tuple(max((e[j] for e, _ in self.terms), default=0) for j in range(self.dim))

    @cached_property
    def balanced(self) -> "Poly":
        """The polynomial over a power of two, so that Σ |c_i| lies in [1, 2): the same sign everywhere, and no
        coefficient that float64 cannot hold next to the others. (0 stays 0.)"""
        total = sum((abs(c) for _, c in self.terms), Fraction(0))
        if not total:
            return self
        power = total.numerator.bit_length() - total.denominator.bit_length()
        unit = Fraction(2) ** power
        unit = unit if total >= unit else unit / 2
        return Poly(self.dim, tuple((e, c / unit) for e, c in self.terms))

    @cached_property
    def size(self) -> float:
        """Σ |c_i|, rounded up: no value on [0, 1]^b is larger."""
        return math.nextafter(float(sum((abs(c) for _, c in self.terms), Fraction(0))), math.inf)

    @cached_property
    def slopes(self) -> tuple[Fraction, ...]:
        """Σ_i |c_i| e_ij for each variable j: no partial derivative on [0, 1]^b is larger."""
        return tuple(sum((abs(c) * e[j] for e, c in self.terms), Fraction(0)) for j in range(self.dim))

    @cached_property
    def integral(self) -> tuple[int, tuple[tuple[Exponents, int], ...]]:
        """A common denominator and whole numerators."""
        common = math.lcm(*(c.denominator for _, c in self.terms)) if self.terms else 1
        return common, tuple((e, int(c * common)) for e, c in self.terms)

    @cached_property
    def tensor(self) -> Float64[np.ndarray, "..."]:
        """float64 coefficients, one axis a variable, of shape degrees + 1."""
        table = np.zeros([d + 1 for d in self.degrees])
        for e, c in self.terms:
            table[e] = float(c)
        return table

    def scaled_value(self, numerators: Sequence[int], moduli: Sequence[int]) -> int:
        """A positive multiple of the value at x_j = numerators_j / moduli_j, in whole numbers: its sign is exact."""
        total = 0
        for e, c in self.integral[1]:
            term = c
            for r, m, power, most in zip(numerators, moduli, e, self.degrees, strict=True):
                term *= r**power * m ** (most - power)
            total += term
        return total

    def scale(self, moduli: Sequence[int]) -> int:
        """The multiple in ``scaled_value``."""
        return math.prod(m**d for m, d in zip(moduli, self.degrees, strict=True)) * self.integral[0]

    def exact(self, point: Iterable[Any]) -> Fraction:
        """The value at a point of rational numbers."""
        x = [exact_fraction(v, "a coordinate") for v in point]
        return sum((c * math.prod(v**k for v, k in zip(x, e, strict=True)) for e, c in self.terms), Fraction(0))

    def __call__(self, x: Any) -> Float64[np.ndarray, "*n"]:
        """Values at points (…, b)."""
        x = reals(x, "points")
        if x.shape[-1:] != (self.dim,):
            raise UsageError(f"points have shape {x.shape}, but the polynomial {self.dim} variables")
        values = (float(c) * np.prod([x[..., j] ** k for j, k in enumerate(e)], axis=0) for e, c in self.terms)
        return sum(values, np.zeros(x.shape[:-1]))

    # --- arithmetic --------------------------------------------------------------------------------------

    def _lift(self, other: Any) -> "Poly":
        if isinstance(other, Poly):
            if other.dim != self.dim:
                raise UsageError(f"polynomials in {self.dim} and {other.dim} variables cannot be combined")
            return other
        return Poly.constant(self.dim, other)

    def __add__(self, other: Any) -> "Poly":
        terms = dict(self.terms)
        for e, c in self._lift(other).terms:
            terms[e] = terms.get(e, Fraction(0)) + c
        return Poly._from(self.dim, terms)

    def __neg__(self) -> "Poly":
        return Poly(self.dim, tuple((e, -c) for e, c in self.terms))

    def __sub__(self, other: Any) -> "Poly":
        return self + -self._lift(other)

    def __mul__(self, other: Any) -> "Poly":
        factor, terms = self._lift(other), dict[Exponents, Fraction]()
        if len(self.terms) * len(factor.terms) > 10 * MOST_TERMS:
            raise UsageError(f"a product has over {10 * MOST_TERMS} terms before like ones are joined; split the set")
        for e, c in self.terms:
            for f, d in factor.terms:
                key = tuple(i + j for i, j in zip(e, f, strict=True))
                terms[key] = terms.get(key, Fraction(0)) + c * d
        return Poly._from(self.dim, terms)

    def __pow__(self, exponent: int) -> "Poly":
        exponent = read(int, exponent, "a power")
        if not 0 <= exponent <= MOST_DEGREE:
            raise UsageError(f"a power is {exponent}; expected a whole number from 0 to {MOST_DEGREE}")
        result = Poly.constant(self.dim, 1)
        for _ in range(exponent):
            result = result * self
        return result

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> "Poly":
        return -self + other

    def __truediv__(self, other: Any) -> "Poly":
        by = self._lift(other)
        if by.degree:
            raise UsageError(f"a polynomial is divided by {by}; only numbers can divide it")
        divisor = by.exact([0] * self.dim)
        if not divisor:
            raise UsageError("a polynomial is divided by 0")
        return Poly(self.dim, tuple((e, c / divisor) for e, c in self.terms))

    def __str__(self) -> str:
        names = "xyz" if self.dim <= 3 else None
        parts = []
        for e, c in reversed(self.terms):
            factors = [(names[j] if names else f"x{j + 1}") + (f"^{k}" if k > 1 else "") for j, k in enumerate(e) if k]
            number = [] if abs(c) == 1 and factors else [str(abs(c))]
            parts.append(("- " if c < 0 else "+ ") + "·".join(number + factors))
        text = " ".join(parts) or "0"
        return text.removeprefix("+ ")

    def to_dict(self) -> list[list[Any]]:
        """[[coefficient as text, exponents], …]."""
        return [[str(c), list(e)] for e, c in self.terms]


@read_arguments
def variables(dim: int) -> tuple[Poly, ...]:
    """The coordinates x_1, …, x_b as polynomials."""
    if not 1 <= dim <= MOST_VARIABLES:
        raise UsageError(f"dim is {dim}; expected 1 to {MOST_VARIABLES}")
    return tuple(Poly.linear([int(i == j) for i in range(dim)]) for j in range(dim))
