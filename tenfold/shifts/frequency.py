"""Frequencies: real numbers modulo 1, exact or to as many bits as a sequence asks for."""

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_all_arguments
from tenfold.settings.values import read, shown
from tenfold.shifts import constants
from tenfold.shifts.arrays import exact_fraction, listed

NAMES = ("golden", "silver", "bronze", "cubic", "plastic", "rd:D", "richtmyer:D", "sqrtK", "cbrtK", "e", "pi",
         "liouville:A,B,…")  # fmt: skip


@dataclass(frozen=True)
class Number:
    """One number modulo 1.

    Attributes:
        text: how it was given.
        value: the exact value in [0, 1) of a rational number, else None.
        rule: ``rule(bits)`` = floor(x · 2^bits) of an irrational number, else None.
        kind: "rational" (fractions), "float" (a float's exact dyadic value), "decimal" (a finite decimal that
            stands for a real number) or "real" (an irrational one, computed to any precision).
        known_bits: how many bits of a "float" or "decimal" are information; None for all of them.
    """

    text: str
    value: Fraction | None = None
    rule: Callable[[int], int] | None = field(default=None, compare=False, repr=False)
    kind: str = "real"
    known_bits: int | None = None

    @classmethod
    def of(cls, given: Any) -> "Number":
        """A number from a float, int, Fraction, string ("3/7", "0.25…", "golden", "sqrt2", "pi"), mpmath or sympy
        number.

        Raises UsageError for anything else, NaN and infinities included."""
        if isinstance(given, Number):
            return given
        given = given[()] if isinstance(given, np.ndarray) and given.ndim == 0 else given
        if isinstance(given, (bool, np.bool_)):
            raise UsageError(f"{given!r} is no frequency; give a number, a fraction or a name")
        if isinstance(given, (int, np.integer, Fraction)):
            exact = given if isinstance(given, Fraction) else Fraction(int(given))
            return cls(shown(given), exact % 1, kind="rational")
        if isinstance(given, (float, np.floating)):
            known = np.finfo(type(given)).nmant + 1
            return cls(str(given), exact_fraction(given, "a frequency") % 1, kind="float", known_bits=known)
        if isinstance(given, str | Decimal):
            return _from_text(str(given))
        if hasattr(given, "_mpf_"):  # mpmath: sign, mantissa, exponent, bits; exact
            sign, mantissa, exponent, bits = given._mpf_
            if not bits and exponent:
                raise UsageError(f"a frequency is {given}; expected a finite number")
            value = (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
            return cls(str(given), value % 1, kind="decimal", known_bits=max(53, _precision(given)))
        if getattr(given, "is_Rational", False):
            return cls(str(given), Fraction(int(given.p), int(given.q)) % 1, kind="rational")
        if hasattr(given, "evalf") and getattr(given, "is_real", False):
            return cls(str(given), rule=partial(_sympy_fixed, given))
        raise UsageError(
            f"{shown(given)!r} is no frequency; give a float, a fraction, a decimal string or a named constant"
        )

    def fixed(self, bits: int) -> int:
        """floor(x · 2^bits), in [0, 2^bits)."""
        if self.value is not None:
            return (self.value.numerator << bits) // self.value.denominator
        assert self.rule is not None
        return self.rule(bits)

    def rounded(self, bits: int) -> int:
        """x · 2^bits to the nearest whole number, modulo 2^bits: so that 3/10 and 7/10 still add up to 1."""
        if self.value is not None:
            return round(self.value * (1 << bits)) % (1 << bits)
        return (self.fixed(bits + 1) + 1 >> 1) % (1 << bits)

    def over(self, modulus: int) -> int:
        """floor(x · modulus)."""
        if self.value is not None:
            return self.value.numerator * modulus // self.value.denominator
        bits = modulus.bit_length() + 63
        return self.fixed(bits) * modulus >> bits

    def times(self, factor: int) -> "Number":
        """factor · x mod 1."""
        if self.value is not None:
            return replace(self, text=f"{factor}·{self.text}", value=self.value * factor % 1)
        guard = 64 + factor.bit_length()
        return Number(
            f"{factor}·{self.text}", rule=lambda bits: self.fixed(bits + guard) * factor % (1 << bits + guard) >> guard
        )

    def plus(self, other: "Number") -> "Number":
        """x + y mod 1."""
        text = f"{self.text} + {other.text}"
        if self.value is not None and other.value is not None:
            return Number(text, (self.value + other.value) % 1, kind="rational")
        return Number(text, rule=lambda bits: (self.fixed(bits + 64) + other.fixed(bits + 64)) % (1 << bits + 64) >> 64)

    def exact_over(self, modulus: int) -> bool:
        """Whether x is a whole multiple of 1/modulus."""
        return self.value is not None and modulus % self.value.denominator == 0


@read_all_arguments
@dataclass(frozen=True)
class Frequency:
    """A vector α in T^b = [0, 1)^b of exact numbers.

    >>> Frequency.named("cubic").dim, Frequency.parse("sqrt2, 3/7").dim
    (2, 2)
    >>> [round(float(x), 6) for x in Frequency.rd(2).floats()]
    [0.754878, 0.56984]
    """

    components: tuple[Number, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if not self.components:
            raise UsageError("a frequency has no components; give at least one number")

    @property
    def dim(self) -> int:
        """b, the number of components."""
        return len(self.components)

    def fixed(self, bits: int) -> tuple[int, ...]:
        """floor(α_j · 2^bits)."""
        return tuple(c.fixed(bits) for c in self.components)

    def fractions(self, bits: int = 256) -> tuple[Fraction, ...]:
        """Exact values, irrational ones rounded down to a multiple of 2^−bits."""
        return tuple(Fraction(c.fixed(bits), 1 << bits) if c.value is None else c.value for c in self.components)

    def floats(self) -> Float64[np.ndarray, " b"]:
        """Rounded down to 53 bits."""
        return np.array([c.fixed(53) * 2.0**-53 for c in self.components])

    def __str__(self) -> str:
        return self.name or ", ".join(c.text for c in self.components)

    @classmethod
    def of(cls, given: Any) -> "Frequency":
        """A frequency from a Frequency, a name or comma-separated text, one number, or a sequence of numbers."""
        if isinstance(given, Frequency):
            return given
        if isinstance(given, str):
            return cls.parse(given)
        several = isinstance(given, Sequence) and not isinstance(given, bytes)
        if several or (isinstance(given, np.ndarray) and given.ndim == 1):
            parts = ([Number.of(x)] if not isinstance(x, str | Frequency) else cls.of(x).components for x in given)
            return cls(tuple(itertools.chain.from_iterable(parts)))
        return cls((Number.of(given),))

    @classmethod
    def named(cls, name: str) -> "Frequency":
        """A frequency by name: golden, silver, bronze, cubic (2^{1/3}, 2^{2/3}), plastic (R_2), rd:D, richtmyer:D
        (square roots of the first D primes), sqrtK, cbrtK, e, pi, liouville:A,B,… (partial quotients, then ones).

        Raises UsageError, with the nearest name, for others."""
        text = name.strip().lower()
        key, _, rest = text.partition(":")
        if key in _ONE:
            return cls((Number(key, rule=_ONE[key]),), name=text)
        if (found := re.fullmatch(r"(sqrt|cbrt)\(?(\d+)\)?", text)) is not None:
            return cls((_root(int(found[2]), 2 if found[1] == "sqrt" else 3),), name=text)
        if key == "cubic":
            return cls.roots(2, 3)
        if key == "plastic":
            return cls.rd(2)
        if key in ("rd", "richtmyer") and rest.isdigit():
            return cls.rd(int(rest)) if key == "rd" else cls.richtmyer(int(rest))
        if key == "liouville" and re.fullmatch(r"\d+(\s*,\s*\d+)*", rest):
            return cls.liouville([int(a) for a in rest.split(",")])
        raise UsageError(f"there is no frequency {shown(name)!r}{suggest(key, NAMES)}")

    @classmethod
    def parse(cls, text: str) -> "Frequency":
        """A name, or numbers separated by commas: "golden", "sqrt2,sqrt3", "3/7,5/11", "0.2599,0.5874"."""
        if text.strip().lower().startswith("liouville:"):
            return cls.named(text)
        parts = [part for part in text.split(",") if part.strip()]
        if not parts:
            raise UsageError(f"the frequency {text!r} is empty; give numbers, fractions or one of {', '.join(NAMES)}")
        components: list[Number] = []
        for part in parts:
            name = part.strip()
            numeric = re.fullmatch(r"[-+]?[\d.].*", name)
            components += (Number.of(name),) if numeric else cls.named(name).components
        return cls(tuple(components), name=text.strip())

    @classmethod
    def from_decimals(cls, values: Any) -> "Frequency":
        """Decimal strings that stand for real numbers; as many digits as are given count."""
        return cls(tuple(Number.of(str(v)) for v in listed(values, "the decimals")))

    @classmethod
    def from_fractions(cls, values: Any) -> "Frequency":
        """Exact rational numbers (Fraction, int or "p/q"): the orbit lives on whole numbers modulo q."""
        return cls(tuple(Number.of(exact_fraction(v, "a fraction")) for v in listed(values, "the fractions")))

    @classmethod
    def rd(cls, dim: int) -> "Frequency":
        """(g⁻¹, …, g⁻ᵈ) for the root g > 1 of g^{d+1} = g + 1: golden at d = 1, plastic at d = 2."""
        _check_dim(dim)
        return cls(
            tuple(Number(f"rd{dim}^-{k}", rule=partial(constants.golden_power, dim, k)) for k in range(1, dim + 1)),
            name=f"rd:{dim}",
        )

    @classmethod
    def richtmyer(cls, dim: int) -> "Frequency":
        """Square roots of the first ``dim`` primes, modulo 1."""
        _check_dim(dim)
        numbers = (n for n in itertools.count(2) if all(n % p for p in range(2, math.isqrt(n) + 1)))
        primes = itertools.islice(numbers, dim)
        return cls(tuple(_root(p, 2) for p in primes), name=f"richtmyer:{dim}")

    @classmethod
    def roots(cls, k: int, degree: int) -> "Frequency":
        """(k^{1/m}, …, k^{(m−1)/m}) mod 1 for m = ``degree``; (2, 3) is "cubic", badly approximable when the
        powers span a field of that degree."""
        if degree < 2 or k < 2:
            raise UsageError(f"roots of {k} of degree {degree}: expected k ≥ 2 and a degree of at least 2")
        if constants.integer_root(k, degree) ** degree == k:
            raise UsageError(f"{k} is a {degree}th power, so its root is a whole number; choose another k")
        return cls(
            tuple(Number(f"{k}^({p}/{degree})", rule=partial(constants.root, k, p, degree)) for p in range(1, degree)),
            name="cubic" if (k, degree) == (2, 3) else f"{k}^(1/{degree})",
        )

    @classmethod
    def liouville(cls, quotients: Any) -> "Frequency":
        """[0; a₁, …, a_m, 1, 1, …]: huge quotients make a number that is close to rational ones."""
        whole = [read(int, a, "a partial quotient") for a in listed(quotients, "the quotients")]
        if not whole or min(whole) < 1:
            raise UsageError(f"partial quotients are {shown(whole)}; expected whole numbers of at least 1")
        return cls(
            (Number(f"[0; {', '.join(map(str, whole))}, 1, …]", rule=partial(_continued, tuple(whole))),),
            name="liouville:" + ",".join(map(str, whole)),
        )

    @classmethod
    def from_phases(cls, phases: Any, bits: int = 64) -> "Frequency":
        """Whole numbers A, modulo 2^bits, that stand for A / 2^bits, exactly."""
        whole = [read(int, a, "a phase") for a in listed(phases, "the phases")]
        return cls(tuple(Number(f"{a}/2^{bits}", Fraction(a % (1 << bits), 1 << bits), kind="phase") for a in whole))


# Characters of a number, below Python's own limit of 4300 digits; components of a named frequency.
_LONGEST, _MOST = 4000, 1000
_ONE: dict[str, Callable[[int], int]] = {
    "golden": partial(constants.metallic, 1),
    "silver": partial(constants.metallic, 2),
    "bronze": partial(constants.metallic, 3),
    "e": constants.euler,
    "pi": constants.pi,
}


def _check_dim(dim: int) -> None:
    if not 1 <= dim <= _MOST:
        raise UsageError(f"dim is {dim}; a sequence has at least one dimension, and a named frequency up to {_MOST}")


def offsets(theta: Any, dim: int, phases: bool = False) -> tuple[Number, ...]:
    """θ as ``dim`` numbers: one for all, or one each; whole numbers are 64-bit phases where ``phases``."""
    theta = 0 if theta is None else theta
    if phases:
        given: list[Any] = [theta] * dim if isinstance(theta, (int, np.integer)) else list(theta)
        numbers = Frequency.from_phases(given).components if given else ()
    else:
        numbers = Frequency.of(theta).components
        numbers = numbers * dim if len(numbers) == 1 and np.ndim(np.asarray(theta, dtype=object)) == 0 else numbers
    if len(numbers) != dim:
        raise UsageError(f"{dim} frequencies need as many offsets theta, not {len(numbers)}")
    return numbers


def _root(k: int, degree: int) -> Number:
    name = "sqrt" if degree == 2 else "cbrt"
    whole = constants.integer_root(k, degree) if k else 0
    if whole**degree == k:
        power = "square" if degree == 2 else "cube"
        raise UsageError(f"{name}{k} is the whole number {whole}; a frequency needs a k that is no {power}")
    return Number(f"{name}{k}", rule=partial(constants.root, k, 1, degree))


def _from_text(text: str) -> Number:
    stripped = text.strip()
    if len(stripped) > _LONGEST:
        raise UsageError(f"a frequency of {len(stripped)} characters is not read; give at most {_LONGEST}")
    if re.fullmatch(r"[-+]?\d+\s*(/\s*\d+)?", stripped):
        try:
            return Number(stripped, Fraction(stripped.replace(" ", "")) % 1, kind="rational")
        except ZeroDivisionError:
            raise UsageError(f"the fraction {stripped!r} has the denominator 0; give another") from None
    if re.match(r"[-+]?[\d.]", stripped):
        try:
            number = Decimal(stripped)
        except InvalidOperation:
            raise UsageError(f"{stripped!r} is no number; expected a decimal such as 0.25, or a fraction p/q") from None
        if abs(number.adjusted()) > _LONGEST or abs(int(number.as_tuple().exponent)) > _LONGEST:
            raise UsageError(f"{stripped!r} has over {_LONGEST} digits; expected a decimal such as 0.25")
        digits = max(0, -int(number.as_tuple().exponent))
        known = max(1, int(digits * math.log2(10)))
        return Number(stripped, Fraction(number) % 1, kind="decimal", known_bits=known)
    found = Frequency.named(stripped)
    if found.dim != 1:
        raise UsageError(f"{stripped!r} has {found.dim} components where one number was expected")
    return found.components[0]


def _precision(number: Any) -> int:
    context = getattr(number, "context", None)
    return int(context.prec if context is not None else getattr(number, "_prec", 53))


@lru_cache(maxsize=64)
def _continued(quotients: tuple[int, ...], bits: int) -> int:
    return constants.continued(quotients, bits)


@lru_cache(maxsize=64)
def _sympy_fixed(number: Any, bits: int) -> int:
    import sympy

    digits = int((bits + 64) * math.log10(2)) + 30
    return int(sympy.floor(sympy.N(number, digits) * 2**bits)) % (1 << bits)
