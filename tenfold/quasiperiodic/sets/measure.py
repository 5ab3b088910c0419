"""Lebesgue measure of semi-algebraic sets: exact for boxes, half-spaces and slabs, else between rigorous bounds."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.cells import BLOCK, Classifier, halved
from tenfold.quasiperiodic.sets.formulas import Formula
from tenfold.quasiperiodic.sets.polynomials import Poly
from tenfold.quasiperiodic.sets.roots import phase_ranges
from tenfold.shifts.arrays import above, exact_fraction, listed
from tenfold.shifts.costs import Watch

MAX_CELLS = 2_000_000


@dataclass(frozen=True)
class Measure:
    """``low`` ≤ Leb S ≤ ``high``; ``exact`` the value as a fraction where it is known."""

    low: float
    high: float
    exact: Fraction | None
    cells: int
    method: str

    @property
    def value(self) -> float:
        """The middle, or the exact value."""
        return float(self.exact) if self.exact is not None else (self.low + self.high) / 2

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "value": self.value, "low": self.low, "high": self.high, "cells": self.cells, "method": self.method,
            "exact": None if self.exact is None else str(self.exact),
        }  # fmt: skip


def measure(region: Formula, tol: float = 1e-4) -> Measure:
    """Leb S to within ``tol``, or as near as two million cells reach (read ``low`` and ``high``).

    One clause that is a box, a half-space or a slab is done exactly, dimension 1 to 2^−192 by isolating roots, all
    else by subdivision: cells inside count, cells on the boundary are the uncertainty."""
    if not tol > 0:
        raise UsageError(f"tol is {tol}; expected a positive number")
    exact = _exact(region)
    if exact is not None:
        return Measure(*_around(exact, exact), exact, 0, "exact")
    if region.dim == 1:
        modulus = 1 << 192
        ranges = phase_ranges(region, modulus)
        total = sum(high - low for low, high in ranges.inside)
        spread = 2 * (len(ranges.critical) + 1)
        low, high = Fraction(max(0, total - spread), modulus), Fraction(min(modulus, total + spread), modulus)
        return Measure(*_around(low, high), None, len(ranges.inside), "roots")
    return _subdivided(region, tol)


def _subdivided(region: Formula, tol: float) -> Measure:
    test = Classifier(region)
    low = np.zeros((1, region.dim), np.int64)
    level, filled, seen = 0, Fraction(0), 1
    watch = Watch(f"measuring a set to {tol:g}", "a larger tol is quicker, and the two ends further apart")
    while True:
        side = 1 << level
        # The boundary's share halves from level to level, until it is ``tol``; all levels before add half as many.
        ratio = max(len(low) / (side**region.dim * tol), 1.0)
        most = 1.5 * min(MAX_CELLS, len(low) * ratio ** (region.dim - 1))
        left = []
        for begin in range(0, len(low), BLOCK):
            part = low[begin : begin + BLOCK]
            inside, outside = test.decide(part / side, (part + 1) / side)
            filled += Fraction(int(inside.sum()), side**region.dim)
            left.append(part[~(inside | outside)])
            watch(seen - len(low) + begin + len(part), most)
        low = np.concatenate(left)
        open_ = Fraction(len(low), side**region.dim)
        if open_ <= tol or not len(low) or len(low) << region.dim > MAX_CELLS:
            return Measure(*_around(filled, filled + open_), None, seen, "subdivision")
        low, _ = halved(low * 2, low * 2 + 2)
        level, seen = level + 1, seen + len(low)


def _around(low: Fraction, high: Fraction) -> tuple[float, float]:
    """Floats not above ``low`` and not below ``high``."""
    return -above(-low), above(high)


def _exact(region: Formula) -> Fraction | None:
    """The volume of one clause of linear inequalities that bound a single direction, or each one coordinate."""
    if len(region.clauses) != 1 or any(p.degree != 1 or s == "==" for p, s in region.clauses[0]):
        return None
    groups: dict[tuple[Fraction, ...], list[tuple[Fraction, Fraction, str]]] = {}
    for poly, relation in region.clauses[0]:
        normal, constant = _linear(poly)
        lead = next(a for a in normal if a)
        groups.setdefault(tuple(a / lead for a in normal), []).append((lead, constant, relation))
    if len(groups) > 1 and any(sum(1 for a in direction if a) > 1 for direction in groups):
        return None
    volume = Fraction(1)
    for direction, bounds in groups.items():
        bottom, top = Fraction(-(10**9)) * sum(map(abs, direction)), Fraction(10**9) * sum(map(abs, direction))
        for lead, constant, relation in bounds:
            end = -constant / lead
            below = (relation in ("<", "<=")) == (lead > 0)
            bottom, top = (bottom, min(top, end)) if below else (max(bottom, end), top)
        if top <= bottom:
            return Fraction(0)
        # In a product of one-coordinate groups each factor is the length of an interval.
        volume *= halfspace_volume(direction, top) - halfspace_volume(direction, bottom)
    return volume


def halfspace_volume(normal: Any, bound: Any) -> Fraction:
    """vol {x ∈ [0, 1]^b : k · x ≤ c} = Σ_{v ∈ {0,1}^d} (−1)^{|v|} (c − k·v)_+^d / (d! ∏ k_j), exactly, over the d
    coordinates with k_j ≠ 0.

    >>> halfspace_volume([1, 2], "13/10")
    Fraction(2, 5)
    """
    k = [x for x in (exact_fraction(a, "an entry") for a in listed(normal, "the normal")) if x]
    c = exact_fraction(bound, "the bound")
    d = len(k)
    if d > 20:
        raise UsageError(f"the normal has {d} entries besides 0; the sum over 2^{d} corners is taken up to 20")
    if not d:
        return Fraction(int(c >= 0))
    total = Fraction(0)
    for vertex in itertools.product((0, 1), repeat=d):
        rest = c - sum(a for a, v in zip(k, vertex, strict=True) if v)
        if rest > 0:
            total += (-1) ** sum(vertex) * rest**d
    return total / (math.factorial(d) * math.prod(k))


def _linear(poly: Poly) -> tuple[tuple[Fraction, ...], Fraction]:
    constant = poly.exact([0] * poly.dim)
    units = ([int(i == j) for i in range(poly.dim)] for j in range(poly.dim))
    return tuple(poly.exact(unit) - constant for unit in units), constant
