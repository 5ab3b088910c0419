"""A finite piece of Z^d with the hopping among its sites, cut open at its edges or closed to a ring."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Int64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import whole
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel
from tenfold.shifts.costs import require

Site = Any  # a whole number, or one for each axis
NORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda n: np.abs(n).sum(-1).astype(np.float64),
    "l2": lambda n: np.sqrt((n.astype(np.float64) ** 2).sum(-1)),
    "linf": lambda n: np.abs(n).max(-1).astype(np.float64),
}


def site_of(value: Site, dim: int) -> tuple[int, ...]:
    """A site of Z^d; one number stands for the same along every axis. Raises UsageError for another length, and for
    numbers that are not whole."""
    given = tuple(whole(v, "a site or a length") for v in np.atleast_1d(np.asarray(value, dtype=object)).ravel())
    if len(given) == 1:
        given *= dim
    if len(given) != dim:
        raise UsageError(f"{value!r} has {len(given)} coordinates; the lattice is Z^{dim}")
    return given


@dataclass(frozen=True)
class Window:
    """The hopping among the sites lower + [0, shape), in C order; arrays of states end in N = Π shape.

    ``boundary`` is "open" or "periodic"."""

    hopping: Hopping | Kernel
    lower: tuple[int, ...]
    shape: tuple[int, ...]
    boundary: str

    @property
    def size(self) -> int:
        """N, the number of sites."""
        return prod(self.shape)

    @cached_property
    def sites(self) -> Int64[np.ndarray, "N d"]:
        """All sites."""
        axes = [lo + np.arange(n, dtype=np.int64) for lo, n in zip(self.lower, self.shape, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(self.shape))

    @property
    def is_real(self) -> bool:
        """Whether the matrix is real."""
        hopping = self.hopping
        return not np.iscomplexobj(self.hopping_matrix.data if isinstance(hopping, Kernel) else hopping.coefs)

    def index(self, site: Site) -> int:
        """The position of a site. Raises UsageError outside the box."""
        n = site_of(site, len(self.shape))
        at = [x - lo for x, lo in zip(n, self.lower, strict=True)]
        if self.boundary == "periodic":
            at = [x % size for x, size in zip(at, self.shape, strict=True)]
        if any(not 0 <= x < size for x, size in zip(at, self.shape, strict=True)):
            raise UsageError(f"site {n if len(n) > 1 else n[0]} is outside the box {self.describe()}")
        return int(np.ravel_multi_index(at, self.shape))

    def edge(self, layers: int | None = None) -> Int64[np.ndarray, " edge"]:
        """Positions of the sites within ``layers``, max(R, 8) by default, of an open box's surface (none in a ring)."""
        layers = max(self.hopping.range, 8) if layers is None else layers
        if self.boundary == "periodic":
            return np.empty(0, dtype=np.int64)
        away = self.sites - np.array(self.lower)
        near = np.minimum(away, np.array(self.shape) - 1 - away).min(-1)
        return np.flatnonzero(near < layers)

    @cached_property
    def hopping_matrix(self) -> scipy.sparse.csr_array:
        """The hopping's matrix, CSR (N, N). Raises UsageError for a kernel that is not self-adjoint."""
        hopping, offsets = self.hopping, self.hopping.offsets
        require(self.size * len(offsets) * 28, f"a sparse matrix of {self.size:,} sites and {len(offsets)} neighbours")
        rows, columns, values = [], [], []
        relative, sides = self.sites - np.array(self.lower), np.array(self.shape)
        for i, m in enumerate(offsets):
            other = (relative - m) % sides if self.boundary == "periodic" else relative - m
            inside = np.flatnonzero(((other >= 0) & (other < sides)).all(1))
            values.append(hopping.along(i, self.sites[inside]))
            rows.append(inside)
            columns.append(np.ravel_multi_index(tuple(other[inside].T), self.shape))
        where = (np.concatenate(rows), np.concatenate(columns))
        csr = scipy.sparse.coo_array((np.concatenate(values), where), shape=(self.size, self.size)).tocsr()
        if isinstance(hopping, Kernel):
            self._check_self_adjoint(csr)
            if np.iscomplexobj(csr.data) and not csr.data.imag.any():
                csr = csr.real.tocsr()
        return csr

    def _check_self_adjoint(self, matrix: scipy.sparse.csr_array) -> None:
        difference = (matrix - matrix.conj().T).tocoo()
        if difference.nnz and np.abs(difference.data).max() > 1e-12 * np.abs(matrix.data).max():
            worst = int(np.argmax(np.abs(difference.data)))
            n, m = (tuple(self.sites[i].tolist()) for i in (difference.row[worst], difference.col[worst]))
            raise UsageError(
                f"the kernel is not self-adjoint: A(n, m) is not the conjugate of A(m, n) at n = {n}, m = {m}"
            )

    def describe(self) -> str:
        """The box in words."""
        sides = " x ".join(f"[{lo}, {lo + n - 1}]" for lo, n in zip(self.lower, self.shape, strict=True))
        return f"{sides} ({self.boundary})"
