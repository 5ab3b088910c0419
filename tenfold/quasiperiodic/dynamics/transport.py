"""Transport exponents and logarithmic growth from ⟨|X|^p⟩(t), with intervals and a comparison of models.

power law:  log⟨|X|^p⟩ = p β log t + c        (β(p): 1 ballistic, ½ diffusive, 0 localised)
log power:  log⟨|X|^p⟩ = p σ log log t + c
bounded:    log⟨|X|^p⟩ = c
"""

from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtrit
from scipy.stats import linregress

from tenfold.errors import UsageError
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import Numbers, real, reals
from tenfold.shifts.costs import Watch

_LEAST_POINTS = 4
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class FittedLine:
    """A least-squares line: slope with an interval of ``confidence``, intercept, residual sum of squares.

    The interval is Student's with the Newey-West standard error (Bartlett weights, lag ⌊4 (n/100)^{2/9}⌋ + 1), as
    moments at successive times are correlated."""

    slope: float
    standard_error: float
    interval: tuple[float, float]
    intercept: float
    residual: float
    points: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return facts(self, "slope standard_error interval intercept points")


@dataclass(frozen=True)
class Transport:
    """What a curve of moments says.

    ``beta`` is the least-squares exponent over the window, ``beta_plus`` and ``beta_minus`` the largest and smallest
    slope of ``local`` (centres of the windows, slopes/p), ``sigma`` the log-power fit. ``aic`` holds AICc (with
    least-squares likelihoods of log moments) of the three models, ``preferred`` the smallest. A finite window shows a
    trend; none of these is a limit."""

    p: float
    window: tuple[float, float]
    beta: FittedLine
    beta_plus: float
    beta_minus: float
    local: tuple[Float64[np.ndarray, " windows"], Float64[np.ndarray, " windows"]]
    sigma: FittedLine
    aic: dict[str, float]
    preferred: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        conventions = {
            "beta": "slope of log<|X|^p> against p log t",
            "sigma": "slope of log<|X|^p> against p log log t",
            "local": "least-squares slopes over sliding half decades (4 points or more)",
            "interval": "95 %, Newey-West standard error",
            "aic": "AICc, Gaussian errors of log<|X|^p>",
        }
        lines = {"beta": self.beta.to_dict(), "sigma": self.sigma.to_dict()}
        return facts(self, "p window beta_plus beta_minus aic preferred", **lines, conventions=conventions)


def transport_exponents(
    times: Numbers, moments: Numbers, p: Numbers = 2.0, window: tuple[Numbers, Numbers] | None = None
) -> Transport:
    """Fit moments ⟨|X|^p⟩ at ``times`` within ``window`` (all times by default).

    Raises UsageError for fewer than 4 times, a window of less than one decade, times ≤ 1 (log log t), moments that are
    not positive, or p ≤ 0."""
    t, m = (reals(a, name, finite=False).ravel() for a, name in ((times, "a time"), (moments, "a moment")))
    p = real(p, "p", below=1e100)
    if not np.isfinite(t).all():
        raise UsageError("a time is not finite; give finite numbers")
    if len(t) != len(m):
        raise UsageError(f"{len(t)} times need as many moments, not {len(m)}")
    if not p > 1e-100:
        raise UsageError(f"p is {p:g}; moments are defined for p above 0")
    if window is not None:
        window = (real(window[0], "the window's start"), real(window[1], "the window's end"))
    low, high = window or (float(t.min(initial=np.inf)), float(t.max(initial=0.0)))
    keep = (t >= low) & (t <= high)
    t, m = t[keep], m[keep]
    order = np.argsort(t, kind="stable")
    t, m = t[order], m[order]
    if len(t) < _LEAST_POINTS or t[0] <= 0 or t[-1] < 10 * t[0] * (1 - 1e-12):
        found = f"[{t[0]:g}, {t[-1]:g}]" if len(t) else "an empty window"
        raise UsageError(f"an exponent needs 4 times over a decade or more, not {len(t)} in {found}; widen the window")
    if t[0] <= 1:
        raise UsageError(f"the window starts at t = {t[0]:g}; log log t needs times above 1")
    if not (np.isfinite(m).all() and (m > 0).all()):
        raise UsageError("a moment is not positive and finite; exponents are fitted to logarithms")
    if (np.diff(t) == 0).any():
        raise UsageError(f"the time {t[1:][np.diff(t) == 0][0]:g} occurs twice; give each time once")
    y, x = np.log(m) / p, np.log(t)
    beta, sigma = line(x, y), line(np.log(x), y)
    centres, slopes = local_slopes(x, y)
    n = len(t)
    residuals = {"power law": (beta.residual, 3), "log power": (sigma.residual, 3), "bounded": (n * float(y.var()), 2)}
    aic = {name: _aicc(residual, n, k) for name, (residual, k) in residuals.items()}
    best = min(aic, key=lambda name: aic[name])
    span, local = (float(t[0]), float(t[-1])), (np.exp(centres), slopes)
    return Transport(float(p), span, beta, float(slopes.max()), float(slopes.min()), local, sigma, aic, best)


def line(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> FittedLine:
    """Least squares of y on x, n ≥ 3."""
    n, centred = len(x), x - x.mean()
    slope, intercept = (float(v) for v in linregress(x, y)[:2])
    rest = y - slope * x - intercept
    scores = centred * rest
    lag = int(4 * (n / 100) ** (2 / 9)) + 1
    meat = float((scores**2).sum())
    for k in range(1, min(lag, n - 1) + 1):
        meat += 2 * (1 - k / (lag + 1)) * float((scores[k:] * scores[:-k]).sum())
    error = float(np.sqrt(max(meat, 0.0) * n / max(n - 2, 1)) / (centred**2).sum())
    half = float(stdtrit(max(n - 2, 1), 0.5 + _CONFIDENCE / 2)) * error
    return FittedLine(slope, error, (slope - half, slope + half), intercept, float((rest**2).sum()), n)


def local_slopes(
    x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"], width: float = 0.5 * log(10)
) -> tuple[Float64[np.ndarray, " windows"], Float64[np.ndarray, " windows"]]:
    """Least-squares slopes over sliding windows of ``width`` in x, at least 4 points each: centres and slopes."""
    centres, slopes = [], []
    watch = Watch(f"slopes over {len(x)} windows", "fewer times are quicker, and the fit of all is hardly another")
    for first in range(len(x)):
        watch(first, len(x))
        last = max(int(np.searchsorted(x, x[first] + width * (1 + 1e-12), side="right")), first + _LEAST_POINTS)
        if last > len(x):
            break
        centres.append(float(x[first:last].mean()))
        away = x[first:last] - centres[-1]
        slopes.append(float(away @ y[first:last] / (away @ away)))
    return np.array(centres), np.array(slopes)


def _aicc(residual: float, n: int, k: int) -> float:
    # k counts the variance too; exact fits are kept finite.
    fit = n * log(max(residual, 1e-300) / n)
    return fit + 2 * k + (2 * k * (k + 1) / (n - k - 1) if n > k + 1 else 0.0)
