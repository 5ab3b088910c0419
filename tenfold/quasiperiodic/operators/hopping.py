"""Hopping on Z^d: translation-invariant coefficients a_m (a list, exponential, power law, a symbol) and kernels
A(n, n') that are not."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import exp, expm1, inf, isfinite, log
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Complex128, Float64, Inexact, Int64, Num

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import LARGEST, Numbers, Whole, amplitudes, real, reals, whole, wholes
from tenfold.settings.values import shown
from tenfold.shifts.costs import require

_TINY = 1e-17


@dataclass(frozen=True)
class Hopping:
    """(A u)_n = Σ_m a_m u_{n−m} with a_{−m} = conj(a_m), finitely many m in Z^d.

    ``offsets`` (r, d; or (r,) for d = 1) and ``coefs``: every m with its −m, each once. ``rho`` is the
    decay rate of an infinite hopping |a_m| ≤ C e^{−ρ|m|} that the list truncates (inf for a finite one), ``tail`` the
    l¹ norm of what was cut off: an operator-norm error that the evolution carries along as t · tail; where it is only
    ``estimated``, so is the evolution's error.

    Raises UsageError for a hopping that is not Hermitian (naming the first such m), repeats, or values that are not
    finite."""

    offsets: Int64[np.ndarray, "r d"]
    coefs: Inexact[np.ndarray, " r"]
    rho: float = inf
    tail: float = 0.0
    estimated: bool = False

    def __init__(
        self, offsets: Numbers, coefs: Numbers, rho: Numbers = inf, tail: Numbers = 0.0, estimated: bool = False
    ) -> None:
        offsets, coefs = _listed(offsets, coefs)
        rho = reals([rho], "the hopping's decay rate rho", finite=False).sum().item()
        if not rho > 0:
            raise UsageError(f"the hopping's decay rate rho is {rho:g}; give a number above 0, inf for a finite list")
        keep = coefs != 0
        keep[0] |= not keep.any()
        offsets, coefs = offsets[keep], coefs[keep]
        coefs = _hermitian(offsets, coefs)
        tail = real(tail, "the hopping's tail", least=0)
        if np.iscomplexobj(coefs) and not coefs.imag.any():
            coefs = coefs.real.copy()
        self.__dict__.update(offsets=offsets, coefs=coefs, rho=rho, tail=tail, estimated=estimated)

    @property
    def dim(self) -> int:
        """d."""
        return int(self.offsets.shape[1])

    @cached_property
    def radius(self) -> tuple[int, ...]:
        """The largest |m_j| along each axis."""
        return tuple(int(r) for r in np.abs(self.offsets).max(0))

    @property
    def range(self) -> int:
        """The largest |m|∞."""
        return max(self.radius)

    def along(self, i: int, n: Int64[np.ndarray, "k d"]) -> Inexact[np.ndarray, " k"]:
        """A(n, n − m) for the offset m of index ``i``."""
        return np.full(len(n), self.coefs[i])

    def symbol(self, points: Sequence[int], sign: int = 1) -> Float64[np.ndarray, "..."]:
        """Σ_m a_m e^{ik·m} (real) on the grid of ``points[j]`` equispaced k_j, k = 0 first; points > 2 radius. With
        ``sign`` −1 at −k: what an FFT of (A u)_n = Σ a_m u_{n−m} is multiplied by."""
        return transform(sign * self.offsets, self.coefs, points).real


def _listed(offsets: Numbers, coefs: Numbers) -> tuple[Int64[np.ndarray, "r d"], Inexact[np.ndarray, " r"]]:
    m, a = wholes(offsets, "a hopping offset", 1 << 40), np.atleast_1d(amplitudes(coefs, "a hopping coefficient"))
    m = m.reshape(-1, 1) if m.ndim < 2 else m
    if m.ndim != 2 or a.ndim != 1 or len(m) != len(a) or not m.size:
        raise UsageError(f"{len(a)} hopping coefficients need as many offsets, not shape {m.shape}")
    return m, a


def _hermitian(offsets: Int64[np.ndarray, "r d"], coefs: Inexact[np.ndarray, " r"]) -> Inexact[np.ndarray, " r"]:
    """The coefficients, Hermitian to the last bit."""
    table = {tuple(m): a for m, a in zip(offsets.tolist(), coefs.tolist(), strict=True)}
    if len(table) != len(coefs):
        raise UsageError("a hopping offset occurs twice; add its coefficients up")
    for m, a in sorted(table.items(), key=lambda item: (max(map(abs, item[0])), item[0])):
        back = table.get(tuple(-x for x in m), 0.0)
        if abs(complex(back).conjugate() - a) > 1e-14 * max(abs(a), abs(back)):
            where = m[0] if len(m) == 1 else m
            raise UsageError(
                f"the hopping is not Hermitian at m = {where}: a_m is {a:g} but a_(-m) is {back:g}; "
                "give every offset with its negative, a_(-m) = conj(a_m)"
            )
    if np.abs(coefs).max() > LARGEST:
        raise UsageError(f"a hopping coefficient is {np.abs(coefs).max():g} in size; give at most {LARGEST:g}")
    back = np.array([table.get(tuple(-x for x in m), 0.0) for m in offsets.tolist()])
    return 0.5 * (coefs + back.conj())


def transform(
    offsets: Int64[np.ndarray, "r d"], coefs: Inexact[np.ndarray, " r"], points: Sequence[int]
) -> Complex128[np.ndarray, "..."]:
    """Σ_m c_m e^{ik·m} on the product grid k_j = 2π i/points[j], complex (points)."""
    grid = np.zeros(tuple(points), dtype=np.complex128)
    np.add.at(grid, tuple((offsets % np.array(points)).T), coefs)
    return scipy.fft.ifftn(grid) * grid.size


def symmetric(offsets: Numbers, coefs: Numbers) -> Hopping:
    """Hopping to every offset with its coefficient, and to the negative with the conjugate.

    >>> symmetric([[1, 0], [0, 1]], [1.0, 0.5]).offsets.tolist()
    [[1, 0], [0, 1], [-1, 0], [0, -1]]
    """
    given, values = _listed(offsets, coefs)
    if not np.abs(given).sum(1).all():
        raise UsageError("offset 0 has no partner; put an on-site energy into the potential")
    return Hopping(np.concatenate([given, -given]), np.concatenate([values, np.conj(values)]))


def nearest_neighbour(dim: Whole = 1, t: Numbers = 1.0) -> Hopping:
    """a_m = t for |m|₁ = 1."""
    dim = _dimension(dim)
    return symmetric(np.eye(dim, dtype=np.int64), np.full(dim, real(t, "the hopping t")))


def _dimension(dim: Whole) -> int:
    return whole(dim, "the lattice's dimension", 1, 16)


def exponential(t: Numbers, rho: Numbers, dim: Whole = 1, radius: Whole | None = None) -> Hopping:
    """a_m = t e^{−ρ|m|₁} for m ≠ 0; with a ``radius`` the finite list |m|∞ ≤ radius is the model.

    Without one, the infinite hopping is cut where the rest is below 1e-17 of the sum; ``tail`` is its l¹ norm."""
    dim, (t, rho) = _dimension(dim), reals([t, rho], "t or the rate", finite=False).tolist()
    if not (isfinite(t) and 1e-6 < rho < inf):
        raise UsageError(f"exponential hopping has t = {t:g} and rate {rho:g}; it is summable for finite rates above 0")
    radius = None if radius is None else whole(radius, "the hopping's radius", 1)
    # Σ over all of Z^d is (coth ρ/2)^d; over |m|∞ ≤ R it is (1 + 2 q (1 − q^R)/(1 − q))^d, q = e^{−ρ}.
    q = exp(-rho)
    total = (1 + q) / (1 - q)

    def rest(r: int) -> float:
        """Of Z^d beyond |m|∞ ≤ r; total^d − inner^d without cancellation."""
        beyond = 2 * q ** (r + 1) / (1 - q)
        inner = total - beyond
        return beyond * sum(total**i * inner ** (dim - 1 - i) for i in range(dim))

    # The first radius with a small rest, at most the last one here.
    most = range(1, int((log(2 * dim / (1 - q)) - log(_TINY)) / rho) + 3)
    cut = radius or most[bisect_left(most, True, key=lambda r: rest(r) <= _TINY * total**dim)]
    offsets = _ball(dim, cut)
    coefs = t * np.exp(-rho * np.abs(offsets).sum(1))
    return Hopping(offsets, coefs, rho, 0.0 if radius else abs(t) * rest(cut))


def power_law(t: Numbers, exponent: Numbers, radius: Whole) -> Hopping:
    """a_m = t |m|^{−s} for 0 < |m| ≤ radius, d = 1: the finite list is the model, as a power law has no exponential
    decay that a certified box could stand on. It differs from the infinite one by at most 2|t| R^{1−s}/(s − 1) in norm.

    Raises UsageError for s ≤ 1, which is not summable."""
    radius, t, exponent = whole(radius, "the power law's radius", 1), real(t, "t"), real(exponent, "the exponent")
    require(64 * radius, f"a hopping of {2 * radius:,} neighbours")
    if not exponent > 1:
        raise UsageError(f"power-law hopping |m|^-{exponent:g} is not summable on Z; give an exponent above 1")
    m = np.arange(1, radius + 1)
    return symmetric(m, t * m**-exponent)


def from_symbol(symbol: Callable[[np.ndarray], np.ndarray], radius: Whole, oversampling: Whole = 8) -> Hopping:
    """Hopping whose symbol Σ a_m e^{ikm} is the real 2π-periodic function given, d = 1, cut at |m| ≤ radius.

    Coefficients by the FFT of samples; ``tail`` is the l¹ norm of the computed coefficients that were cut, an
    estimate (aliasing is not seen)."""
    radius = whole(radius, "the hopping's radius", 0)
    points = max(64, 2 * whole(oversampling, "oversampling", 1) * radius)
    require(64 * points, f"{points:,} samples of a symbol")
    values = amplitudes(symbol(2 * np.pi * np.arange(points) / points), "a value of the symbol")
    if values.shape != (points,) or np.abs(np.imag(values)).max() > 1e-12:
        raise UsageError("a symbol must return one finite real value for each k; a real symbol makes H Hermitian")
    coefs = scipy.fft.fft(values.real) / points
    m = np.arange(1, radius + 1)
    small = 1e-16 * np.abs(coefs).max()
    one = np.where(np.abs(coefs[m]) > small, coefs[m], 0)
    if not np.abs(one.imag).max(initial=0.0) > small:
        one = one.real
    rest = np.abs(coefs[radius + 1 : points - radius]).sum()
    offsets = np.concatenate([[0], m, -m])
    middle = coefs[0].real if abs(coefs[0]) > small else 0.0
    return Hopping(offsets, np.concatenate([[middle], one, one.conj()]), inf, float(rest), True)


@dataclass(frozen=True)
class Kernel:
    """A self-adjoint kernel A(n, n') on Z^d that need not be translation-invariant.

    ``call(n, m)`` takes int64 (k, d) arrays of sites and returns (k,) entries; it is asked for |n − m|∞ ≤ ``radius``
    only. ``bound`` and ``rate`` are the user's C and c in |A(n, n')| ≤ C e^{−c|n−n'|∞}: the certified box stands on
    them, and every entry that is used is checked against them."""

    call: Callable[[np.ndarray, np.ndarray], np.ndarray]
    radius_: Whole
    bound: Numbers
    rate: Numbers
    dim: Whole = 1
    offsets: Int64[np.ndarray, "r d"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        bound, rate = real(self.bound, "C", below=LARGEST), real(self.rate, "c", below=1e100)
        radius, dim = whole(self.radius_, "the kernel's radius"), _dimension(self.dim)
        if radius < 0 or not (bound > 0 and rate > 0):
            raise UsageError(f"a kernel needs a radius, C and c above 0, not {radius}, {bound:g} and {rate:g}")
        offsets = np.concatenate([np.zeros((1, dim), np.int64), _ball(dim, radius)])
        self.__dict__.update(radius_=radius, bound=bound, rate=rate, dim=dim, offsets=offsets)

    @property
    def radius(self) -> tuple[int, ...]:
        """The radius along each axis."""
        return (self.radius_,) * self.dim

    @property
    def range(self) -> int:
        """The largest |n − n'|∞."""
        return self.radius_

    @property
    def rho(self) -> float:
        """The decay rate c."""
        return self.rate

    @property
    def tail(self) -> float:
        """Σ C e^{−c|m|∞} over |m|∞ > radius: a bound on what the radius cuts off."""
        # A shell has at most 2 d (2 r + 1)^{d−1} sites. Past r = 2 d/c its term falls by e^{−c/2} or more from one to
        # the next: the rest is at most the last one over 1 − e^{−c/2}.
        if self.rate < 1e-5:
            return inf
        last = self.radius_ + 1 + int((2 * self.dim + 50) / self.rate)
        shell = np.arange(self.radius_ + 1, last + 1, dtype=np.float64)
        terms = self.bound * 2 * self.dim * (2 * shell + 1) ** (self.dim - 1) * np.exp(-self.rate * shell)
        return float(terms.sum() + terms[-1] / -expm1(-self.rate / 2))

    @property
    def envelope(self) -> Float64[np.ndarray, " r"]:
        """C e^{−c|m|∞} at ``offsets``."""
        return self.bound * np.exp(-self.rate * np.abs(self.offsets).max(1))

    def along(self, i: int, n: Int64[np.ndarray, "k d"]) -> Num[np.ndarray, " k"]:
        """A(n, n − m) for the offset m of index ``i``."""
        return self.entries(n, n - self.offsets[i])

    def entries(self, n: Int64[np.ndarray, "k d"], m: Int64[np.ndarray, "k d"]) -> Num[np.ndarray, " k"]:
        """A(n, m) for sites, checked: finite, within C e^{−c|n−m|}."""
        values = amplitudes(self.call(n, m), "an entry of the kernel")
        if values.shape != (len(n),):
            raise UsageError(f"the kernel must return {len(n)} finite entries for {len(n)} pairs of sites")
        most = self.bound * np.exp(-self.rate * np.abs(n - m).max(1))
        if not len(n):
            return values
        worst = int(np.argmax(np.abs(values) - most))
        if abs(values[worst]) > most[worst] * (1 + 1e-12):
            raise UsageError(
                f"the kernel at {tuple(n[worst].tolist())}, {tuple(m[worst].tolist())} is {values[worst]:.3g}, above "
                f"C e^(-c|n-n'|) = {most[worst]:.3g}; give a larger bound or a smaller rate"
            )
        return values


def kernel_from_sparse(matrix: Any, origin: Whole, bound: Numbers, rate: Numbers) -> Kernel:
    """A one-dimensional kernel given by a SciPy sparse matrix; row i is site i − origin, and A is 0 outside."""
    origin, csr = whole(origin, "origin", -(1 << 62), 1 << 62), scipy.sparse.csr_array(matrix)
    coo = csr.tocoo()
    if csr.ndim != 2 or csr.shape[0] != csr.shape[1]:
        raise UsageError(f"the kernel's matrix has shape {csr.shape}; give a square one")
    radius = int(np.abs(coo.row.astype(np.int64) - coo.col).max(initial=0))
    size = csr.shape[0]

    def call(n: Int64[np.ndarray, "k 1"], m: Int64[np.ndarray, "k 1"]) -> Num[np.ndarray, " k"]:
        i, j = n[:, 0] + origin, m[:, 0] + origin
        inside = (i >= 0) & (i < size) & (j >= 0) & (j < size)
        values = np.zeros(len(i), dtype=csr.dtype)
        found = csr[i[inside], j[inside]]
        values[inside] = found.toarray().ravel() if scipy.sparse.issparse(found) else found
        return values

    return Kernel(call, radius, bound, rate)


def _ball(dim: int, radius: int) -> Int64[np.ndarray, "r {dim}"]:
    count = (2 * radius + 1) ** dim
    require(200 * count, f"a hopping of {shown(count)} neighbours")
    axis = range(-radius, radius + 1)
    sites = np.array(list(product(axis, repeat=dim)), dtype=np.int64).reshape(-1, dim)
    return sites[np.abs(sites).sum(1) > 0]
