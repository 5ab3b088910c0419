"""Short vectors of lattices of whole numbers: LLL reduction and the enumeration of all vectors in a box.

A lattice is given by rows, lists of Python integers, so that every length is exact.
"""

from collections.abc import Iterator, Sequence
from math import lgamma

import numpy as np
from jaxtyping import Float64

from tenfold.shifts.costs import Watch

Rows = list[list[int]]
_NODES = 1 << 12  # between two looks at the clock


def reduce(rows: Sequence[Sequence[int]], bound: tuple[int, int] = (3, 4)) -> tuple[Rows, Rows]:
    """An LLL-reduced basis B and the transform T with B = T · rows, in whole numbers.

    ``rows`` are linearly independent; ``bound`` is the Lovász factor as a fraction. (Lenstra, Lenstra and Lovász 1982;
    the integral form keeps Gram determinants d_i and λ_ij = d_j μ_ij: Cohen, A Course in Computational Algebraic
    Number Theory, algorithm 2.6.7.)"""
    basis = _Basis([list(map(int, row)) for row in rows])
    d, lam = basis.d, basis.lam
    basis.settle(0)
    k, furthest = 1, 0
    while k < len(rows):
        if k > furthest:
            furthest = k
            basis.settle(k)
        basis.subtract(k, k - 1)
        if bound[1] * (d[k - 1] * d[k + 1] + lam[k][k - 1] ** 2) < bound[0] * d[k] ** 2:
            basis.swap(k, furthest)
            k = max(1, k - 1)
        else:
            for j in range(k - 2, -1, -1):
                basis.subtract(k, j)
            k += 1
    return basis.b, basis.t


class _Basis:
    """Rows b under reduction, their transform t, Gram determinants d and λ."""

    def __init__(self, b: Rows) -> None:
        size = len(b)
        self.b = b
        self.t = [[int(i == j) for j in range(size)] for i in range(size)]
        self.d = [1] + [0] * size
        self.lam = [[0] * size for _ in range(size)]

    def settle(self, k: int) -> None:
        """Row k of λ, and d_{k+1}."""
        b, d, lam = self.b, self.d, self.lam
        for j in range(k + 1):
            u = sum(x * y for x, y in zip(b[k], b[j], strict=True))
            for i in range(j):
                u = (d[i + 1] * u - lam[k][i] * lam[j][i]) // d[i]
            if j < k:
                lam[k][j] = u
            else:
                d[k + 1] = u
        if d[k + 1] == 0:
            raise ValueError("the rows are linearly dependent")

    def subtract(self, k: int, j: int) -> None:
        """Row k less the multiple of row j that makes |μ_kj| ≤ ½."""
        b, t, d, lam = self.b, self.t, self.d, self.lam
        if 2 * abs(lam[k][j]) <= d[j + 1]:
            return
        q = (2 * lam[k][j] + d[j + 1]) // (2 * d[j + 1])
        b[k] = [x - q * y for x, y in zip(b[k], b[j], strict=True)]
        t[k] = [x - q * y for x, y in zip(t[k], t[j], strict=True)]
        lam[k][j] -= q * d[j + 1]
        for i in range(j):
            lam[k][i] -= q * lam[j][i]

    def swap(self, k: int, furthest: int) -> None:
        """Rows k and k − 1 exchanged."""
        b, t, d, lam = self.b, self.t, self.d, self.lam
        b[k], b[k - 1] = b[k - 1], b[k]
        t[k], t[k - 1] = t[k - 1], t[k]
        for j in range(k - 1):
            lam[k][j], lam[k - 1][j] = lam[k - 1][j], lam[k][j]
        low = lam[k][k - 1]
        new = (d[k - 1] * d[k + 1] + low * low) // d[k]
        for i in range(k + 1, furthest + 1):
            old = lam[i][k]
            lam[i][k] = (d[k + 1] * lam[i][k - 1] - low * old) // d[k]
            lam[i][k - 1] = (new * old + low * lam[i][k]) // d[k + 1]
        d[k] = new


class Search:
    """A search through boxes of a lattice one after the other: says what it will take, after a moment.

    ``boxes`` is how many there are about, all of the size of those that were looked through."""

    def __init__(self, what: str, cheaper: str, boxes: int = 1) -> None:
        self._watch, self._boxes, self._done, self._seen = Watch(what, cheaper), boxes, 0, 0

    def look(self, seen: int, nodes: float) -> None:
        """``seen`` of about ``nodes`` nodes of the present box are visited."""
        whole = max(float(seen), nodes)
        left = max(self._boxes - self._done - 1, 0) * max(whole, self._seen / max(self._done, 1))
        self._watch(self._seen + seen, self._seen + whole + left)

    def finish(self, seen: int) -> None:
        """A box is done, in ``seen`` nodes."""
        self._done, self._seen = self._done + 1, self._seen + seen
        self.look(0, self._seen / self._done)


def in_box(
    rows: Sequence[Sequence[int]], half: Sequence[int], search: Search | None = None
) -> Iterator[tuple[list[int], list[int]]]:
    """All non-zero lattice vectors v with |v_j| ≤ half_j, one of each pair ±v, with their coefficients in ``rows``.

    The box, scaled to a cube, lies in the ball of squared radius dim; the ball's lattice vectors are enumerated
    (Fincke and Pohst 1985) in float64 with a margin, and each is tested in whole numbers: the list is complete and
    exact. ``half`` is positive. ``search`` is what the box belongs to, by default a search of its own."""
    size = len(rows)
    search = search or Search(
        f"listing the short vectors of a lattice in {size} dimensions",
        "a smaller limit or fewer coordinates are quicker, and as exact",
    )
    # Weights that make the box a cube of half side S, to 2^-60 of its size at most.
    scale = 1 << max(half).bit_length() + 64
    weights = [scale // h for h in half]
    scaled = [[x * w for x, w in zip(row, weights, strict=True)] for row in rows]
    reduced, transform = reduce(scaled)
    # A row far longer than the box has the coefficient 0 in it, at any length: what float64 cannot hold is shortened.
    units = [max(scale, max(map(abs, row)) >> 300) for row in reduced]
    basis = np.array([[x / unit for x in row] for row, unit in zip(reduced, units, strict=True)])
    # Gram–Schmidt norms and coefficients.
    _q, r = np.linalg.qr(basis.T)
    diagonal = np.abs(np.diag(r))
    mu = r / np.diag(r)[:, None]
    for found in _in_ball(mu, diagonal, len(half) * (1 + 1e-6), search):
        first = next((c for c in reversed(found) if c), 0)
        if first <= 0:
            continue
        coefficients = [sum(c * row[j] for c, row in zip(found, transform, strict=True)) for j in range(size)]
        vector = [sum(c * row[j] for c, row in zip(coefficients, rows, strict=True)) for j in range(len(half))]
        if all(abs(v) <= h for v, h in zip(vector, half, strict=True)):
            yield vector, coefficients


def _nodes(diagonal: Float64[np.ndarray, " n"], squared: float) -> float:
    """About how many nodes the enumeration visits: volumes of balls over those of the projected lattices."""
    levels = np.arange(1, len(diagonal) + 1)
    log_ball = levels / 2 * np.log(np.pi * squared) - np.array([lgamma(k / 2 + 1) for k in levels])
    return float(np.exp(np.minimum(log_ball - np.cumsum(np.log(diagonal[::-1])), 600.0)).sum())


def _in_ball(
    mu: Float64[np.ndarray, "n n"], diagonal: Float64[np.ndarray, " n"], squared: float, search: Search
) -> Iterator[list[int]]:
    """Coefficients of the lattice vectors of squared length up to ``squared``, depth first."""
    size = len(diagonal)
    stack = [(size - 1, [0] * size, squared)]
    nodes, seen = _nodes(diagonal, squared), 0
    while stack:
        level, chosen, left = stack.pop()
        seen += 1
        if seen % _NODES == 0:
            search.look(seen, nodes)
        if level < 0:
            yield chosen
            continue
        centre = -sum(mu[level, j] * chosen[j] for j in range(level + 1, size))
        reach = (left**0.5) / diagonal[level] + 1e-6
        # Pushed from the last on, so that they come in order.
        for c in range(int(np.floor(centre + reach)), int(np.ceil(centre - reach)) - 1, -1):
            rest = left - ((c - centre) * diagonal[level]) ** 2
            if rest >= -1e-6 * squared:
                stack.append((level - 1, [*chosen[:level], c, *chosen[level + 1 :]], max(rest, 0.0)))
    search.finish(seen)
