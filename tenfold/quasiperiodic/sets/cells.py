"""Cells of a grid against a semi-algebraic set: inside, outside, or not decided, rigorously.

A polynomial's range on a cell is enclosed by natural interval extension, and where that does not decide, by its
Bernstein coefficients on the cell, whose excess shrinks with the square of the side.
"""

import math
from collections.abc import Iterator
from math import comb
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tenfold.quasiperiodic.sets.formulas import Formula
from tenfold.quasiperiodic.sets.membership import UNIT, three_valued
from tenfold.quasiperiodic.sets.polynomials import Poly

BLOCK = 1 << 14
# Lower and upper ends of a polynomial's range on each cell.
Ends = tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]


class Cells(NamedTuple):
    """Boxes of grid cells [low, high) in units of the side 1/K, int64 (m, b); all inside, or all undecided units."""

    low: Int64[np.ndarray, "m b"]
    high: Int64[np.ndarray, "m b"]
    inside: bool


class Classifier:
    """Interval test of one set."""

    def __init__(self, region: Formula) -> None:
        self._clauses = region.indexed
        self._ranges = [_Range(p.balanced) for p in region.polynomials]

    def decide(
        self, low: Float64[np.ndarray, "m b"], high: Float64[np.ndarray, "m b"]
    ) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
        """(inside, outside) of boxes [low, high] in [0, 1] (ends may be off by 2^−53)."""
        bounds = [r.natural(low, high) for r in self._ranges]
        inside, outside = self._combine(bounds)
        open_ = np.flatnonzero(~(inside | outside))
        if len(open_):
            finer = []
            for r, (bottom, top) in zip(self._ranges, bounds, strict=True):
                a, b = bottom[open_], top[open_]
                # A polynomial whose sign is settled needs no second look.
                unsettled = np.flatnonzero((a <= 0) & (b >= 0))
                if len(unsettled):
                    rows = open_[unsettled]
                    a[unsettled], b[unsettled] = r.bernstein(low[rows], high[rows])
                finer.append((a, b))
            inside[open_], outside[open_] = self._combine(finer)
        return inside, outside

    def _combine(self, bounds: list[Ends]) -> tuple[Bool[np.ndarray, " m"], Bool[np.ndarray, " m"]]:
        inside, possible = three_valued(self._clauses, [low > 0 for low, _ in bounds], [high < 0 for _, high in bounds])
        return inside, ~possible


class _Range:
    def __init__(self, poly: Poly) -> None:
        self.poly = poly
        self.terms = [(e, float(c)) for e, c in poly.terms]
        depth = poly.degree + len(poly.terms) + 2
        # Monomials, Bernstein weights and partial sums stay within [0, 1] · Σ|c|, so that rounding does too; the
        # ends of a cell are off by one unit at most.
        self.slack = 8.0 * depth * (poly.dim + 1) * poly.size * UNIT + 2.1 * float(sum(poly.slopes)) * UNIT
        # Of high degrees or many variables natural extension alone is quicker, and as right.
        sizes = [d + 1 for d in poly.degrees]
        self.weights = [_blossom(d) for d in poly.degrees] if max(sizes) <= 33 and math.prod(sizes) <= 4096 else None

    def natural(self, low: Float64[np.ndarray, "m b"], high: Float64[np.ndarray, "m b"]) -> Ends:
        bottom, top = np.full(len(low), -self.slack), np.full(len(low), self.slack)
        for e, c in self.terms:
            small, large = np.ones(len(low)), np.ones(len(low))
            for j, k in enumerate(e):
                if k:
                    small, large = small * low[:, j] ** k, large * high[:, j] ** k
            bottom += c * (small if c > 0 else large)
            top += c * (large if c > 0 else small)
        return bottom, top

    def bernstein(self, low: Float64[np.ndarray, "m b"], high: Float64[np.ndarray, "m b"]) -> Ends:
        if self.weights is None:
            return self.natural(low, high)
        # Cells come last, so that every product runs along them.
        values = self.poly.tensor.reshape(1, -1, 1)
        for j, weight in enumerate(self.weights):
            size = len(weight)
            below, above = _powers(low[:, j], size), _powers(high[:, j], size)
            rest = values.reshape(len(values), size, values.shape[1] // size, values.shape[2])
            total = np.zeros((len(rest), size, rest.shape[2], len(low)))
            for i in range(size):
                # Row k: the k-th Bernstein coefficient of x_j^i on each cell.
                column = weight[i, : i + 1].T @ (above[: i + 1] * below[i::-1])
                total += rest[:, i, None] * column[:, None]
            values = total.reshape(-1, *total.shape[2:])
        flat = values.reshape(-1, len(low))
        return flat.min(axis=0) - self.slack, flat.max(axis=0) + self.slack


def _powers(x: Float64[np.ndarray, " m"], count: int) -> Float64[np.ndarray, "{count} m"]:
    found = np.ones((count, len(x)))
    for k in range(1, count):
        np.multiply(found[k - 1], x, out=found[k])
    return found


def _blossom(degree: int) -> Float64[np.ndarray, "{degree}+1 {degree}+1 {degree}+1"]:
    """w[i, t, k]: x^i on [l, h] has the Bernstein coefficients Σ_t w[i, t, k] h^t l^{i−t}, all weights ≥ 0."""
    size = degree + 1
    w = np.zeros((size, size, size))
    for i in range(size):
        for t in range(i + 1):
            for k in range(size):
                if t <= k and i - t <= degree - k:
                    w[i, t, k] = comb(k, t) * comb(degree - k, i - t) / comb(degree, i)
    return w


def meeting(region: Formula, K: int, classifier: Classifier | None = None) -> Iterator[Cells]:
    """The grid cells ∏ [i_j/K, (i_j + 1)/K) that meet the set or may: boxes of cells wholly inside, and single
    undecided cells. Cells left out do not meet it."""
    test = classifier or Classifier(region)
    b = region.dim
    stack = [(np.zeros((1, b), np.int64), np.full((1, b), K, np.int64))]
    while stack:
        low, high = stack.pop()
        inside, outside = test.decide(low / K, high / K)
        if inside.any():
            yield Cells(low[inside], high[inside], True)
        left = ~(inside | outside)
        low, high = low[left], high[left]
        unit = (high - low).max(axis=1, initial=0) <= 1
        if unit.any():
            yield Cells(low[unit], high[unit], False)
        low, high = halved(low[~unit], high[~unit])
        stack += [(low[i : i + BLOCK], high[i : i + BLOCK]) for i in range(0, len(low), BLOCK)]


def halved(
    low: Int64[np.ndarray, "m b"], high: Int64[np.ndarray, "m b"]
) -> tuple[Int64[np.ndarray, "n b"], Int64[np.ndarray, "n b"]]:
    """Every box split in two along every axis longer than one cell."""
    for j in range(low.shape[1]):
        middle = (low[:, j] + high[:, j]) // 2
        split = high[:, j] - low[:, j] > 1
        second_low, second_high = low[split].copy(), high[split]
        second_low[:, j] = middle[split]
        high = high.copy()
        high[split, j] = middle[split]
        low, high = np.concatenate([low, second_low]), np.concatenate([high, second_high])
    return low, high
