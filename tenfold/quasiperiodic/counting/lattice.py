"""Hits of a thin set in O(cells) instead of O(N): the lattice of (n, n α mod 1), cell by cell.

The points (n/N, K x_n) of an orbit are those of a shifted lattice. Of a grid of side 1/K about N^{−1/b}, only the
cells that meet the set are visited, about B N^{1−1/b} + N Leb S of them, and in each the few lattice points of a
box are listed from an LLL-reduced basis.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.cells import Cells
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.reduction import reduce

MAX_CANDIDATES = 20_000
_ELEMENTS = 1 << 19


@dataclass(frozen=True)
class OrbitLattice:
    """The reduced lattice of an orbit over ``n`` = 0 … ``points`` − 1 and a grid of side 1/K.

    ``basis`` (b + 1, b + 1) has rows (n/points, K (n α − p)), ``first`` the n of each row modulo 2^64, ``offsets`` the
    whole vectors to visit from a cell's base."""

    K: int
    points: int
    basis: Float64[np.ndarray, "r r"]
    inverse: Float64[np.ndarray, "r r"]
    first: UInt64[np.ndarray, " r"]
    reach: Float64[np.ndarray, " r"]
    offsets: Float64[np.ndarray, "visits r"]
    start: Float64[np.ndarray, " b"]
    widening: float

    @classmethod
    def of(cls, sequence: Kronecker, start: int, points: int, K: int, error: float = 0.0) -> "OrbitLattice":
        """Reduce. Raises UsageError where a cell would have too many candidates: a frequency so near to a rational
        one that its orbit of this length is far from spread."""
        b = sequence.dim
        scale = points * math.lcm(*sequence.moduli)
        rows = [
            [scale // points] + [a * K * (scale // m) for a, m in zip(sequence.steps, sequence.moduli, strict=True)]
        ]
        rows += [[0] + [K * scale if i == j else 0 for i in range(b)] for j in range(b)]
        reduced, transform = reduce(rows)
        basis = np.array([[x / scale for x in row] for row in reduced])
        inverse = np.linalg.inv(basis)
        # Cells are widened by the error of a phase.
        reach = (0.5 + error * K) * np.abs(inverse).sum(axis=0)
        # An interval of length 2r holds ⌊2r⌋ + 1 whole numbers at most.
        margin = _rounding(float(np.abs(inverse).sum(axis=0).max()) * (K + 2), inverse)
        counts = [int(2 * (r + margin)) + 1 for r in reach]
        if math.prod(counts) > MAX_CANDIDATES:
            raise UsageError(
                f"the orbit of ({sequence.frequency}) over {points} points is too uneven for method 'lattice' "
                f"({math.prod(counts)} candidates a cell); use method 'enumerate', or a shorter range"
            )
        offsets = np.array(list(itertools.product(*(range(c) for c in counts))), dtype=np.float64)
        theta = [x / m for x, m in zip(sequence.exact_at(start), sequence.moduli, strict=True)]
        first = np.array([row[0] & 0xFFFFFFFFFFFFFFFF for row in transform], dtype=np.uint64)
        return cls(K, points, basis, inverse, first, reach, offsets, np.array(theta) * K, error * K)

    def candidates(self, cells: Int64[np.ndarray, "m b"]) -> tuple[Int64[np.ndarray, " found"], float]:
        """Indices 0 ≤ n < points of a superset of the orbit's points in the cells [i, i + 1), and how far beyond the
        edges, in cells, it reaches."""
        y = np.empty((len(cells), cells.shape[1] + 1))
        y[:, 0] = 0.5 * (self.points - 1) / self.points
        y[:, 1:] = cells + 0.5 - self.start
        u = y @ self.inverse
        # Rounding of u, and of lattice points as long as K: a margin that only adds candidates.
        size = float(np.abs(u).max(initial=0.0))
        base = np.ceil(u - self.reach - _rounding(size, self.inverse))
        slack = 0.5 + self.widening + _rounding(size, self.basis)
        rest = base @ self.basis - y
        step = self.offsets @ self.basis
        # Coordinate by coordinate, so that most candidates are dropped early.
        near = np.abs(rest[:, None, 0] + step[None, :, 0]) <= slack
        rows, columns = np.nonzero(near)
        for j in range(1, y.shape[1]):
            keep = np.abs(rest[rows, j] + step[columns, j]) <= slack
            rows, columns = rows[keep], columns[keep]
        k = (base[rows] + self.offsets[columns]).astype(np.int64)
        # Modulo 2^64 the sum is exact, and n itself is below 2^63.
        with np.errstate(over="ignore"):
            n = (k.astype(np.uint64) * self.first).sum(axis=1, dtype=np.uint64).view(np.int64)
        return n[(n >= 0) & (n < self.points)], slack - 0.5


def _rounding(size: float, matrix: Float64[np.ndarray, "n n"]) -> float:
    # Of products of a matrix with vectors of numbers up to ``size``.
    return 64 * 2.0**-53 * (size + 4.0) * float(np.abs(matrix).sum() + 1)


def unit_cells(part: Cells, block: int) -> Iterator[Int64[np.ndarray, "m b"]]:
    """The single cells of boxes of cells, at most ``block`` at a time."""
    if not part.inside:
        for begin in range(0, len(part.low), block):
            yield part.low[begin : begin + block]
        return
    for low, high in zip(part.low, part.high, strict=True):
        shape = [int(h - l) for l, h in zip(low, high, strict=True)]
        total = math.prod(shape)
        for begin in range(0, total, block):
            index = np.unravel_index(np.arange(begin, min(begin + block, total)), shape)
            yield low + np.stack(index, axis=1)


def lattice_hits(
    sequence: Kronecker,
    start: int,
    points: int,
    K: int,
    parts: Iterable[Cells],
    decide: Callable[[np.ndarray], np.ndarray],
    error: float,
) -> Iterator[tuple[Int64[np.ndarray, " hits"], int]]:
    """Hits n in start … start + points − 1, each once, in blocks, with the number of cells visited for each;
    ``decide`` keeps those of an array of indices that are hits, exactly. ``error`` is how far real points may lie from
    the stored ones, whose cells are visited.

    A point is found in its own cell, and near an edge in its neighbours too: only those are kept, to be told once."""
    lattice = OrbitLattice.of(sequence, start, points, K, error)
    block = max(64, _ELEMENTS // len(lattice.offsets))
    shared = np.empty(0, np.int64)
    for cells in (cells for part in parts for cells in unit_cells(part, block)):
        candidates, slack = lattice.candidates(cells)
        n = decide(np.unique(candidates) + start) if len(candidates) else candidates
        if len(n):
            from_edge = sequence.at(n) * K % 1.0
            edge = (np.minimum(from_edge, 1.0 - from_edge) <= slack + 2.0**-50 * K).any(axis=1)
            shared, n = np.unique(np.concatenate([shared, n[edge]])) if edge.any() else shared, n[~edge]
        yield n, len(cells)
    yield shared, 0
