"""A finite piece of an operator: sites, potential, matrices, a rigorous spectral interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any, Literal

import numpy as np
import scipy.sparse

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.matvec import Product, product_of
from tenfold.quasiperiodic.operators.memory import require
from tenfold.quasiperiodic.operators.operators import LongRange
from tenfold.quasiperiodic.spectral.spectrum import Interval, spectral_interval

Boundary = Literal["open", "periodic"]
Norm = Literal["l1", "l2", "linf"]
NORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda n: np.abs(n).sum(-1).astype(np.float64),
    "l2": lambda n: np.sqrt((n.astype(np.float64) ** 2).sum(-1)),
    "linf": lambda n: np.abs(n).max(-1).astype(np.float64),
}


@dataclass(frozen=True)
class Box:
    """The operator on the sites lower + [0, shape), in C order; arrays of states end in N = Π shape.

    ``potential`` is λv at the sites, float64 (N,), or (batch, N) where the orbit has a batch of θ. ``centre`` is the
    site that moments count from and that the default initial state sits on."""

    operator: LongRange
    lower: tuple[int, ...]
    shape: tuple[int, ...]
    boundary: Boundary
    centre: tuple[int, ...]
    potential: np.ndarray

    @property
    def size(self) -> int:
        """N, the number of sites."""
        return int(np.prod(self.shape))

    @cached_property
    def sites(self) -> np.ndarray:
        """int64 (N, d)."""
        axes = [lo + np.arange(n, dtype=np.int64) for lo, n in zip(self.lower, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(self.shape))

    @property
    def is_real(self) -> bool:
        """Whether the matrix is real."""
        hopping = self.operator.hopping
        return not np.iscomplexobj(self._hopping_matrix.data if isinstance(hopping, Kernel) else hopping.coefs)

    def index(self, site: int | Sequence[int]) -> int:
        """The position of a site. Raises UsageError outside the box."""
        n = _site(site, len(self.shape))
        at = [x - lo for x, lo in zip(n, self.lower, strict=True)]
        if self.boundary == "periodic":
            at = [x % size for x, size in zip(at, self.shape, strict=True)]
        if any(not 0 <= x < size for x, size in zip(at, self.shape, strict=True)):
            raise UsageError(f"site {n if len(n) > 1 else n[0]} is outside the box {self.describe()}")
        return int(np.ravel_multi_index(at, self.shape))

    def distance(self, norm: Norm = "linf", origin: int | Sequence[int] | None = None) -> np.ndarray:
        """|n − origin| at every site, float64 (N,); in a ring, of the nearest copy. origin: the centre by default."""
        if norm not in NORMS:
            raise UsageError(f"there is no norm {norm!r}; choose one of {', '.join(NORMS)}")
        away = self.sites - np.array(self.centre if origin is None else _site(origin, len(self.shape)))
        if self.boundary == "periodic":
            half = np.array(self.shape) // 2
            away = (away + half) % np.array(self.shape) - half
        return NORMS[norm](away)

    def edge(self, layers: int) -> np.ndarray:
        """Positions of the sites within ``layers`` of an open box's surface (none in a ring)."""
        if self.boundary == "periodic":
            return np.empty(0, dtype=np.int64)
        away = self.sites - np.array(self.lower)
        near = np.minimum(away, np.array(self.shape) - 1 - away).min(-1)
        return np.flatnonzero(near < layers)

    @cached_property
    def _hopping_matrix(self) -> scipy.sparse.csr_array:
        return hopping_matrix(self)

    def sparse(self) -> scipy.sparse.csr_array:
        """The matrix in CSR format. Raises UsageError for a batch."""
        return (self._hopping_matrix + scipy.sparse.diags_array(self._single())).tocsr()

    def dense(self) -> np.ndarray:
        """The matrix, (N, N) or (batch, N, N)."""
        batch = int(np.prod(self.potential.shape[:-1]))
        require(batch * self.size**2 * (8 if self.is_real else 16), f"a dense matrix of {self.size} sites")
        matrix = np.broadcast_to(
            self._hopping_matrix.toarray(), (*self.potential.shape[:-1], self.size, self.size)
        ).copy()
        diagonal = np.arange(self.size)
        matrix[..., diagonal, diagonal] += self.potential
        return matrix

    def banded(self) -> np.ndarray:
        """The matrix of an open one-dimensional box in LAPACK's band storage (2R + 1, N): row R + i − j, column j."""
        if len(self.shape) != 1 or self.boundary == "periodic":
            raise UsageError(f"band storage is for open one-dimensional boxes, not for {self.describe()}")
        reach, n = min(self.operator.hopping.range, self.size - 1), self.size
        bands = np.zeros((2 * reach + 1, n), dtype=np.float64 if self.is_real else np.complex128)
        coo = self._hopping_matrix.tocoo()
        np.add.at(bands, (reach + coo.row - coo.col, coo.col), coo.data)
        bands[reach] += self._single()
        return bands

    def _single(self) -> np.ndarray:
        if self.potential.ndim != 1:
            raise UsageError("this needs one operator, but theta has a batch; choose one with operator.at(theta)")
        return self.potential

    @cached_property
    def interval(self) -> Interval:
        """An interval that contains the spectrum, rigorously (of every member of a batch)."""
        return spectral_interval(self)

    @cached_property
    def product(self) -> Product:
        """What multiplies states by the hopping; chosen by counted flops."""
        return product_of(self)

    def with_product(self, kind: str) -> "Box":
        """The same box with a chosen product: "stencil", "fft" or "sparse"."""
        chosen = replace(self)
        chosen.__dict__["product"] = product_of(self, kind)
        return chosen

    def matvec(self, states: np.ndarray) -> np.ndarray:
        """H ψ for states (..., N), broadcast against a batch of operators."""
        states = np.asarray(states)
        if states.shape[-1:] != (self.size,):
            raise UsageError(f"states have shape {states.shape}; the box needs (..., {self.size})")
        return self.product.apply(states) + self.potential * states

    def describe(self) -> str:
        """The box in words."""
        sides = " x ".join(f"[{lo}, {lo + n - 1}]" for lo, n in zip(self.lower, self.shape, strict=True))
        return f"{sides} ({self.boundary})"

    def to_dict(self) -> dict[str, Any]:
        """Where the box is, for results."""
        return {
            "operator": self.operator.name,
            "lower": list(self.lower),
            "shape": list(self.shape),
            "boundary": self.boundary,
            "centre": list(self.centre),
            "product": self.product.kind,
            "spectral_interval": [self.interval.low, self.interval.high],
        }


def open_box(operator: LongRange, reach: int | Sequence[int], centre: int | Sequence[int] = 0) -> Box:
    """|n_j − centre_j| ≤ reach_j, open. Raises UsageError for a negative reach or a box larger than memory."""
    d = operator.dim
    reaches, middle = _site(reach, d), _site(centre, d)
    if min(reaches) < 0:
        raise UsageError(f"the box reaches {min(reaches)} sites from its centre; give at least 0")
    lower = tuple(c - r for c, r in zip(middle, reaches, strict=True))
    return _make(operator, lower, tuple(2 * r + 1 for r in reaches), "open", middle)


def periodic_box(
    operator: LongRange, size: int | Sequence[int], lower: int | Sequence[int] = 0, approximant: bool = True
) -> Box:
    """A ring, or torus, of sites lower + [0, size); see ``LongRange.ring``."""
    shape, low = _site(size, operator.dim), _site(lower, operator.dim)
    for n, r in zip(shape, operator.hopping.radius, strict=True):
        if n < 2 * r + 1:
            raise UsageError(f"a ring of {n} sites is shorter than the hopping, which needs at least {2 * r + 1}")
    if approximant and operator.orbit is not None:
        if len(set(shape)) > 1:
            raise UsageError(f"rational approximants need equal sides, not {shape}; or pass approximant=False")
        operator = replace(operator, orbit=operator.orbit.approximant(shape[0]))
    return _make(operator, low, shape, "periodic", low)


def _make(
    operator: LongRange, lower: tuple[int, ...], shape: tuple[int, ...], boundary: Boundary, centre: tuple[int, ...]
) -> Box:
    sites = int(np.prod([float(n) for n in shape]))
    batch = len(operator.orbit.theta) if operator.orbit is not None and operator.orbit.batched else 1
    torus = operator.orbit.torus if operator.orbit is not None else 1
    require(8 * sites * batch * (2 * torus + 2), f"a box of {sites:,} sites")
    if any(abs(lo) + n >= 1 << 63 for lo, n in zip(lower, shape, strict=True)):
        raise UsageError(f"the box {lower} + {shape} leaves the 64-bit integers; sites are below 2^63")
    return Box(operator, lower, shape, boundary, centre, operator.values(lower, shape))


def hopping_matrix(box: Box) -> scipy.sparse.csr_array:
    """The hopping part of a box's matrix, CSR (N, N)."""
    hopping = box.operator.hopping
    offsets = hopping.offsets
    require(box.size * len(offsets) * 28, f"a sparse matrix of {box.size:,} sites and {len(offsets)} neighbours")
    rows, columns, values = [], [], []
    position = np.arange(box.size)
    relative = box.sites - np.array(box.lower)
    for i, m in enumerate(offsets):
        other = relative - m
        if box.boundary == "periodic":
            other, inside = other % np.array(box.shape), np.ones(box.size, dtype=bool)
        else:
            inside = ((other >= 0) & (other < np.array(box.shape))).all(1)
        n, source = position[inside], other[inside]
        if not len(n):
            continue
        if isinstance(hopping, Kernel):
            values.append(hopping.entries(box.sites[n], box.sites[n] - m))
        else:
            values.append(np.full(len(n), hopping.coefs[i]))
        rows.append(n)
        columns.append(np.ravel_multi_index(tuple(source.T), box.shape))
    if not rows:
        return scipy.sparse.csr_array((box.size, box.size))
    data = np.concatenate(values)
    matrix = scipy.sparse.coo_array((data, (np.concatenate(rows), np.concatenate(columns))), shape=(box.size, box.size))
    csr = matrix.tocsr()
    if isinstance(hopping, Kernel):
        _check_self_adjoint(box, csr)
        if np.iscomplexobj(csr.data) and not csr.data.imag.any():
            csr = csr.real.tocsr()
    return csr


def _check_self_adjoint(box: Box, matrix: scipy.sparse.csr_array) -> None:
    difference = (matrix - matrix.conj().T).tocoo()
    if difference.nnz and np.abs(difference.data).max() > 1e-12 * np.abs(matrix.data).max():
        worst = int(np.argmax(np.abs(difference.data)))
        n, m = (tuple(box.sites[i].tolist()) for i in (difference.row[worst], difference.col[worst]))
        raise UsageError(f"the kernel is not self-adjoint: A(n, m) is not the conjugate of A(m, n) at n = {n}, m = {m}")


def _site(value: int | Sequence[int], dim: int) -> tuple[int, ...]:
    given = tuple(int(v) for v in np.atleast_1d(np.asarray(value, dtype=object)))
    if len(given) == 1:
        given *= dim
    if len(given) != dim:
        raise UsageError(f"{value!r} has {len(given)} coordinates; the lattice is Z^{dim}")
    if not all(isfinite(v) for v in given):
        raise UsageError(f"{value!r} is no site")
    return given
