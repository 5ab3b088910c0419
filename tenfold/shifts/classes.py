"""Diophantine classes: estimates, certificates up to a given N, and Khintchine's transference.

DC(κ, τ): ‖k · α‖ ≥ κ / |k|_∞^τ for all 0 ≠ k in Z^b.  WDC(κ, τ): ‖n α‖ ≥ κ / n^τ for all n ≥ 1.
A finite computation proves neither; it can refute them, or certify them for n ≤ N.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.shifts.diophantine import Records, best_dual, best_simultaneous
from tenfold.shifts.frequency import Frequency


@dataclass(frozen=True)
class DiophantineEstimate:
    """A class that the records in a range are consistent with; no proof beyond it.

    ``tau_fit`` and ``kappa_fit`` are least squares of log distance on log size over the records; ``tau`` is that of
    the records on the lower convex envelope alone, and ``kappa`` the largest constant with distance ≥ κ / size^τ over
    the range at that τ. ``almost_every`` is the τ of almost every α (b or 1/b)."""

    kind: str
    tau_fit: float
    kappa_fit: float
    tau: float
    kappa: float
    almost_every: float
    low: int
    high: int
    records: int

    def __str__(self) -> str:
        name = "DC" if self.kind == "dual" else "WDC"
        return (
            f"consistent with {name}(κ = {self.kappa:.3g}, τ = {self.tau:.3f}) for sizes {self.low} … {self.high} "
            f"({self.records} records; least squares τ = {self.tau_fit:.3f})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**self.__dict__, "statement": str(self), "range_inclusive": True}


@read_arguments
def estimate_dc(alpha: Any, kind: str, limit: int, low: int = 1) -> DiophantineEstimate:
    """Exponent and constant that the best approximations of sizes ``low`` … ``limit`` are consistent with.

    Raises UsageError for an unknown kind, fewer than three records, or a distance of 0 (a rational relation)."""
    if kind not in ("dual", "simultaneous"):
        raise UsageError(f"kind is {kind!r}; expected 'dual' or 'simultaneous'")
    found: Records = best_dual(alpha, limit) if kind == "dual" else best_simultaneous(alpha, limit)
    kept = [(s, d) for s, d in zip(found.sizes, found.distances, strict=True) if s >= low]
    if any(d == 0 for _, d in kept):
        size = next(s for s, d in kept if d == 0)
        raise UsageError(f"the distance is 0 at size {size}: {found.frequency} has a relation and no exponent")
    if len(kept) < 3:
        raise UsageError(f"sizes {low} … {limit} hold {len(kept)} records; an estimate needs 3, widen the range")
    x = np.array([_log(Fraction(s)) for s, _ in kept])
    y = np.array([_log(d) for _, d in kept])
    slope, intercept = np.polyfit(x, y, 1)
    lower = _envelope(x, y)
    tau = -float(np.polyfit(x[lower], y[lower], 1)[0])
    kappa = float(np.exp((y + tau * x).min()))
    b = Frequency.of(alpha).dim
    return DiophantineEstimate(
        kind, float(-slope), float(np.exp(intercept)), tau, kappa, b if kind == "dual" else 1 / b, low, limit, len(kept)
    )


@dataclass(frozen=True)
class WdcCertificate:
    """Whether ‖n α‖ ≥ κ / n^τ for all 1 ≤ n ≤ N. ``closest`` is the record with the least ‖n α‖ n^τ and ``constant``
    that product, so that WDC(constant, τ) holds up to N; ``violation`` the first n that breaks it, or None."""

    holds: bool
    kappa: float
    tau: float
    limit: int
    constant: float
    closest: int
    violation: int | None
    records: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.holds

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**self.__dict__, "records": list(self.records), "range": [1, self.limit], "range_inclusive": True}


@read_arguments
def certify_wdc(alpha: Any, kappa: float, tau: float, limit: int) -> WdcCertificate:
    """Check ‖n α‖ ≥ κ / n^τ for every 1 ≤ n ≤ ``limit``.

    It is enough to look at the records: between two, ‖n α‖ is at least the earlier one and κ / n^τ only smaller.
    Distances are exact up to the rounding of α, which is subtracted; powers are taken to 60 digits.

    >>> bool(certify_wdc("golden", 0.38, 1, 10**12)), certify_wdc("golden", 0.4, 1, 100).violation
    (True, 1)
    """
    if not kappa > 0 or not tau > 0:
        raise UsageError(f"kappa is {kappa} and tau {tau}; expected positive numbers")
    found = best_simultaneous(alpha, limit)
    products = []
    with localcontext() as context:
        context.prec = 60
        for n, d in zip(found.sizes, found.distances, strict=True):
            low = max(d - found.error, Fraction(0))
            products.append(Decimal(low.numerator) / Decimal(low.denominator) * Decimal(n) ** Decimal(str(tau)))
        bad = [n for n, p in zip(found.sizes, products, strict=True) if p < Decimal(str(kappa))]
    best = min(range(len(products)), key=products.__getitem__)
    # As a float that is not above it, so that the class holds with this constant too.
    constant = float(products[best])
    constant = math.nextafter(constant, 0.0) if Decimal(constant) > products[best] else constant
    return WdcCertificate(
        not bad, kappa, tau, limit, constant, found.sizes[best],
        bad[0] if bad else None, found.sizes,
    )  # fmt: skip


@read_arguments
def khintchine_transfer(b: int, dual: float | None = None, simultaneous: float | None = None) -> tuple[float, float]:
    """The interval of the other exponent, by Khintchine's transference for the exponents w (dual) and v
    (simultaneous) of one α in T^b:  w / ((b − 1) w + b) ≤ v ≤ (w − b + 1) / b.

    Give exactly one: from w the interval of v, from v that of w (upper end inf where (b − 1) v ≥ 1).

    >>> khintchine_transfer(2, dual=2.0), khintchine_transfer(2, simultaneous=0.5)
    ((0.5, 0.5), (2.0, 2.0))
    """
    if b < 1:
        raise UsageError(f"b is {b}; expected at least 1")
    if (dual is None) == (simultaneous is None):
        raise UsageError("give exactly one of dual and simultaneous")
    if dual is not None:
        if dual < b:
            raise UsageError(f"the dual exponent is {dual}; Dirichlet's theorem makes it at least b = {b}")
        return dual / ((b - 1) * dual + b), (dual - b + 1) / b
    assert simultaneous is not None
    v = simultaneous
    if v < 1 / b:
        raise UsageError(f"the simultaneous exponent is {v}; Dirichlet's theorem makes it at least 1/b = {1 / b:.4g}")
    high = b * v / (1 - (b - 1) * v) if (b - 1) * v < 1 else float("inf")
    return b * v + b - 1, high


def _envelope(x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " n"]) -> list[int]:
    """Indices of the lower convex hull of points with increasing x."""
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (y[b] - y[a]) * (x[i] - x[a]) >= (y[i] - y[a]) * (x[b] - x[a]):
                hull.pop()
            else:
                break
        hull.append(i)
    return hull


def _log(value: Fraction) -> float:
    with localcontext() as context:
        context.prec = 40
        return float((Decimal(value.numerator) / Decimal(value.denominator)).ln())
