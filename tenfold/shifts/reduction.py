"""Short vectors of lattices of whole numbers: LLL reduction and the enumeration of all vectors in a box.

A lattice is given by rows, lists of Python integers, so that every length is exact.
"""

from collections.abc import Iterator, Sequence

import numpy as np

Rows = list[list[int]]


def reduce(rows: Sequence[Sequence[int]], bound: tuple[int, int] = (3, 4)) -> tuple[Rows, Rows]:
    """An LLL-reduced basis B and the transform T with B = T · rows, in whole numbers.

    ``rows`` are linearly independent; ``bound`` is the Lovász factor as a fraction. (Lenstra, Lenstra and Lovász 1982;
    the integral form keeps Gram determinants d_i and λ_ij = d_j μ_ij: Cohen, A Course in Computational Algebraic
    Number Theory, algorithm 2.6.7.)"""
    b = [list(map(int, row)) for row in rows]
    size = len(b)
    t = [[int(i == j) for j in range(size)] for i in range(size)]
    d = [1] + [0] * size
    lam = [[0] * size for _ in range(size)]

    def settle(k: int) -> None:
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

    def subtract(k: int, j: int) -> None:
        if 2 * abs(lam[k][j]) <= d[j + 1]:
            return
        q = (2 * lam[k][j] + d[j + 1]) // (2 * d[j + 1])
        b[k] = [x - q * y for x, y in zip(b[k], b[j], strict=True)]
        t[k] = [x - q * y for x, y in zip(t[k], t[j], strict=True)]
        lam[k][j] -= q * d[j + 1]
        for i in range(j):
            lam[k][i] -= q * lam[j][i]

    def swap(k: int, furthest: int) -> None:
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

    settle(0)
    k, furthest = 1, 0
    while k < size:
        if k > furthest:
            furthest = k
            settle(k)
        subtract(k, k - 1)
        if bound[1] * (d[k - 1] * d[k + 1] + lam[k][k - 1] ** 2) < bound[0] * d[k] ** 2:
            swap(k, furthest)
            k = max(1, k - 1)
        else:
            for j in range(k - 2, -1, -1):
                subtract(k, j)
            k += 1
    return b, t


def in_box(rows: Sequence[Sequence[int]], half: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """All non-zero lattice vectors v with |v_j| ≤ half_j, one of each pair ±v, with their coefficients in ``rows``.

    The box, scaled to a cube, lies in the ball of squared radius dim; the ball's lattice vectors are enumerated
    (Fincke and Pohst 1985) in float64 with a margin, and each is tested in whole numbers: the list is complete and
    exact. ``half`` is positive."""
    size = len(rows)
    common = 1
    for h in half:
        common = max(common, h)
    # Weights that make the box a cube of half side S, to 2^-60 of its size at most.
    scale = 1 << common.bit_length() + 64
    weights = [scale // h for h in half]
    scaled = [[x * w for x, w in zip(row, weights, strict=True)] for row in rows]
    reduced, transform = reduce(scaled)
    basis = np.array([[x / scale for x in row] for row in reduced])
    # Gram–Schmidt norms and coefficients.
    _q, r = np.linalg.qr(basis.T)
    diagonal = np.abs(np.diag(r))
    mu = r / np.diag(r)[:, None]
    squared = (len(half)) * (1 + 1e-6)
    zero = [0] * size

    def descend(level: int, chosen: list[int], left: float) -> Iterator[list[int]]:
        if level < 0:
            yield chosen
            return
        centre = -sum(mu[level, j] * chosen[j] for j in range(level + 1, size))
        reach = (left**0.5) / diagonal[level] + 1e-6
        for c in range(int(np.ceil(centre - reach)), int(np.floor(centre + reach)) + 1):
            rest = left - ((c - centre) * diagonal[level]) ** 2
            if rest >= -1e-6 * squared:
                following = chosen.copy()
                following[level] = c
                yield from descend(level - 1, following, max(rest, 0.0))

    for found in descend(size - 1, zero, squared):
        first = next((c for c in reversed(found) if c), 0)
        if first <= 0:
            continue
        coefficients = [sum(c * row[j] for c, row in zip(found, transform, strict=True)) for j in range(size)]
        vector = [sum(c * row[j] for c, row in zip(coefficients, rows, strict=True)) for j in range(len(half))]
        if all(abs(v) <= h for v, h in zip(vector, half, strict=True)):
            yield vector, coefficients
