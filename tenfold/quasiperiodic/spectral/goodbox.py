"""Good boxes: Green's functions that are not too large and decay, over a grid of θ; and determinants on that grid."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import Numbers, Whole, real, reals, whole
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel
from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.quasiperiodic.operators.potentials import TrigPolynomial
from tenfold.quasiperiodic.operators.windows import NORMS
from tenfold.shifts.costs import Watch, foresee, hopeless, require

_MOST = 2000
_SOME = 300  # sites of a box whose test is a short measurement
_PIECE = 1 << 14  # sites between two looks at the clock
_TOGETHER = 1 << 22  # values of the potential that are held together


@dataclass(frozen=True)
class GoodBox:
    """Whether a box of side N is good at energy E: ‖G‖ ≤ e^{N^s}, and |G(n, m)| ≤ e^{−c|n−m|∞} for |n − m|∞ ≥ N/10.

    ``rate`` is the largest c for which the second condition holds."""

    good: bool
    norm: float
    norm_bound: float
    rate: float
    wanted_rate: float
    energy: float
    side: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        convention = "||G|| <= exp(side^s) and |G(n,m)| <= exp(-c |n-m|_inf) for |n-m|_inf >= side/10"
        return facts(self, "good norm norm_bound rate wanted_rate energy side", convention=convention)


def good_box(box: Box, energy: Numbers, rate: Numbers, s: Numbers) -> GoodBox:
    """Test an open box at a real energy; G = (H − E)^{−1} by dense inversion (N ≤ 2000 sites).

    Raises UsageError unless 0 < s < 1 and rate > 0."""
    energy, rate, s = real(energy, "the energy"), real(rate, "the rate"), real(s, "s")
    if not (0 < s < 1 and rate > 0):
        raise UsageError(
            f"a good box needs 0 < s < 1, a rate above 0 and a finite energy, not {s:g}, {rate:g}, {energy:g}"
        )
    if box.size > _MOST:
        raise UsageError(f"the good-box test inverts a dense matrix; {box.size} sites are more than {_MOST}")
    box.single_potential()
    require(64 * box.size**2, f"the inverse of {box.size:,} sites")
    side = max(box.shape)
    bound = exp(min(side**s, 700.0))
    try:
        green = np.linalg.inv(box.dense(energy))
    except np.linalg.LinAlgError:
        return GoodBox(False, float("inf"), bound, -float("inf"), rate, energy, side)
    norm = float(np.linalg.norm(green, 2))
    distance = NORMS["linf"](box.sites[:, None] - box.sites)
    far = (distance >= side / 10) & (distance > 0)
    with np.errstate(divide="ignore"):
        found = float((-np.log(np.abs(green[far])) / distance[far]).min(initial=np.inf))
    return GoodBox(norm <= bound and found >= rate, norm, bound, found, rate, energy, side)


@dataclass(frozen=True)
class ThetaScan:
    """Good-box tests over θ: ``theta`` in rows, and ``good``, ``norms``, ``rates`` of each.

    ``bad_fraction`` is the fraction of the grid that is bad: an empirical measure and no bound."""

    theta: Float64[np.ndarray, "k b"]
    good: Bool[np.ndarray, " k"]
    norms: Float64[np.ndarray, " k"]
    rates: Float64[np.ndarray, " k"]
    side: int

    @property
    def bad_fraction(self) -> float:
        """The fraction of the θ that are bad."""
        return float(1 - self.good.mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return facts(
            self, "bad_fraction side",
            points=len(self.theta), bad_theta=self.theta[~self.good],
            largest_norm=self.norms.max(), smallest_rate=self.rates.min(),
        )  # fmt: skip


def theta_scan(
    operator: LongRange,
    reach: Whole,
    energy: Numbers,
    theta: Numbers,
    rate: Numbers,
    s: Numbers,
    progress: Callable[[float], None] | None = None,
) -> ThetaScan:
    """``good_box`` of |n| ≤ reach at every row of ``theta`` (k, b)."""
    rows, found, reach = _rows(theta), [], whole(reach, "the box's reach", 0)
    what = f"{len(rows):,} boxes of reach {reach}"
    cheaper = "fewer theta are quicker, and the fraction rougher by 1/sqrt of them"
    watch, sites = Watch(what, cheaper), min((2 * reach + 1) ** operator.dim, _MOST)
    few = operator.at(rows[0].tolist()).box(min(reach, round(_SOME ** (1 / operator.dim) / 2)))
    foresee(lambda _: good_box(few, energy, rate, s), sites, 3, what, cheaper, few.size, len(rows))
    for i, row in enumerate(rows):
        one = good_box(operator.at(row.tolist()).box(reach), energy, rate, s)
        found.append((one.good, one.norm, one.rate))
        if sites <= few.size:
            watch(i + 1, len(rows))
        if progress is not None:
            progress((i + 1) / len(rows))
    good, norms, rates = (np.array(values) for values in zip(*found, strict=True))
    return ThetaScan(rows, good, norms, rates, 2 * reach + 1)


@dataclass(frozen=True)
class DeterminantScan:
    """log|det(H_M(θ) − E)| and its sign over a grid of θ (k, b), M = ``side`` sites.

    ``below(level)`` marks |det| < e^{level}. For a trigonometric potential the determinant is a trigonometric
    polynomial in θ of degree at most ``degree`` (side times the potential's), so that a sublevel set is semi-algebraic
    in the cosines and sines of θ; None for other potentials."""

    theta: Float64[np.ndarray, "k b"]
    log_abs: Float64[np.ndarray, " k"]
    sign: Float64[np.ndarray, " k"]
    energy: float
    side: int
    degree: int | None

    def below(self, level: float) -> Bool[np.ndarray, " k"]:
        """Which θ have |det| < e^{level}."""
        return self.log_abs < level

    def sublevel(self, s: float) -> dict[str, Any]:
        """{|det| < e^{−side^s}}: its mask over the grid, the fraction of it, and the level."""
        level = -(float(self.side) ** s)
        mask = self.below(level)
        return {"level": level, "mask": mask, "fraction": float(mask.mean()), "degree": self.degree}

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        spread = {"min": self.log_abs.min(), "mean": self.log_abs.mean(), "max": self.log_abs.max()}
        convention = "log|det(H_M(theta) - E)| of the open box, natural logarithm"
        return facts(
            self, "energy side degree", points=len(self.theta), log_abs=spread, convention=convention
        )  # fmt: skip


def determinant_scan(
    operator: LongRange, side: Whole, energy: Numbers, theta: Numbers, start: Whole = 0
) -> DeterminantScan:
    """Determinants of H − E on the sites start … start + side − 1 (one-dimensional, open), at every row of ``theta``.

    Nearest neighbours by the three-term recursion for all θ at once, rescaled against overflow; longer ranges by
    stacked LU. Raises UsageError in more than one dimension or for side < 1."""
    hopping = operator.hopping
    side, energy, start = whole(side, "side"), real(energy, "the energy"), whole(start, "start")
    if operator.dim != 1 or side < 1:
        raise UsageError(
            f"determinants need an open chain of at least one site and a finite energy, not {side} sites on "
            f"Z^{operator.dim}"
        )
    rows = _rows(theta)
    potential = operator.potential
    degree = side * potential.degree if isinstance(potential, TrigPolynomial) else None
    strength, moved, many = _neighbours(hopping), operator.at(rows.tolist()), len(rows)
    told = f"determinants of {side:,} sites at {many:,} theta", "fewer theta are quicker, on a coarser grid"
    hopeless(1e3 * side, *told)  # a microsecond each
    watch = Watch(*told)
    if strength is not None:
        count = min(side, max(1, _TOGETHER // many), _PIECE)
        require(64 * many * count, f"determinants at {many:,} theta", "give fewer theta")
        chain = Determinants(many, strength)
        for first in range(0, side, count):
            chain.extend(moved.values([start + first], [min(count, side - first)]) - energy)
            watch(first + count, side)
        return DeterminantScan(rows, chain.log_abs, chain.sign, energy, side, degree)
    log_abs, sign = np.empty(many), np.empty(many)
    count = max(1, 4 * _TOGETHER // side**2)
    require(64 * min(count, many) * side**2, f"determinants of {side:,} sites")
    for first in range(0, many, count):
        part = slice(first, first + count)
        values = operator.at(rows[part].tolist()).values([start], [side]) - energy
        matrices = Box(hopping, (start,), (side,), "open", operator, (start,), values).dense()
        signs, log_abs[part] = np.linalg.slogdet(matrices)
        sign[part] = np.real(signs)
        watch(first + count, many)
    return DeterminantScan(rows, log_abs, sign, energy, side, degree)


def _neighbours(hopping: Hopping | Kernel) -> float | None:
    """|a|² of a hopping to nearest neighbours (0 without any), None for others."""
    if isinstance(hopping, Kernel) or hopping.range > 1 or hopping.coefs[~hopping.offsets.any(1)].any():
        return None
    return float(np.abs(hopping.coefs).max()) ** 2 if hopping.range else 0.0


class Determinants:
    """log|D_k| and the sign of D_k by D_k = (V_k − E) D_{k−1} − |a|² D_{k−2}, for many chains at once, rescaled against
    overflow; ``strength`` is |a|²."""

    def __init__(self, many: int, strength: float) -> None:
        self._before, self._now, self._scale, self._strength = np.zeros(many), np.ones(many), np.zeros(many), strength

    def extend(self, values: Float64[np.ndarray, "many sites"]) -> None:
        """Go on by sites with V − E = ``values``."""
        before, now = self._before, self._now
        for k in range(values.shape[1]):
            before, now = now, values[:, k] * now - self._strength * before
            size = np.maximum(np.abs(now), np.abs(before))
            if not (size.max() < 1e100 and size.min() > 1e-100):
                if not np.isfinite(size).all():
                    raise TenfoldError(
                        "a determinant leaves the range of floats; scale the operator and the energy down"
                    )
                size[size == 0] = 1.0
                before, now = before / size, now / size
                self._scale += np.log(size)
        self._before, self._now = before, now

    @property
    def log_abs(self) -> Float64[np.ndarray, " many"]:
        """log|D|."""
        with np.errstate(divide="ignore"):
            return np.log(np.abs(self._now)) + self._scale

    @property
    def sign(self) -> Float64[np.ndarray, " many"]:
        """The sign of D."""
        return np.sign(self._now)


def theta_grid(points: Whole, torus: Whole = 1) -> Float64[np.ndarray, "k {torus}"]:
    """The grid (i + ½)/points in each of ``torus`` coordinates, (points^torus, torus)."""
    points, torus = whole(points, "points"), whole(torus, "torus", 1, 16)
    if points < 1:
        raise UsageError(f"a grid of {points} points is empty; give at least 1")
    require(24 * torus * points**torus, f"a grid of {points}^{torus} theta")
    axis = (np.arange(points) + 0.5) / points
    return np.stack(np.meshgrid(*[axis] * torus, indexing="ij"), -1).reshape(-1, torus)


def _rows(theta: Numbers) -> Float64[np.ndarray, "k b"]:
    rows = reals(theta, "theta", finite=False)
    rows = rows[:, None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or not rows.size or not np.isfinite(rows).all():
        raise UsageError(f"theta has shape {np.shape(theta)}; give rows of phases (k, b), finite")
    return rows


def determinant_of(
    operator: LongRange, side: Whole, energy: Numbers, start: Whole = 0
) -> Callable[[Numbers], tuple[np.ndarray, np.ndarray]]:
    """θ ↦ (sign, log|det|) of ``determinant_scan``, for rows of θ (k,) or (k, b): what bad sets are searched with."""

    def determinant(theta: Numbers) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        if not len(theta):
            return np.empty(0), np.empty(0)
        scan = determinant_scan(operator, side, energy, theta, start)
        return scan.sign, scan.log_abs

    return determinant
