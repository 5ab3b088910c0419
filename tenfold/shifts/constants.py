"""Named irrational numbers to any number of bits, in whole-number arithmetic.

Every function returns floor(x · 2^bits) for the fractional part x of its number, 0 ≤ x < 1. Sixty-four guard bits
are carried; the floor would be wrong only if those were all equal, which none of these constants shows.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt

_GUARD = 64


@lru_cache(maxsize=64)
def root(k: int, power: int, degree: int, bits: int) -> int:
    """The fractional part of k^(power/degree) (exact floor)."""
    return integer_root(k**power << degree * bits, degree) % (1 << bits)


def integer_root(value: int, degree: int) -> int:
    """floor(value^(1/degree)) by Newton's iteration from above.

    >>> integer_root(26, 3), integer_root(27, 3)
    (2, 3)
    """
    if degree == 2:
        return isqrt(value)
    x = 1 << -(-value.bit_length() // degree)
    while True:
        y = ((degree - 1) * x + value // x ** (degree - 1)) // degree
        if y >= x:
            return x
        x = y


@lru_cache(maxsize=64)
def metallic(k: int, bits: int) -> int:
    """(√(k² + 4) − k)/2 = [0; k, k, …]: the golden, silver and bronze ratios for k = 1, 2, 3."""
    return (isqrt(k * k + 4 << 2 * bits) - (k << bits)) // 2


@lru_cache(maxsize=64)
def euler(bits: int) -> int:
    """The fractional part of e = Σ 1/k!."""
    one = 1 << bits + _GUARD
    total, term, k = 0, one, 0
    while term:
        total += term
        k += 1
        term //= k
    return (total % one) >> _GUARD


@lru_cache(maxsize=64)
def pi(bits: int) -> int:
    """The fractional part of π = 16 arctan(1/5) − 4 arctan(1/239) (Machin)."""
    one = 1 << bits + _GUARD
    return ((16 * _arctan_inverse(5, one) - 4 * _arctan_inverse(239, one)) % one) >> _GUARD


def _arctan_inverse(k: int, one: int) -> int:
    total, power, divisor, sign = 0, one // k, 1, 1
    while power:
        total += sign * (power // divisor)
        power //= k * k
        divisor += 2
        sign = -sign
    return total


@lru_cache(maxsize=256)
def golden_power(dim: int, k: int, bits: int) -> int:
    """g^{−k} for the root g > 1 of g^{dim+1} = g + 1 (Roberts' R_d numbers)."""
    work = bits + _GUARD
    one = 1 << work
    # y = 1/g solves y^{d+1} + y^d = 1; Newton doubles the digits of a double-precision start.
    start = 1.0  # right of the root of a convex function: Newton comes down to it
    for _ in range(60):
        start -= (start ** (dim + 1) + start**dim - 1) / ((dim + 1) * start**dim + dim * start ** (dim - 1))
    y = int(start * 2**53) << work - 53
    for _ in range(work.bit_length()):
        below = _power(y, dim - 1, work)
        value = (below * y >> work) + _power(y, dim + 1, work) - one
        slope = (dim + 1) * _power(y, dim, work) + dim * below
        y -= (value << work) // slope
    return (_power(y, k, work) % one) >> _GUARD


def _power(y: int, exponent: int, bits: int) -> int:
    """y^exponent in units of 2^−bits."""
    result = 1 << bits
    for _ in range(exponent):
        result = result * y >> bits
    return result


def continued(quotients: Sequence[int], bits: int) -> int:
    """[0; a₁, …, a_m, 1, 1, 1, …]: the given partial quotients, then the golden ratio's."""
    p, p_before, q, q_before = 0, 1, 1, 0
    for a in quotients:
        p, p_before, q, q_before = a * p + p_before, p, a * q + q_before, q
    # With every further quotient 1 the tail is (1 + √5)/2; q² bounds how many bits the division can lose.
    work = bits + _GUARD + 2 * q.bit_length()
    tail = ((1 << work) + isqrt(5 << 2 * work)) // 2
    return ((p * tail + (p_before << work)) << bits) // (q * tail + (q_before << work)) % (1 << bits)
