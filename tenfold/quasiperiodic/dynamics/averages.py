"""Time-averaged probabilities and moments, three independent ways.

Weights of the time t ≥ 0, each of integral one:
    abel: (2/T) e^{−2t/T};    cesaro: 1/T on [0, T];    gaussian: (2/(√π T)) e^{−t²/T²}.

    eig: prob_n = Re Σ_jk U_nj c_j Ŵ(E_j − E_k) conj(U_nk c_k), Ŵ(ω) = ∫ w(t) e^{−iωt} dt;
    resolvent (abel): prob_n = (1/πT) ∫ |⟨δ_n, (H − E − i/T)^{−1} φ⟩|² dE, by Parseval;
    quadrature: Gauss-Legendre panels of evolved states.

What the box loses: with g = Q A P ψ_L and A = ∫ w ‖g‖² dt, the bound (leak) of ``leak.py`` averages to
∫ w ‖ψ − ψ_L‖ dt ≤ κ T √A, κ = √2 Γ(3/2) (abel), 2/3 (cesaro), √(2/√π) 2^{−1/4} Γ(3/4) (gaussian), as
∫₀ᵗ ‖g‖² ≤ A/w(t) for falling w.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gamma, log, pi, sqrt
from typing import Any, Literal

import numpy as np
from scipy.special import wofz

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.dynamics.evolution import BoxTooSmallError
from tenfold.quasiperiodic.dynamics.moments import moments_of_probabilities, powers
from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.quasiperiodic.operators.memory import require
from tenfold.quasiperiodic.operators.states import Initial, on_box, supports
from tenfold.quasiperiodic.propagation.dense import diagonalise
from tenfold.quasiperiodic.propagation.leak import Surface, nodes, surface
from tenfold.quasiperiodic.propagation.methods import MOST_DENSE
from tenfold.quasiperiodic.propagation.panels import LONGEST_PROBED, run_panel
from tenfold.quasiperiodic.spectral.green import solver

Kind = Literal["abel", "cesaro", "gaussian"]
Way = Literal["eig", "resolvent", "quadrature"]
WEIGHTS = {
    "abel": "(2/T) exp(-2t/T) on t >= 0",
    "cesaro": "1/T on [0, T]",
    "gaussian": "2/(sqrt(pi) T) exp(-(t/T)^2) on t >= 0",
}
LOSS = {
    "abel": sqrt(2) * gamma(1.5),
    "cesaro": 2 / 3,
    "gaussian": sqrt(2 / sqrt(pi)) * 2**-0.25 * gamma(0.75),
}
WAYS = ("eig", "resolvent", "quadrature")
_MOST_NODES = 1 << 22
_ROUNDING = 2.0**-51


@dataclass(frozen=True)
class TimeAverage:
    """Averages over time at several T.

    ``probabilities`` float64 (len(T), N), ``moments`` (len(T), len(p)). ``error_bound`` bounds the error that the
    method makes in Σ_n of the probabilities (quadrature, truncated horizon), without rounding; ``box_bound`` (len(T),)
    bounds Σ_n |prob_n − prob_n of the lattice| by what the box lost (0 where the box is the system), outside included;
    ``edge_mass`` is the averaged mass in the outermost max(R, 8) layers."""

    box: Box
    T: np.ndarray
    p: np.ndarray
    kind: str
    method: str
    norm: str
    probabilities: np.ndarray
    moments: np.ndarray
    error_bound: float
    box_bound: np.ndarray
    edge_mass: float
    certificate: str
    products: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Everything but the probabilities."""
        return {
            "kind": self.kind,
            "weight": WEIGHTS[self.kind],
            "method": self.method,
            "norm": self.norm,
            "T": self.T.tolist(),
            "p": self.p.tolist(),
            "moments": self.moments.tolist(),
            "error_bound": self.error_bound,
            "box_bound": self.box_bound.tolist(),
            "edge_mass": self.edge_mass,
            "certificate": self.certificate,
            "box": self.box.to_dict(),
            "products": self.products,
        }


def time_averaged(
    system: LongRange | Box,
    phi: Initial = None,
    T: float | Sequence[float] = 1.0,
    p: float | Sequence[float] = 2.0,
    *,
    kind: Kind = "abel",
    method: Way = "eig",
    box: Literal["adaptive"] | int = "adaptive",
    centre: int | tuple[int, ...] = 0,
    norm: str = "linf",
    tol: float = 1e-12,
    edge_tol: float | None = None,
    progress: Callable[[float], None] | None = None,
) -> TimeAverage:
    """Time-averaged |ψ_n|² and ⟨|X|^p⟩ at scales T.

    Args:
        system: an operator, or a Box that is itself the system.
        box: "adaptive" grows the box until the averaged mass at its edge is at most ``edge_tol`` (the square root of
            tol unless given); a number L takes |n_j − centre| ≤ L and raises BoxTooSmallError above ``edge_tol``.
        method: "eig" (N ≤ 2000), "resolvent" (abel only), "quadrature".

    Raises UsageError for T ≤ 0, p ≤ 0, or a method that the kind does not have."""
    scales, exponents = _scales(T), powers(p)
    _check(kind, method, tol)
    allowed = sqrt(tol) if edge_tol is None else edge_tol
    if isinstance(system, Box):
        return _in_box(
            system, on_box(system, phi), scales, exponents, kind, method, norm, tol, "finite system", progress
        )
    middle = tuple(int(c) for c in np.atleast_1d(centre))
    middle = middle * system.dim if len(middle) == 1 else middle
    fixed = not isinstance(box, str)
    if isinstance(box, str) and box != "adaptive":
        raise UsageError(f"there is no box {box!r} for averages; give 'adaptive' or a number of sites")
    parts = supports(phi, middle)
    reach = (
        box if isinstance(box, int) else max(64, 4 * system.hopping.range) + max(int(np.abs(s).max()) for s, _ in parts)
    )
    while True:
        made = system.box(reach, middle)
        if method == "eig" and made.size > MOST_DENSE:
            raise UsageError(
                f"the box {made.describe()} has {made.size} sites, too many for method 'eig' (at most {MOST_DENSE}); "
                "use 'quadrature' or 'resolvent', a smaller T or a larger edge_tol"
            )
        states = on_box(made, phi)
        done = _in_box(made, states, scales, exponents, kind, method, norm, tol, "a posteriori", progress)
        share = done.edge_mass / float((np.abs(states) ** 2).sum())
        if share <= allowed:
            return done
        if fixed:
            raise BoxTooSmallError(
                f"the box {made.describe()} is too small: {share:.2g} of the averaged mass is at its edge at T = "
                f"{scales.max():g}, above {allowed:g}; give a larger box (--box), a smaller T, or average in the Box "
                "itself if it is the system"
            )
        reach *= 2


def _scales(T: float | Sequence[float]) -> np.ndarray:
    scales = np.atleast_1d(np.asarray(T, dtype=np.float64))
    if not len(scales) or not (np.isfinite(scales).all() and (scales > 0).all()):
        raise UsageError(f"T is {T}; averages are over times t >= 0 with a finite scale T above 0")
    return scales


def _check(kind: str, method: str, tol: float) -> None:
    if kind not in WEIGHTS:
        raise UsageError(f"there is no average {kind!r}{suggest(kind, WEIGHTS)}")
    if method not in WAYS:
        raise UsageError(f"there is no method {method!r}{suggest(method, WAYS)}")
    if method == "resolvent" and kind != "abel":
        raise UsageError(f"the resolvent method is for the abel average, not for {kind!r}; use 'eig' or 'quadrature'")
    if not 1e-14 <= tol < 1:
        raise UsageError(f"tol is {tol:g}; double precision supports 1e-14 and above, and tol must be below 1")


def _in_box(
    box: Box,
    states: np.ndarray,
    scales: np.ndarray,
    exponents: np.ndarray,
    kind: Kind,
    method: Way,
    norm: str,
    tol: float,
    certificate: str,
    progress: Callable[[float], None] | None,
) -> TimeAverage:
    if states.ndim > 1 or box.potential.ndim > 1:
        raise UsageError("time averages take one state and one theta; loop over a batch")
    products = 0
    found, lost, errors = np.empty((len(scales), box.size)), np.zeros(len(scales)), 0.0
    skin = surface(box)
    if method == "eig":
        found, lost = by_eigenbasis(box, states, scales, kind, skin)
    elif method == "resolvent":
        for i, T in enumerate(scales):
            found[i], lost[i], error = by_resolvent(box, states, float(T), tol, skin, _part(progress, i, len(scales)))
            errors = max(errors, error)
    else:
        found, lost, errors, products = by_quadrature(box, states, scales, kind, tol, skin, progress)
    edge = box.edge(max(box.hopping.range, 8))
    mass = float(found[:, edge].sum(-1).max()) if len(edge) else 0.0
    values = moments_of_probabilities(box, found, exponents, norm)
    bound = np.zeros(len(scales))
    if certificate != "finite system":
        # Rounding leaves something on the surface that no box removes.
        scale = float(np.linalg.norm(states))
        floor = (_ROUNDING * skin.strength * scale) ** 2
        bound = 2 * LOSS[kind] * scales * np.sqrt(np.maximum(lost, 0.0) + floor) * scale
    return TimeAverage(
        box, scales, exponents, kind, method, norm, found, values, errors, bound, mass, certificate, products
    )


def _part(progress: Callable[[float], None] | None, i: int, count: int) -> Callable[[float], None] | None:
    return None if progress is None else lambda f: progress((i + f) / count)


def transform(kind: Kind, omega: np.ndarray, T: float) -> np.ndarray:
    """Ŵ(ω) = ∫₀^∞ w(t) e^{−iωt} dt."""
    if kind == "abel":
        return 1 / (1 + 0.5j * omega * T)
    if kind == "cesaro":
        return np.exp(-0.5j * omega * T) * np.sinc(omega * T / (2 * np.pi))
    return wofz(-0.5 * omega * T)


def by_eigenbasis(
    box: Box, state: np.ndarray, scales: np.ndarray, kind: Kind, skin: Surface
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (len(T), N) and averaged losses (len(T),): one diagonalisation, then one matrix product a scale."""
    require(6 * 16 * box.size**2, f"the eigenbasis of {box.size} sites")
    spectral = diagonalise(box)
    amplitude = spectral.vectors * spectral.coefficients(state)
    omega = spectral.energies[:, None] - spectral.energies[None, :]
    outside = skin.out @ amplitude[skin.edge]
    gram = outside.conj().T @ outside
    found, lost = np.empty((len(scales), box.size)), np.empty(len(scales))
    for i, T in enumerate(scales):
        weight = transform(kind, omega, float(T))
        # gram_jk carries e^{i(E_j − E_k)t}: the conjugate of what the weight was transformed with.
        lost[i] = np.real((gram * np.conj(weight)).sum())
        if np.iscomplexobj(amplitude):
            found[i] = np.real(((amplitude @ weight) * np.conj(amplitude)).sum(1))
        else:
            found[i] = ((amplitude @ weight.real) * amplitude).sum(1)
    return np.maximum(found, 0.0), lost


def eigenbasis_moments(
    box: Box, state: np.ndarray, scales: np.ndarray, p: Sequence[float], kind: Kind = "abel", norm: str = "linf"
) -> np.ndarray:
    """Moments (len(T), len(p)) in O(N²) a scale, through M_jk = Σ_n |n|^p conj(U_nj) U_nk: for many T."""
    spectral = diagonalise(box)
    c = spectral.coefficients(state)
    omega = spectral.energies[None, :] - spectral.energies[:, None]
    distance = box.distance(norm)
    found = np.empty((len(scales), len(p)))
    for j, exponent in enumerate(powers(p)):
        gram = np.conj(spectral.vectors.T * distance**exponent) @ spectral.vectors
        gram = gram * np.conj(c)[:, None] * c[None, :]
        for i, T in enumerate(scales):
            found[i, j] = np.real((gram * transform(kind, omega, float(T))).sum())
    return found


def by_resolvent(
    box: Box, state: np.ndarray, T: float, tol: float, skin: Surface, progress: Callable[[float], None] | None = None
) -> tuple[np.ndarray, float, float]:
    """Abel-averaged probabilities (N,) and loss at one T, and the estimated error of the midpoint rule.

    With E = c + h tan x the integral is over one period of an analytic function of x whose poles are at least
    δ = 1/(2 h T) away from the real axis (for E within the spectral interval), so that n midpoints err by about
    2 e^{−2nδ}."""
    h, c = max(box.interval.half_width, 1e-12), box.interval.centre
    count = int(np.ceil(log(2 / tol) * (h * T + 1)))
    if count > _MOST_NODES:
        raise UsageError(
            f"the resolvent average at T = {T:g} needs {count:.2g} energies, more than {_MOST_NODES:.2g}; "
            "use 'eig' or a smaller T"
        )
    x = (np.arange(count) + 0.5) * pi / count - pi / 2
    energies, weights = c + h * np.tan(x), h / np.cos(x) ** 2 * (pi / count) / (pi * T)
    solve = solver(box, state)
    total, lost = np.zeros(box.size), 0.0
    for first in range(0, count, 256):
        part = slice(first, min(first + 256, count))
        columns = solve(energies[part] + 1j / T)
        total += weights[part] @ (columns.real**2 + columns.imag**2)
        if len(skin.edge):
            lost += float(weights[part] @ skin.loss(columns[:, skin.edge]))
        if progress is not None:
            progress(part.stop / count)
    return total, lost, 2 * float(np.exp(-count / (h * T + 1)))


def by_quadrature(
    box: Box,
    state: np.ndarray,
    scales: np.ndarray,
    kind: Kind,
    tol: float,
    skin: Surface,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray, float, int]:
    """Averages (len(T), N) of evolved states, averaged losses, an error bound (gaussian: an estimate) and the
    number of products.

    |ψ_n(t)|² is entire of exponential type 2h, and the weights are analytic: Gauss-Legendre nodes on panels, to the
    horizon beyond which the weight integrates to ``tol``. Scales are done one after the other."""
    found, lost = np.empty((len(scales), box.size)), np.empty(len(scales))
    worst, products = 0.0, 0
    for i, T in enumerate(scales):
        horizon = {"abel": 0.5 * T * log(1 / tol), "cesaro": T, "gaussian": T * sqrt(log(1 / tol))}[kind]
        found[i], lost[i], error, used = _quadrature(
            box, state, float(T), float(horizon), kind, tol, skin, _part(progress, i, len(scales))
        )
        worst, products = max(worst, error + (0.0 if kind == "cesaro" else tol)), products + used
    return found, lost, worst, products


def _quadrature(
    box: Box,
    state: np.ndarray,
    T: float,
    horizon: float,
    kind: Kind,
    tol: float,
    skin: Surface,
    progress: Callable[[float], None] | None,
) -> tuple[np.ndarray, float, float, int]:
    h = max(box.interval.half_width, 1e-300)
    # Panels no longer than T as well, so that the weight is resolved with the state.
    count = max(1, int(np.ceil(max(horizon * h / (0.2 * LONGEST_PROBED), horizon / T))))
    length = horizon / count
    s, weights, error = nodes(h + 2 / T, length)
    require(2 * len(s) * box.size * 16, f"states of {box.size:,} sites at {len(s)} nodes")
    total, current, lost, products, remainder = np.zeros(box.size), state[None], 0.0, 0, 0.0
    for number in range(count):
        start = number * length
        panel = run_panel(box, current, 0.0, length, s, 0, tol / count, None)
        found = panel.states[:, 0]
        share = weights * weight(kind, start + s, T)
        total += share @ (found.real**2 + found.imag**2)
        lost += float(share @ skin.loss(found[:, skin.edge])) if len(skin.edge) else 0.0
        current = panel.last
        products, remainder = products + panel.products, remainder + panel.remainder
        if progress is not None:
            progress((number + 1) / count)
    return total, lost, 2 * remainder + error * 2 / T * count, products


def weight(kind: Kind, t: np.ndarray, T: float) -> np.ndarray:
    """w(t) of an average."""
    if kind == "abel":
        return 2 / T * np.exp(-2 * t / T)
    return np.full_like(t, 1 / T) if kind == "cesaro" else 2 / (sqrt(pi) * T) * np.exp(-((t / T) ** 2))
