"""How far a wave packet can have travelled: a-priori bounds for every real potential, and certified boxes.

With e^{μ n_j} as a weight, H becomes H_μ whose anti-Hermitian part has the norm S_j(μ) = sup_k |Σ_m a_m sinh(μ m_j)
e^{ik·m}|, whatever the real potential is. Hence, for t ≥ 0 and W± = ‖e^{±μ n_j} φ‖,

    Σ_n e^{±2μ n_j} |ψ_n(t)|² ≤ W±² e^{2 t S_j(μ)}.                                     (front)

All bounds here follow from (front); they are derived in docs/quasiperiodic.md. ψ_L is the evolution in the box.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import exp, inf, isfinite, log, pi, sqrt
from typing import Any

import numpy as np
from jaxtyping import Float64, Inexact, Int64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import LARGEST, Numbers, Whole, real, whole
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel, transform
from tenfold.quasiperiodic.operators.intervals import grid
from tenfold.quasiperiodic.operators.states import Support

_GRID = 200
_MOST_POINTS = 1 << 16


def symbol_sup(offsets: Int64[np.ndarray, "r d"], coefs: Inexact[np.ndarray, " r"]) -> float:
    """An upper bound of sup_k |Σ_m c_m e^{ik·m}|: the maximum over a grid, enlarged by Bernstein's inequality, or
    Σ|c_m| where that is less.

    At the supremum M the gradient of |f| vanishes, and a grid point is within π/G_j along each axis, so that
    |f| ≥ M (1 − (Σ_j π R_j/G_j)²/2) there."""
    offsets, coefs = offsets[coefs != 0], coefs[coefs != 0]
    plain = float(np.abs(coefs).sum())
    if len(coefs) <= 2:
        return plain  # two waves are in phase somewhere
    radius = np.abs(offsets).max(0, initial=0)
    points = grid(radius.tolist(), 64, _MOST_POINTS)
    gap = sum(pi * r / g for r, g in zip(radius, points, strict=True))
    if gap >= 1:
        return plain
    highest = float(np.abs(transform(offsets, coefs, points)).max())
    # The transform's own rounding: a few units in the last place of Σ|c_m|.
    return min(plain, highest / (1 - gap**2 / 2) + 1e-14 * plain)


def growth(hopping: Hopping | Kernel, mu: Numbers, axis: int = 0) -> float:
    """An upper bound of S_j(μ) along ``axis``. For a kernel, the Schur bound Σ C e^{−c|m|} |sinh(μ m_j)|.

    Raises UsageError for μ outside (0, ρ): the untruncated hopping's weighted sum diverges there."""
    mu = real(mu, "mu")
    if not 0 < mu < hopping.rho:
        limit = f"below the hopping's decay rate {hopping.rho:g}" if isfinite(hopping.rho) else "positive"
        raise UsageError(f"mu is {mu:g}; the front bound needs it {limit}")
    if mu * hopping.radius[axis] > 700:
        raise UsageError(f"mu is {mu:g}; e^(mu R) leaves the range of floats for the hopping's range")
    weights = np.sinh(mu * hopping.offsets[:, axis])
    if isinstance(hopping, Kernel):
        return float((hopping.envelope * np.abs(weights)).sum())
    return symbol_sup(hopping.offsets, hopping.coefs * weights)


def coupling(hopping: Hopping | Kernel) -> float:
    """An upper bound of the norm of the hopping's off-diagonal part: what couples a box to its outside."""
    off = np.abs(hopping.offsets).sum(1) > 0
    if isinstance(hopping, Kernel):
        return float(hopping.envelope[off].sum())
    return symbol_sup(hopping.offsets[off], hopping.coefs[off]) if off.any() else 0.0


@dataclass(frozen=True)
class Front:
    """S_j(μ) of one axis at several μ, with ‖PAQ‖'s bound: what boxes and truncation bounds are computed from."""

    hopping: Hopping | Kernel
    axis: int
    mu: Float64[np.ndarray, " mu"]
    growth: Float64[np.ndarray, " mu"]
    coupling: float

    def zoom(self, at: int) -> "Front":
        """Forty further values of μ between the neighbours of ``mu[at]``."""
        mu = np.geomspace(self.mu[max(at - 1, 0)], self.mu[min(at + 1, len(self.mu) - 1)], 40)
        table = np.array([growth(self.hopping, m, self.axis) for m in mu])
        return replace(self, mu=mu, growth=np.maximum(table, 1e-300))

    def least(self, value: Callable[["Front"], Float64[np.ndarray, " mu"]]) -> tuple[float, float]:
        """The least ``value`` over μ, first on the table and then between its neighbours, and S_j(μ) there."""
        near = self.zoom(int(np.argmin(value(self))))
        values = value(near)
        return float(values.min()), float(near.growth[int(np.argmin(values))])

    def weights(self, phi: Support) -> Float64[np.ndarray, " mu"]:
        """W(μ) = (‖e^{μ n_j} φ‖² + ‖e^{−μ n_j} φ‖²)^{1/2}."""
        with np.errstate(over="ignore"):
            both = 2 * np.cosh(2 * self.mu[:, None] * phi.sites[:, self.axis])
            return np.sqrt(both @ np.abs(phi.amplitudes) ** 2)

    def log_outside(self, time: float, reach: int, phi: Support) -> Float64[np.ndarray, " mu"]:
        """log of W e^{−μ(L+1) + tS}, the bound of (front) on ψ(t) beyond L = ``reach`` on this axis, for each μ."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights(phi)) - self.mu * (reach + 1) + abs(time) * self.growth


def fronts(hopping: Hopping | Kernel) -> list[Front]:
    """S_j(μ) of every axis on 200 points of μ, logarithmic up to 30/R (at most 8), or up to just below ρ."""
    highest = 0.999 * hopping.rho if isfinite(hopping.rho) else min(30.0 / max(hopping.range, 1), 8.0)
    mu = np.geomspace(min(1e-3, highest / 10), highest, _GRID)
    strength = coupling(hopping)
    found = []
    for axis in range(hopping.dim):
        table = np.array([growth(hopping, m, axis) for m in mu])
        found.append(Front(hopping, axis, mu, np.maximum(table, 1e-300), strength))
    return found


def front_radius(hopping: Hopping | Kernel, time: Numbers, tol: Numbers, axis: Whole = 0) -> int:
    """The smallest L with |ψ_n(t)| ≤ tol wherever |n_j| ≥ L, from ψ(0) = δ₀: min over μ of (t S + log 1/tol)/μ.

    >>> from tenfold.quasiperiodic.operators.hopping import nearest_neighbour
    >>> front_radius(nearest_neighbour(), 50.0, 1e-12)
    145
    """
    time, goal = abs(real(time, "the time", above=-LARGEST, below=LARGEST)), -log(real(tol, "tol", above=0, below=1))
    f = fronts(hopping)[whole(axis, "the axis", 0, hopping.dim - 1)]
    return int(np.ceil(f.least(lambda f: (time * f.growth + goal) / f.mu)[0]))


def certified_reach(table: Sequence[Front], time: float, tol: float, phi: Support) -> int:
    """The smallest L, to a site or two in d ≥ 2, for which ``truncation_bound`` of the box [−L, L]^d is at most
    ``tol``."""
    goal = log(tol) - 0.5 * log(len(table))
    lengths = [
        f.least(lambda f: (f.log_outside(time, -1, phi) + _lasting(f.coupling, time, f.growth) - goal) / f.mu)[0]
        for f in table
    ]
    reach = max(1, int(np.ceil(max(lengths))) - 1)
    while truncation_bound(table, time, [reach] * len(table), phi) > tol:
        reach += 1 + reach // 100
    return reach


def truncation_bound(table: Sequence[Front], time: float, reach: Sequence[int], phi: Support) -> float:
    """A bound on ‖ψ(t) − ψ_L(t)‖ for the open box |n_j| ≤ reach_j about the origin of φ's sites; inf where it says
    nothing.

    With a_j = W_j e^{−μ_j(L_j+1)}, ‖Qψ(s)‖ ≤ f(s) = (Σ_j a_j² e^{2sS_j})^{1/2} from (front). By Duhamel ‖Pψ − ψ_L‖ ≤
    ‖PAQ‖ ∫₀ᵗ f(s) ds, and f' ≥ min_j S_j · f makes that at most ‖PAQ‖ f(t) min(t, 1/min_j S_j)."""
    values = [partial(Front.log_outside, time=time, reach=length, phi=phi) for length in reach]
    found = [f.least(value) for f, value in zip(table, values, strict=True)]
    if max(log_bound for log_bound, _ in found) > 1:
        return inf
    outside = sqrt(sum(exp(2 * log_bound) for log_bound, _ in found))
    total = outside * exp(float(_lasting(table[0].coupling, time, min(speed for _, speed in found))))
    # The exponents above are rounded: far less than this.
    return total * (1 + 1e-9) if total < 2 else inf


def _lasting(coupling: float, time: float, speed: Any) -> Any:
    return np.log1p(coupling * np.minimum(abs(time), 1 / speed))


def moment_tail(table: Sequence[Front], time: float, reach: int, phi: Support, p: float, factor: float) -> float:
    """A bound on Σ |n|^p |ψ_n(t)|² over the sites outside the box, for a norm with |n| ≤ factor · |n|∞.

    x^p e^{−2μx} falls beyond x = p/2μ; below it the bound uses the maximum."""
    total = 0.0
    for f in table:
        start = np.maximum(reach + 1, p / (2 * f.mu))
        exponent = p * np.log(factor * start) - 2 * f.mu * start + 2 * abs(time) * f.growth
        least = float((exponent + 2 * np.log(f.weights(phi))).min())
        total += exp(least) if least < 700 else inf
    return total
