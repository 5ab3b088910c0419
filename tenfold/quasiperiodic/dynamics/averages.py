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

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import asinh, exp, expm1, gamma, hypot, log, log1p, pi, sqrt
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Complex128, Float64, Num
from scipy.special import wofz

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.dynamics.evolution import BoxTooSmallError, moments_of_probabilities, powers
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import Numbers, choice, real, reals
from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.quasiperiodic.operators.states import Initial, on_box, supports
from tenfold.quasiperiodic.operators.windows import NORMS, Site, site_of
from tenfold.quasiperiodic.propagation.dense import EPS, diagonalise, rounding_of
from tenfold.quasiperiodic.propagation.leak import Surface, nodes, surface
from tenfold.quasiperiodic.propagation.methods import MOST_DENSE, Keep, check_cost, check_tol
from tenfold.quasiperiodic.propagation.panels import LONGEST_PROBED, run_panel
from tenfold.quasiperiodic.spectral.green import solver
from tenfold.shifts.costs import Watch, require

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
Scales = Float64[np.ndarray, " T"]
_MOST_NODES = 1 << 22
_ROUNDING = 2.0**-51


@dataclass(frozen=True)
class TimeAverage:
    """Averages over time at several T.

    ``probabilities`` float64 (len(T), N), or what was kept of them, ``moments`` (len(T), len(p)). ``error_bound``
    bounds the error that the method makes in Σ_n of the probabilities at any T (quadrature, truncated horizon,
    rounding; of the gaussian quadrature an estimate); ``box_bound`` (len(T),) bounds Σ_n |prob_n − prob_n of the
    lattice| by what the box and the hopping's tail lost (0 where the box is the system), outside included;
    ``edge_mass`` is the averaged mass in the outermost max(R, 8) layers."""

    box: Box
    T: Float64[np.ndarray, " T"]
    p: Float64[np.ndarray, " p"]
    kind: str
    method: str
    norm: str
    probabilities: Float64[np.ndarray, "T *kept"]
    moments: Float64[np.ndarray, "T p"]
    error_bound: float
    box_bound: Float64[np.ndarray, " T"]
    edge_mass: float
    certificate: str
    products: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Everything but the probabilities."""
        names = "kind method norm T p moments error_bound box_bound edge_mass certificate products"
        return facts(self, names, weight=WEIGHTS[self.kind], box=self.box.to_dict())


def time_averaged(
    system: LongRange | Box,
    phi: Initial = None,
    T: Numbers = 1.0,
    p: Numbers = 2.0,
    *,
    kind: str = "abel",
    method: str = "eig",
    box: str | Site = "adaptive",
    centre: Site = 0,
    norm: str = "linf",
    tol: Numbers = 1e-12,
    edge_tol: Numbers | None = None,
    progress: Callable[[float], None] | None = None,
    keep: Keep | None = None,
) -> TimeAverage:
    """Time-averaged |ψ_n|² and ⟨|X|^p⟩ at scales T.

    Args:
        system: an operator, or a Box that is itself the system.
        box: "adaptive" grows the box until the averaged mass at its edge is at most ``edge_tol`` (the square root of
            tol unless given); a number L takes |n_j − centre| ≤ L and raises BoxTooSmallError above ``edge_tol``.
        method: "eig" (N ≤ 2000), "resolvent" (abel only), "quadrature".
        keep: ``keep(box, probabilities)`` makes of probabilities (1, 1, N) the real numbers (1, 1, ...) that
            ``probabilities`` then holds; where memory does not hold those at all T.

    Raises UsageError for T ≤ 0, p ≤ 0, or a method that the kind does not have."""
    choice(kind, "average", WEIGHTS)
    choice(method, "method", WAYS)
    choice(norm, "norm", NORMS)
    asked = {"T": _scales(T), "p": powers(p), "kind": kind, "method": method, "norm": norm, "keep": keep}
    if method == "resolvent" and kind != "abel":
        raise UsageError(f"the resolvent method is for the abel average, not for {kind!r}; use 'eig' or 'quadrature'")
    tol = check_tol(tol)
    allowed = sqrt(tol) if edge_tol is None else real(edge_tol, "edge_tol", above=0)
    if isinstance(system, Box):
        return _in_box(system, on_box(system, phi), "finite system", asked, tol, progress)
    middle = site_of(centre, system.dim)
    if isinstance(box, str) and box != "adaptive":
        raise UsageError(f"there is no box {box!r} for averages; give 'adaptive' or a number of sites")
    parts = supports(phi, middle)
    width = max(int(np.abs(s).max()) for s, _ in parts)
    reach = max(64, 4 * system.hopping.range) + width if isinstance(box, str) else box
    while True:
        made = system.box(reach, middle)
        if method == "eig" and made.size > MOST_DENSE:
            raise UsageError(
                f"the box {made.describe()} has {made.size} sites, too many for method 'eig' (at most {MOST_DENSE}); "
                "use 'quadrature' or 'resolvent', a smaller T or a larger edge_tol"
            )
        states = on_box(made, phi)
        done = _in_box(made, states, "a posteriori", asked, tol, progress)
        share = done.edge_mass / float((np.abs(states) ** 2).sum())
        if share <= allowed:
            return done
        if not isinstance(box, str):
            raise BoxTooSmallError(
                f"the box {made.describe()} is too small: {share:.2g} of the averaged mass is at its edge at T = "
                f"{done.T.max():g}, above {allowed:g}; give a larger box (--box), a smaller T, or average in "
                "the Box itself if it is the system"
            )
        reach *= 2


class _Found(NamedTuple):
    """At one scale: probabilities (N,), the loss ∫ w ‖QAPψ‖² dt, the method's error for ‖φ‖ = 1, and its products."""

    probabilities: Float64[np.ndarray, " N"]
    lost: float
    error: float = 0.0
    products: int = 0


# The average at one scale, told how to report the fraction that is done.
_At = Callable[[float, Callable[[float], None]], _Found]


def _scales(T: Numbers) -> Scales:
    scales = np.atleast_1d(reals(T, "T", finite=False)).ravel()
    if not len(scales) or not ((scales > 1e-100) & (scales < 1e100)).all():
        raise UsageError(f"T is {T}; averages are over times t >= 0 with a finite scale T above 0 (1e-100 to 1e100)")
    return scales


def _in_box(
    box: Box,
    states: Num[np.ndarray, "*batch N"],
    certificate: str,
    given: dict[str, Any],
    tol: float,
    progress: Callable[[float], None] | None,
) -> TimeAverage:
    if states.ndim > 1 or box.potential.ndim > 1:
        raise UsageError("time averages take one state and one theta; loop over a batch")
    asked = dict(given)
    scales, kind, skin = asked["T"], asked["kind"], surface(box)
    at = WAYS[asked["method"]](box, states, kind, tol, skin, float(scales.max()), float(asked["p"].max()))
    watch = Watch(
        f"averages over {box.size:,} sites at {len(scales)} T", "fewer or shorter T are quicker, and as exact"
    )
    if asked["keep"] is None:
        require(8 * len(scales) * box.size, f"probabilities of {box.size:,} sites at {len(scales)} T", "give fewer T")
    # Evolved states cost as their T, the eigenbasis the same at each.
    work = np.cumsum(np.append(0.0, np.ones(len(scales)) if asked["method"] == "eig" else scales))
    keep, kept, parts, edge = asked.pop("keep"), [], [], box.edge()
    moments, mass = np.empty((len(scales), len(asked["p"]))), 0.0
    for i, T in enumerate(scales):
        one = at(float(T), partial(_report, watch, progress, work[i : i + 2], float(work[-1])))
        found = one.probabilities
        if not np.isfinite(found).all():
            raise TenfoldError(f"the average at T = {T:g} left the range of floats; scale the operator down")
        mass = max(mass, float(found[edge].sum())) if len(edge) else mass
        moments[i] = moments_of_probabilities(box, found, asked["p"], asked["norm"])
        kept.append(found if keep is None else np.array(keep(box, found[None, None])[0, 0]))
        parts.append(one._replace(probabilities=np.empty(0)))
    lost = np.array([p.lost for p in parts])
    bound, scale = np.zeros(len(scales)), float(np.linalg.norm(states))
    if certificate != "finite system":
        certificate = "estimate" if getattr(box.hopping, "estimated", False) else certificate
        # Rounding leaves something on the surface that no box removes.
        floor = (_ROUNDING * skin.strength * scale) ** 2
        bound = 2 * LOSS[kind] * scales * np.sqrt(np.maximum(lost, 0.0) + floor) * scale
        bound += 2 * scales * box.hopping.tail * scale**2
    rounding = 2 * float(scales.max()) * box.potential_error
    return TimeAverage(
        box=box, **asked, probabilities=np.stack(kept), moments=moments,
        error_bound=scale**2 * (max(p.error for p in parts) + rounding), box_bound=bound, edge_mass=mass,
        certificate=certificate, products=sum(p.products for p in parts),
    )  # fmt: skip


def _report(
    watch: Watch,
    progress: Callable[[float], None] | None,
    work: Float64[np.ndarray, " 2"],
    whole: float,
    fraction: float,
) -> None:
    done = float(work[0] + fraction * (work[1] - work[0]))
    watch(done, whole)
    if progress is not None:
        progress(done / whole)


def transform(kind: str, omega: Float64[np.ndarray, "*shape"], T: float) -> Complex128[np.ndarray, "*shape"]:
    """Ŵ(ω) = ∫₀^∞ w(t) e^{−iωt} dt."""
    if kind == "abel":
        return np.asarray(1 / (1 + 0.5j * omega * T))
    if kind == "cesaro":
        return np.asarray(np.exp(-0.5j * omega * T) * np.sinc(omega * T / (2 * np.pi)))
    return np.asarray(wofz(-0.5 * omega * T), dtype=np.complex128)


def _by_eigenbasis(
    box: Box, state: Num[np.ndarray, " N"], kind: str, tol: float, skin: Surface, longest: float, p: float
) -> _At:
    """One diagonalisation, then one matrix product a scale.

    Twice the error of the states bounds that of the probabilities; it grows no faster than the time, whose average is
    below T for each weight."""
    require(6 * 16 * box.size**2, f"the eigenbasis of {box.size} sites")
    spectral = diagonalise(box)
    amplitude = spectral.vectors * spectral.coefficients(state)
    omega = spectral.energies[:, None] - spectral.energies[None, :]
    outside = skin.out @ amplitude[skin.edge]
    gram = outside.conj().T @ outside
    error = rounding_of(box, spectral, state[None], min(longest, 1e30), tol)
    error = 2 * min(error, 1.0)  # no two probabilities differ by more

    def at(T: float, report: Callable[[float], None]) -> _Found:
        weight = transform(kind, omega, T)
        # gram_jk carries e^{i(E_j − E_k)t}: the conjugate of what the weight was transformed with.
        lost = float(np.real((gram * np.conj(weight)).sum()))
        if np.iscomplexobj(amplitude):
            found = np.real(((amplitude @ weight) * np.conj(amplitude)).sum(1))
        else:
            found = ((amplitude @ weight.real) * amplitude).sum(1)
        report(1.0)
        return _Found(np.maximum(found, 0.0), lost, error)

    return at


def eigenbasis_moments(
    box: Box, state: Initial, scales: Numbers, p: Numbers, kind: str = "abel", norm: str = "linf"
) -> Float64[np.ndarray, "T p"]:
    """Moments (len(T), len(p)) in O(N²) a scale, through M_jk = Σ_n |n|^p conj(U_nj) U_nk: for many T."""
    state, scales = on_box(box, state), _scales(scales)
    if state.ndim > 1 or box.potential.ndim > 1:
        raise UsageError("time averages take one state and one theta; loop over a batch")
    choice(kind, "average", WEIGHTS)
    require(6 * 16 * box.size**2, f"the eigenbasis of {box.size} sites")
    spectral = diagonalise(box)
    c = spectral.coefficients(state)
    omega = spectral.energies[None, :] - spectral.energies[:, None]
    distance = box.distance(norm)
    exponents = powers(p)
    found = np.empty((len(scales), len(exponents)))
    for j, exponent in enumerate(exponents):
        gram = np.conj(spectral.vectors.T * distance**exponent) @ spectral.vectors
        gram = gram * np.conj(c)[:, None] * c[None, :]
        for i, T in enumerate(scales):
            found[i, j] = np.real((gram * transform(kind, omega, float(T))).sum())
    return found


def _by_resolvent(
    box: Box, state: Num[np.ndarray, " N"], kind: str, tol: float, skin: Surface, longest: float, p: float
) -> _At:
    """By Parseval, with a bound on the error of the midpoint rule.

    With E = c + g tan x, g² = h² + 1/T², the integral is over one period of an analytic function of x. Its poles,
    E = λ ± i/T with |λ − c| ≤ h, are at least δ = ½ arsinh(1/(h T)) away from the real axis: its Fourier coefficients
    fall as r^{|k|}, r = e^{−2δ}, and n midpoints err by at most 2 rⁿ/(1 − rⁿ) in Σ_n of the probabilities."""
    h, c = max(box.interval.half_width, 1e-12), box.interval.centre
    solve = solver(box, state)

    def at(T: float, report: Callable[[float], None]) -> _Found:
        decay, g = asinh(1 / (h * T)), hypot(h, 1 / T)
        count = int(np.ceil(log(2 / tol) / decay)) + 1 if decay * _MOST_NODES > 1 else 2 * _MOST_NODES
        if count > _MOST_NODES:
            raise UsageError(
                f"the resolvent average at T = {T:g} needs {count:.2g} energies, more than {_MOST_NODES:.2g}; "
                "use 'eig' or a smaller T"
            )
        x = (np.arange(count) + 0.5) * pi / count - pi / 2
        energies, weights = c + g * np.tan(x), g / np.cos(x) ** 2 * (pi / count) / (pi * T)
        total, lost, some = np.zeros(box.size), 0.0, max(1, min(256, (1 << 22) // box.size))
        for first in range(0, count, some):
            part = slice(first, min(first + some, count))
            columns = solve(energies[part] + 1j / T)
            total += weights[part] @ (columns.real**2 + columns.imag**2)
            if len(skin.edge):
                lost += float(weights[part] @ skin.loss(columns[:, skin.edge]))
            report(part.stop / count)
        rounding = 8 * EPS * (8 + T * max(abs(box.interval.low), abs(box.interval.high)))
        return _Found(total, lost, 2 / expm1(count * decay) + rounding)

    return at


def _by_quadrature(
    box: Box, state: Num[np.ndarray, " N"], kind: str, tol: float, skin: Surface, longest: float, p: float
) -> _At:
    """Averages of evolved states, with an error bound (gaussian: an estimate).

    |ψ_n(t)|² is entire of exponential type 2h, and the weights are analytic: Gauss-Legendre nodes on panels, to the
    horizon beyond which the weight of a ballistic moment, (t/T)^p w(t), integrates to less than ``tol``; panels are no
    longer than T, so that the weight is resolved with the state."""
    h = max(box.interval.half_width, 1e-300)
    y = log(4 / tol)
    for _ in range(30):  # y = log 4/tol + p log(1 + y), the weight's exponent at the horizon
        y = log(4 / tol) + p * log1p(y)
    ends = {"abel": 0.5 * y, "cesaro": 1.0, "gaussian": sqrt(y)}

    def at(T: float, report: Callable[[float], None]) -> _Found:
        horizon = ends[kind] * T
        count = max(1, int(np.ceil(max(horizon * h / (0.2 * LONGEST_PROBED), horizon / T))))
        length = horizon / count
        s, weights, error = nodes(h + 2 / T, length)
        check_cost(box, np.array([horizon]), 1)
        require(2 * len(s) * box.size * 16, f"states of {box.size:,} sites at {len(s)} nodes")
        total, current, lost, products, remainder = np.zeros(box.size), state[None], 0.0, 0, 0.0
        for number in range(count):
            panel = run_panel(box, current, 0.0, length, s, 0, 0.25 * tol / count, None)
            found = panel.states[:, 0]
            share = weights * weight(kind, number * length + s, T)
            total += share @ (found.real**2 + found.imag**2)
            lost += float(share @ skin.loss(found[:, skin.edge])) if len(skin.edge) else 0.0
            current = panel.last
            products, remainder = products + panel.products, remainder + panel.remainder
            report((number + 1) / count)
        horizon_error = 0.0 if kind == "cesaro" else exp(-y)
        turns = horizon * max(abs(box.interval.low), abs(box.interval.high))
        rounding = 8 * EPS * (max(products, turns) + 8 * count)
        return _Found(total, lost, 2 * remainder + error * 2 / T * count + horizon_error + rounding, products)

    return at


WAYS = {"eig": _by_eigenbasis, "resolvent": _by_resolvent, "quadrature": _by_quadrature}


def weight(kind: str, t: Float64[np.ndarray, "*t"], T: float) -> Float64[np.ndarray, "*t"]:
    """w(t) of an average."""
    if kind == "abel":
        return 2 / T * np.exp(-2 * t / T)
    return np.full_like(t, 1 / T) if kind == "cesaro" else 2 / (sqrt(pi) * T) * np.exp(-((t / T) ** 2))
