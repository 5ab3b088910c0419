"""Green's functions G(z) = (H − z)^{−1} of boxes: columns, entries, decay, by band LU, strips or dense solves."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Complex128, Inexact, Num
from scipy.linalg import hessenberg, solve_banded
from scipy.sparse.linalg import SuperLU, splu
from scipy.stats import linregress

from tenfold.errors import UsageError
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import Numbers, amplitudes, choice, reals
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.shifts.costs import Watch, foresee, require

WAYS = ("auto", "dense", "banded", "strips")
_MOST_DENSE = 4000
_CORNER = 2500  # sites of a corner from which the time of a sparse LU is told
_SMALLER = "a smaller box is quicker, and off by what decays to its edge"


def green_columns(
    box: Box, z: Numbers, sources: Any = None, method: str = "auto"
) -> Complex128[np.ndarray, "*found N"]:
    """Columns G(·, m; z) for each z and source site m: (len(z), len(sources), N), without the axes of a single z or a
    single source.

    "banded": LU of an open one-dimensional box, O(N R²) a z; "strips": sparse LU of an open box in two
    dimensions or more; "dense" otherwise. Raises UsageError for a real z in the spectrum, where G does not exist."""
    many_m = sources is not None and np.ndim(sources) > (0 if len(box.shape) == 1 else 1)
    given = amplitudes(z, "z")
    many_z, energies = given.ndim > 0, given.astype(np.complex128).ravel()
    if not len(energies) or np.size(sources if many_m else 0) == 0:
        raise UsageError("there is no z or no source; give at least one")
    choice(method, "method", WAYS)
    sites = [box.centre] if sources is None else ([sources] if not many_m else list(sources))
    require(40 * len(energies) * len(sites) * box.size, f"Green's functions of {box.size:,} sites at {len(energies)} z")
    right = np.zeros((len(sites), box.size))
    for row, site in enumerate(sites):
        right[row, box.index(site)] = 1.0
    way = _way(box, method)
    watch = Watch(
        f"Green's functions at {len(energies)} z", "fewer z are quicker, as is a smaller box, off by its decay"
    )
    solved = []
    for e in energies:
        solved.append(_solve(box, e, right, way))
        watch(len(solved), len(energies))
    found = np.stack(solved)
    # A column of size s is right to about s ‖H − z‖ 2^−53 of itself.
    size = max(abs(box.interval.low), abs(box.interval.high)) + np.abs(energies)
    lost = np.linalg.norm(found, axis=-1).max(1) * size * 2.0**-53
    if not (lost < 1e-3).all():
        bad = energies[~(lost < 1e-3)][0]
        raise UsageError(
            f"z = {bad:g} is an eigenvalue of the box to rounding; the Green's function exists off the spectrum"
        )
    if not many_m:
        found = found[:, 0]
    return found if many_z else found[0]


def green_entry(box: Box, z: Numbers, n: Any, m: Any) -> complex:
    """G(n, m; z)."""
    return complex(green_columns(box, z, m)[box.index(n)])


def solver(box: Box, state: Num[np.ndarray, " N"], method: str = "auto") -> Callable[[np.ndarray], np.ndarray]:
    """``solve(z)`` → (H − z)^{−1} φ for many z off the real axis, complex (len(z), N).

    Nearest-neighbour chains are solved for all z at once by Thomas's recursion (stable: every pivot keeps an imaginary
    part of the sign of Im z); other open chains by band LU; the rest after one reduction to Hessenberg form."""
    way = _way(box, method)
    hopping = box.hopping
    if way == "banded" and hopping.range == 1 and box.size > 1:
        bands = box.banded()
        return lambda z: _thomas(bands, z, state)
    if way == "banded":
        right = state[None]
        return lambda z: np.stack([_solve(box, e, right, "banded")[0] for e in np.atleast_1d(z)])
    require(64 * box.size**2, f"the reduction of {box.size:,} sites")
    reduced, basis = hessenberg(box.dense(), calc_q=True)
    upper, diagonal, lower = np.diag(reduced, 1), np.real(np.diag(reduced)), np.diag(reduced, -1)
    bands = np.zeros((3, box.size), dtype=reduced.dtype)
    bands[0, 1:], bands[1], bands[2, :-1] = upper, diagonal, lower
    turned = basis.conj().T @ state
    return lambda z: _thomas(bands, z, turned) @ basis.T


def _thomas(
    bands: Inexact[np.ndarray, "3 N"], z: Num[np.ndarray, "*z"], right: Num[np.ndarray, " N"]
) -> Complex128[np.ndarray, "n N"]:
    energies, n = np.atleast_1d(z), bands.shape[1]
    pivots = np.empty((n, len(energies)), dtype=np.complex128)
    x = np.empty((n, len(energies)), dtype=np.complex128)
    pivots[0], x[0] = bands[1, 0] - energies, right[0]
    for i in range(1, n):
        factor = bands[2, i - 1] / pivots[i - 1]
        pivots[i] = bands[1, i] - energies - factor * bands[0, i]
        x[i] = right[i] - factor * x[i - 1]
    x[-1] /= pivots[-1]
    for i in range(n - 2, -1, -1):
        x[i] = (x[i] - bands[0, i + 1] * x[i + 1]) / pivots[i]
    return x.T


def _way(box: Box, method: str) -> str:
    box.single_potential()
    open_, reach = box.boundary == "open", box.hopping.range
    if method == "banded" and not (open_ and len(box.shape) == 1):
        raise UsageError(f"band LU is for open one-dimensional boxes, not for {box.describe()}; use 'dense'")
    if method == "strips" and not (open_ and len(box.shape) > 1):
        raise UsageError(f"strips are for open boxes in two dimensions or more, not for {box.describe()}; use 'banded'")
    if method != "auto":
        return method
    if open_ and len(box.shape) == 1 and reach < box.size / 4:
        return "banded"
    return "strips" if open_ and len(box.shape) > 1 and box.shape[0] > 4 * box.hopping.radius[0] else "dense"


def _solve(box: Box, z: complex, right: Num[np.ndarray, "sources N"], way: str) -> Complex128[np.ndarray, "sources N"]:
    try:
        if way == "banded":
            bands = box.banded().astype(np.complex128)
            reach = len(bands) // 2
            bands[reach] -= z
            return solve_banded((reach, reach), bands, right.T.astype(np.complex128), overwrite_ab=True).T
        if way == "strips":
            across = box.size // box.shape[0]
            require(48 * box.size * across * max(box.hopping.radius[0], 1), f"the strips of {box.describe()}")
            shifted = (box.sparse().astype(np.complex128) - z * scipy.sparse.eye_array(box.size)).tocsc()
            _foresee_strips(box, shifted)
            return _factors(shifted).solve(right.T.astype(np.complex128)).T
        if box.size > _MOST_DENSE:
            raise UsageError(f"a dense Green's function of {box.size} sites is too large; at most {_MOST_DENSE}")
        matrix, what = box.dense(z), f"a dense Green's function of {box.size} sites"
        foresee(lambda n: np.linalg.solve(matrix[:n, :n], right[:, :n].T), box.size, 3, what, _SMALLER)
        return np.linalg.solve(matrix, right.T).T
    except (np.linalg.LinAlgError, RuntimeError):  # SuperLU says that a factor is singular by the latter
        raise UsageError(
            f"z = {z:g} is an eigenvalue of the box; the Green's function exists off the spectrum"
        ) from None


def _factors(matrix: scipy.sparse.csc_array) -> SuperLU:
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.1, options={"SymmetricMode": True})


def _foresee_strips(box: Box, matrix: scipy.sparse.csc_array) -> None:
    """Say what a sparse LU takes, from one of a corner of the box: it grows as N^{3 (d − 1)/d}."""
    d = len(box.shape)
    corner = [min(n, round(_CORNER ** (1 / d))) for n in box.shape]
    inside = np.ravel_multi_index(np.indices(corner).reshape(d, -1), box.shape)
    what = f"the sparse LU of {box.describe()}"
    foresee(lambda _: _factors(matrix[inside][:, inside]), box.size, 3 - 3 / d, what, _SMALLER, prod(corner))


@dataclass(frozen=True)
class GreenDecay:
    """−log|G(n, m)| ≈ rate · |n − m| + intercept over the window of distances.

    ``standard_error`` is that of the least-squares slope; ``residual`` the root mean square of the fit."""

    z: complex
    rate: float
    standard_error: float
    intercept: float
    residual: float
    window: tuple[float, float]
    norm: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        convention = "-log|G(n, m; z)| against |n - m|, G = (H - z)^(-1)"
        return facts(self, "z rate standard_error intercept residual window norm", convention=convention)


def green_decay(
    box: Box, z: Numbers, source: Any = None, norm: str = "linf", window: tuple[Numbers, Numbers] | None = None
) -> GreenDecay:
    """Fit the decay of a column over the distances of ``window`` (a quarter to three quarters of the largest).

    Raises UsageError where the window holds fewer than 4 non-zero entries."""
    if np.ndim(z):
        raise UsageError(f"z has shape {np.shape(z)}; a decay is fitted at one z")
    column = np.abs(green_columns(box, z, source))
    distance = box.distance(norm, box.centre if source is None else source)
    low, high = reals(window or (0.25 * distance.max(), 0.75 * distance.max()), "the window").tolist()
    inside = (distance >= low) & (distance <= high) & (column > 1e-300)
    if inside.sum() < 4 or len(np.unique(distance[inside])) < 3:
        raise UsageError(
            f"the window [{low:g}, {high:g}] holds {int(inside.sum())} entries; a decay fit needs 4 or more"
        )
    x, y = distance[inside], -np.log(column[inside])
    fit = linregress(x, y)
    rest = y - fit.slope * x - fit.intercept
    rate, error, intercept = float(fit.slope), float(fit.stderr), float(fit.intercept)
    span = (float(low), float(high))
    return GreenDecay(complex(amplitudes(z, "z")), rate, error, intercept, float(np.sqrt((rest**2).mean())), span, norm)
