"""One dimension: a semi-algebraic set as ranges of whole phases, exactly, by isolating roots."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tenfold.quasiperiodic.sets.formulas import Formula
from tenfold.quasiperiodic.sets.membership import Membership, sign_of
from tenfold.quasiperiodic.sets.polynomials import Poly
from tenfold.shifts.costs import Watch

_CHEAPER = "a polynomial of lower degree, or fewer of them, are quicker"
Coefficients = list[int]
Ranges = Sequence[tuple[int, int]]  # half-open, of whole phases


@dataclass(frozen=True)
class PhaseRanges:
    """The r in [0, modulus) with r/modulus in the set, as disjoint half-open ranges ``inside``, and the ``critical``
    r = ⌊root · modulus⌋ of its polynomials in [0, 1]."""

    modulus: int
    inside: tuple[tuple[int, int], ...]
    critical: tuple[int, ...]


@lru_cache(maxsize=64)
def phase_ranges(region: Formula, modulus: int) -> PhaseRanges:
    """Reduce a set in dimension 1 to ranges of whole phases modulo ``modulus``; all in whole numbers."""
    watch, found = Watch(f"isolating the roots of {len(region.polynomials)} polynomials", _CHEAPER), set[int]()
    for i, p in enumerate(region.polynomials, 1):
        found.update(g for g in root_floors(p, modulus) if g < modulus)
        watch(i, len(region.polynomials))
    critical = sorted(found)
    cuts = sorted({0, modulus, *critical, *(g + 1 for g in critical)})
    inside: list[tuple[int, int]] = []
    test, watch = Membership(region), Watch(f"deciding between {len(cuts)} roots", _CHEAPER)
    # Between two cuts no polynomial changes sign on whole phases, so that one representative decides.
    for i, (low, high) in enumerate(itertools.pairwise(cuts), 1):
        watch(i, len(cuts))
        if test.exact([low], [modulus]):
            if inside and inside[-1][1] == low:
                inside[-1] = (inside[-1][0], high)
            else:
                inside.append((low, high))
    return PhaseRanges(modulus, tuple(inside), tuple(critical))


def root_floors(poly: Poly, modulus: int) -> list[int]:
    """⌊ρ · modulus⌋ of the real roots ρ in [0, 1] of a polynomial in one variable, each once."""
    p = _square_free(_dense(poly))
    if len(p) < 2:
        return []
    # Substitute x = r / modulus, so that r runs over whole numbers: signs stay as they are.
    chain = [[c * modulus ** (len(q) - 1 - k) for k, c in enumerate(q)] for q in _sturm(p)]
    scaled = chain[0]
    found = [0] if _value(scaled, 0) == 0 else []
    stack = [(0, modulus, _changes(chain, 0), _changes(chain, modulus))]
    watch, roots = Watch(f"isolating roots of degree {len(p) - 1}", _CHEAPER), stack[0][2] - stack[0][3]
    while stack:
        watch(len(found), roots)
        low, high, before, after = stack.pop()
        count = before - after  # roots in (low, high]
        if count == 0:
            continue
        if high - low == 1:
            found.append(high if _value(scaled, high) == 0 else low)
            if count > 1 and found[-1] == high:
                found.append(low)
            continue
        if count == 1:
            found.append(_bisected(scaled, low, high))
            continue
        middle = (low + high) // 2
        between = _changes(chain, middle)
        stack += [(low, middle, before, between), (middle, high, between, after)]
    return sorted(set(found))


def _bisected(p: Coefficients, low: int, high: int) -> int:
    # One simple root in (low, high]: its sign just above ``low`` differs from that at and beyond the root.
    end = sign_of(_value(p, high))
    if end == 0:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        here = sign_of(_value(p, middle))
        if here == 0:
            return middle
        low, high = (low, middle) if here == end else (middle, high)
    return low


def _dense(poly: Poly) -> Coefficients:
    dense = [0] * (poly.degree + 1)
    for e, c in poly.integral[1]:
        dense[e[0]] = c
    return _trimmed(dense)


def _trimmed(p: Coefficients) -> Coefficients:
    while p and p[-1] == 0:
        p = p[:-1]
    common = math.gcd(*p) if p else 1
    return [c // common for c in p] if common > 1 else p


def _value(p: Coefficients, x: int) -> int:
    total = 0
    for c in reversed(p):
        total = total * x + c
    return total


def _divided(a: Coefficients, b: Coefficients) -> tuple[Coefficients, Coefficients]:
    """Positive multiples of the quotient and the remainder of a by b, primitive."""
    rest, quotient, lead = list(a), list[int](), b[-1]
    while len(rest) >= len(b):
        top = rest.pop()
        common = math.gcd(top, lead) if lead > 0 else -math.gcd(top, lead)
        # ``times`` is positive, and times · top = factor · lead.
        factor, times, shift = top // common, lead // common, len(rest) - len(b) + 1
        quotient = [times * c for c in quotient] + [factor]
        rest = [times * c for c in rest[:shift]] + [
            times * c - factor * x for c, x in zip(rest[shift:], b, strict=False)
        ]
    return _trimmed(quotient[::-1]), _trimmed(rest)


def _square_free(p: Coefficients) -> Coefficients:
    if len(p) < 3:
        return p
    a, b = p, _trimmed([k * c for k, c in enumerate(p)][1:])
    watch = Watch(f"dividing polynomials of degree {len(p) - 1}", _CHEAPER)
    while b:
        a, b = b, _divided(a, b)[1]
        watch((1 - len(b) / len(p)) ** 2 / 2)  # its chain comes after
    return _divided(p, a)[0] if len(a) > 1 else p


def _sturm(p: Coefficients) -> list[Coefficients]:
    chain = [p, _trimmed([k * c for k, c in enumerate(p)][1:])]
    watch = Watch(f"dividing polynomials of degree {len(p) - 1}", _CHEAPER)
    while len(chain[-1]) > 1:
        watch((len(chain) / len(p)) ** 2)
        rest = _divided(chain[-2], chain[-1])[1]
        if not rest:
            break
        chain.append([-c for c in rest])
    return chain


def _changes(chain: list[Coefficients], x: int) -> int:
    signs = [s for s in (sign_of(_value(p, x)) for p in chain) if s]
    return sum(a != b for a, b in itertools.pairwise(signs))


def widened(points: Sequence[int], reach: int, modulus: int) -> list[tuple[int, int]]:
    """Disjoint ranges [p − reach, p + reach] around whole phases, wrapped."""
    pieces: list[tuple[int, int]] = []
    for p in points:
        low = (p - reach) % modulus
        high = low + 2 * reach + 1
        if high - low >= modulus:
            return [(0, modulus)]
        pieces += [(low, min(high, modulus)), (0, max(0, high - modulus))]
    return merged(pieces)


def merged(ranges: Ranges) -> list[tuple[int, int]]:
    """Overlapping and touching ranges as disjoint ones, in order."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(r for r in ranges if r[0] < r[1]):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined
