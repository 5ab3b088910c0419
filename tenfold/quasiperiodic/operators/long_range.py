"""Long-range quasi-periodic operators on Z^d: (H u)_n = Σ_m a_{n−m} u_m + λ v(x_n) u_n, x_n on a torus; and the
finite pieces of them that are computed with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float64, Inexact, Num

from tenfold.errors import UsageError
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import LARGEST, Numbers, Whole, amplitudes, choice, real, wholes
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel
from tenfold.quasiperiodic.operators.intervals import SpectralInterval, spectral_interval
from tenfold.quasiperiodic.operators.matvec import Product, product_of
from tenfold.quasiperiodic.operators.phases import Orbit, to_unit
from tenfold.quasiperiodic.operators.potentials import Function, Potential
from tenfold.quasiperiodic.operators.windows import NORMS, Site, Window, site_of
from tenfold.shifts.costs import require


@dataclass(frozen=True)
class LongRange:
    """H = A + λ v(θ + n·Ω) on Z^d.

    ``hopping`` is A, ``potential`` is v on T^b, ``orbit`` gives the phases at the sites (``lattice_orbit``,
    ``skew_orbit``); an orbit with a batch of θ makes a batch of operators, the leading axis of every array. Without
    a potential H is the hopping alone. Raises UsageError where dimensions differ or λ is not finite.

    >>> from tenfold.quasiperiodic.operators.presets import aubry_andre
    >>> aubry_andre(2.0).box(1).dense().round(3).tolist()
    [[-2.949, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, -2.949]]
    """

    hopping: Hopping | Kernel
    potential: Potential | None = None
    orbit: Orbit | None = None
    lam: Numbers = 1.0
    name: str = "long-range operator"

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", real(self.lam, "the coupling lambda"))
        if (self.potential is None) != (self.orbit is None):
            raise UsageError("a potential needs an orbit and an orbit a potential; give both or neither")
        if self.potential is not None and self.orbit is not None:
            if self.orbit.torus != self.potential.torus:
                raise UsageError(
                    f"the potential lives on T^{self.potential.torus}, but the frequencies and theta have "
                    f"{self.orbit.torus} coordinates; give as many"
                )
            if self.orbit.dim != self.hopping.dim:
                raise UsageError(
                    f"the hopping is on Z^{self.hopping.dim}, but the frequencies have {self.orbit.dim} rows; "
                    "give one for each lattice direction"
                )

    @property
    def dim(self) -> int:
        """d."""
        return self.hopping.dim

    def at(self, theta: Any) -> "LongRange":
        """The operator at other phases θ: b numbers, or rows of b for a batch."""
        if self.orbit is None:
            raise UsageError("the operator has no potential, so that there is no theta to choose")
        return replace(self, orbit=self.orbit.at(theta))

    def values(
        self, lower: Sequence[Whole], shape: Sequence[Whole], precise: bool = False
    ) -> Float64[np.ndarray, "*batch N"]:
        """λ v at the sites lower + [0, shape) in C order, (N,) or (batch, N); ``precise`` as a potential's.

        Raises UsageError, naming the site, where the potential is singular or not finite."""
        lower, shape = wholes(lower, "a site").tolist(), wholes(shape, "a length").tolist()
        if self.potential is None or self.orbit is None:
            return np.zeros(int(np.prod(shape)))
        phases = self.orbit.phases(lower, shape)
        potential = self.potential
        if isinstance(potential, Function) and potential.singular is not None:
            self._refuse(potential.singular(to_unit(phases)), lower, shape, potential.reason)
        with np.errstate(over="ignore"):
            values = self.lam * (potential.precise(phases) if precise else potential(phases))
        bad = ~(np.abs(values) <= LARGEST)
        if bad.any():
            self._refuse(~np.isfinite(values), lower, shape, "is not finite")
            self._refuse(bad, lower, shape, f"is above {LARGEST:g}")
        return values

    def _refuse(
        self, bad: Bool[np.ndarray, "*batch N"], lower: Sequence[int], shape: Sequence[int], reason: str
    ) -> None:
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad.reshape(-1, bad.shape[-1]).any(0))), tuple(shape))
            n = tuple(int(a + b) for a, b in zip(at, lower, strict=True))
            raise UsageError(
                f"the potential {reason} at n = {n[0] if len(n) == 1 else n}; choose another theta or another window"
            )

    def box(self, reach: Site, centre: Site = 0) -> "Box":
        """The restriction to |n_j − centre_j| ≤ reach_j, cut open at the edges.

        Raises UsageError for a negative reach or a box larger than memory."""
        reaches, middle = site_of(reach, self.dim), site_of(centre, self.dim)
        if min(reaches) < 0:
            raise UsageError(f"the box reaches {min(reaches)} sites from its centre; give at least 0")
        lower = tuple(c - r for c, r in zip(middle, reaches, strict=True))
        return self._cut(lower, tuple(2 * r + 1 for r in reaches), "open", middle)

    def ring(self, size: Site, lower: Site = 0, approximant: bool = True) -> "Box":
        """The periodic box of ``size_j`` sites from ``lower``.

        With ``approximant`` every frequency is replaced by the nearest p/size, so that the potential closes (sizes
        must then be equal); without, it jumps at the seam."""
        shape, low = site_of(size, self.dim), site_of(lower, self.dim)
        for n, r in zip(shape, self.hopping.radius, strict=True):
            if n < 2 * r + 1:
                raise UsageError(f"a ring of {n} sites is shorter than the hopping, which needs at least {2 * r + 1}")
        operator = self
        if approximant and self.orbit is not None:
            if len(set(shape)) > 1:
                raise UsageError(f"rational approximants need equal sides, not {shape}; or pass approximant=False")
            operator = replace(self, orbit=self.orbit.approximant(shape[0]))
        return operator._cut(low, shape, "periodic", low)

    def _cut(self, lower: tuple[int, ...], shape: tuple[int, ...], boundary: str, centre: tuple[int, ...]) -> "Box":
        sites = int(np.prod([float(n) for n in shape]))
        batch = len(self.orbit.theta) if self.orbit is not None and self.orbit.batched else 1
        torus = self.orbit.torus if self.orbit is not None else 1
        require(8 * sites * batch * (2 * torus + 12), f"a box of {sites:,} sites")
        if any(abs(lo) + n >= 1 << 63 for lo, n in zip(lower, shape, strict=True)):
            raise UsageError(f"the box {lower} + {shape} leaves the 64-bit integers; sites are below 2^63")
        return Box(self.hopping, lower, shape, boundary, self, centre, self.values(lower, shape, True))


@dataclass(frozen=True)
class Box(Window):
    """The operator on a window of Z^d: ``box`` and ``ring`` of ``LongRange`` make it.

    ``potential`` is λv at the sites, float64 (N,), or (batch, N) where the orbit has a batch of θ. ``centre`` is the
    site that moments count from and that the default initial state sits on."""

    operator: LongRange
    centre: tuple[int, ...]
    potential: Float64[np.ndarray, "*batch N"]

    def distance(self, norm: str = "linf", origin: Site | None = None) -> Float64[np.ndarray, " N"]:
        """|n − origin| at every site; in a ring, of the nearest copy. origin: the centre by default."""
        choice(norm, "norm", NORMS)
        away = self.sites - np.array(self.centre if origin is None else site_of(origin, len(self.shape)))
        if self.boundary == "periodic":
            half = np.array(self.shape) // 2
            away = (away + half) % np.array(self.shape) - half
        return NORMS[norm](away)

    def sparse(self) -> scipy.sparse.csr_array:
        """The matrix in CSR format. Raises UsageError for a batch."""
        return (self.hopping_matrix + scipy.sparse.diags_array(self.single_potential())).tocsr()

    def dense(self, z: complex = 0.0) -> Inexact[np.ndarray, "*batch N N"]:
        """The matrix H − z, or a batch of them."""
        batch = int(np.prod(self.potential.shape[:-1]))
        require(batch * self.size**2 * (8 if self.is_real else 16), f"a dense matrix of {self.size} sites")
        empty, diagonal = self.hopping_matrix.toarray(), np.arange(self.size)
        matrix = np.empty((*self.potential.shape[:-1], *empty.shape), dtype=np.result_type(empty, z))
        matrix[...] = empty
        matrix[..., diagonal, diagonal] += self.potential - z
        return matrix

    def banded(self) -> Inexact[np.ndarray, "bands N"]:
        """The matrix of an open one-dimensional box in LAPACK's band storage (2R + 1, N): row R + i − j, column j."""
        if len(self.shape) != 1 or self.boundary == "periodic":
            raise UsageError(f"band storage is for open one-dimensional boxes, not for {self.describe()}")
        reach, n = min(self.hopping.range, self.size - 1), self.size
        require(32 * (2 * reach + 1) * n, f"{2 * reach + 1} bands of {n:,} sites")
        bands = np.zeros((2 * reach + 1, n), dtype=np.float64 if self.is_real else np.complex128)
        if isinstance(self.hopping, Kernel):
            coo = self.hopping_matrix.tocoo()
            np.add.at(bands, (reach + coo.row - coo.col, coo.col), coo.data)
        else:
            for m, a in zip(self.hopping.offsets[:, 0].tolist(), self.hopping.coefs, strict=True):
                if abs(m) <= reach:
                    bands[reach + m, max(0, -m) : n - max(0, m)] = a
        bands[reach] += self.single_potential()
        return bands

    def single_potential(self) -> Float64[np.ndarray, " N"]:
        """The potential. Raises UsageError for a batch."""
        if self.potential.ndim != 1:
            raise UsageError("this needs one operator, but theta has a batch; choose one with operator.at(theta)")
        return self.potential

    @cached_property
    def interval(self) -> SpectralInterval:
        """An interval that contains the spectrum, rigorously (of every member of a batch)."""
        return spectral_interval(self, self.potential)

    @cached_property
    def potential_error(self) -> float:
        """A bound on the error of ``potential`` (of a callable's, an estimate)."""
        potential, orbit = self.operator.potential, self.operator.orbit
        if potential is None or orbit is None:
            return 0.0
        scale = abs(self.operator.lam) * potential.error(partial(orbit.phases, self.lower, self.shape))
        return scale + 2.0**-54 * float(np.abs(self.potential).max())

    @cached_property
    def product(self) -> Product:
        """What multiplies states by the hopping; chosen by counted flops."""
        return product_of(self)

    def with_product(self, kind: str) -> "Box":
        """The same box with a chosen product: "stencil", "fft" or "sparse"."""
        chosen = replace(self)
        chosen.__dict__["product"] = product_of(self, kind)
        return chosen

    def matvec(self, states: Numbers) -> Num[np.ndarray, "*found N"]:
        """H ψ for states (..., N), broadcast against a batch of operators."""
        states = amplitudes(states, "a state")
        if states.shape[-1:] != (self.size,):
            raise UsageError(f"states have shape {states.shape}; the box needs (..., {self.size})")
        return self.product.apply(states) + self.potential * states

    def to_dict(self) -> dict[str, Any]:
        """Where the box is, for results."""
        interval = [self.interval.low, self.interval.high]
        names = {"operator": self.operator.name, "product": self.product.kind, "spectral_interval": interval}
        return facts(self, "lower shape boundary centre", **names)
