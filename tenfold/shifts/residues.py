"""Numbers of the circle as whole numbers over a modulus: 2^bits, or the denominator of fractions."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped

from tenfold.errors import UsageError
from tenfold.shifts.frequency import Frequency, Number


def offsets(theta: Any, dim: int, phases: bool) -> tuple[Number, ...]:
    """θ as ``dim`` numbers: one for all, or one each; whole numbers are 64-bit phases where ``phases``."""
    if theta is None:
        theta = 0
    if phases:
        given = [theta] * dim if isinstance(theta, (int, np.integer)) else list(theta)
        numbers = Frequency.from_phases(map(int, given)).components if given else ()
    elif isinstance(theta, str) or np.ndim(np.asarray(theta, dtype=object)) == 0:
        numbers = Frequency.of(theta).components
        numbers = numbers * dim if len(numbers) == 1 else numbers
    else:
        numbers = tuple(Number.of(t) for t in theta)
    if len(numbers) != dim:
        raise UsageError(f"{dim} frequencies need as many offsets theta, not {len(numbers)}")
    return numbers


def modulus_of(alpha: Number, theta: Number, bits: int) -> int:
    """The number that α and θ are whole multiples of the inverse of, or 2^bits where there is none."""
    if alpha.kind != "rational":
        return 1 << bits
    denominator = alpha.value.denominator  # type: ignore[union-attr]
    both = math.lcm(denominator, theta.value.denominator) if theta.value is not None else denominator << bits
    return 1 << bits if (1 << bits) % both == 0 else both


def scaled(number: Number, modulus: int) -> int:
    """floor(x · modulus)."""
    if number.value is not None:
        return number.value.numerator * modulus // number.value.denominator
    bits = modulus.bit_length() - 1
    if modulus == 1 << bits:
        return number.fixed(bits)
    return number.fixed(bits + 64) * modulus >> bits + 64


def is_exact(number: Number, modulus: int) -> bool:
    """Whether x is a whole multiple of 1/modulus."""
    return number.value is not None and modulus % number.value.denominator == 0


def float_ratios(values: Shaped[np.ndarray, "*n"], modulus: int) -> Float64[np.ndarray, " n"]:
    """Whole numbers over a modulus, rounded once."""
    return np.array([float(Fraction(int(v), modulus)) for v in values.ravel()])
