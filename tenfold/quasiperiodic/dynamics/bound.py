"""From bad sets to transport: the exponent of a logarithmic bound, with its hypotheses; and a transfer-matrix
diagnostic.

Both are derived here (docs/quasiperiodic.md gives the arguments) and are not statements of a published theorem.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp, inf, log
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import Numbers, Whole, real, whole
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.shifts.costs import Watch


@dataclass(frozen=True)
class TransportBound:
    """⟨|X|^p⟩(T) ≤ C (log T)^{p·distance + ε} under ``hypotheses``: a heuristic on Z, whose counting part is derived.

    ``distance`` is the exponent a in N = M^{a + ε}: how far the next good box of side M can be. ``case`` names the
    class of frequencies; where a concrete M was given, ``good_within`` is N for it and ``reason`` says which case of
    b = 1 holds. The inputs b, q, s are the user's: nothing here checks them."""

    p: float
    distance: float
    case: str
    hypotheses: tuple[str, ...]
    good_within: float | None = None
    reason: str = ""

    @property
    def moment(self) -> float:
        """The exponent p · distance of log T."""
        return self.p * self.distance

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return facts(
            self, "p case hypotheses good_within reason",
            distance_exponent=self.distance, moment_exponent=self.moment, status=STATUS,
        )  # fmt: skip


STATUS = (
    "heuristic: the distance to the next good box is derived in docs/quasiperiodic.md from the hypotheses, the step "
    "from it to moments is not proved there; not a theorem of arXiv 2507.19783"
)


def transport_bound(
    b: Whole,
    q: Numbers,
    s: Numbers,
    *,
    p: Numbers = 2.0,
    tau: Numbers | None = None,
    dual: Numbers | None = None,
    quotients: Sequence[Whole] | None = None,
    side: Numbers | None = None,
) -> TransportBound:
    """The exponent of the logarithmic bound for bad sets of degree ≤ M^q and measure ≤ e^{−M^s} on T^b.

    Args:
        tau: WDC exponent, ‖nα‖ ≥ κ n^{−tau}; almost every frequency (tau → 1/b) without it.
        dual: DC exponent w, ‖k·α‖ ≥ κ|k|^{−w}, turned into tau = (w − b + 1)/b by Khintchine's transference.
        quotients: partial quotients of α (b = 1): every irrational frequency, with ``side`` = M also a concrete N.

    Raises UsageError for inputs outside their range: the counting argument says nothing there."""
    b, q, s, p = whole(b, "b", most=10**6), real(q, "q", below=1e100), real(s, "s"), real(p, "p", below=1e100)
    tau, dual = (None if x is None else real(x, name) for x, name in ((tau, "tau"), (dual, "dual")))
    if b < 1 or not (q > 0 and 0 < s < 1 and p > 0):
        raise UsageError(f"b = {b}, q = {q:g}, s = {s:g}, p = {p:g}: expected b >= 1, q > 0, 0 < s < 1 and p > 0")
    if sum(x is not None for x in (tau, dual, quotients)) > 1:
        raise UsageError("give one of tau, dual and quotients; each names the class of frequencies")
    hypotheses = (
        f"for every box side M the set of theta whose box is not good is semi-algebraic in T^{b} of degree at most "
        f"M^{q:g} and measure at most exp(-M^{s:g}), at every energy E + i/T near the spectrum",
        "the lattice is Z, with a good box on each side of the packet: in Z^d, d >= 2, it can pass round one",
        "boxes that overlap a good box inherit its Green's-function decay (large deviations, resolvent identity), and "
        "the boxes up to there have Green's functions below exp(M)",
        "M is proportional to log T, so that amplitudes beyond the good boxes cost exp(-c M) = T^(-power)",
    )
    if quotients is not None:
        if b != 1:
            raise UsageError(f"quotients belong to one frequency, but b is {b}; give tau or dual")
        terms = _terms(quotients)
        distance, within, reason = (q, None, "") if side is None else _good_within(terms, q, s, side)
        own = (
            "b = 1: the bad set is at most M^q + 1 intervals",
            "log q_(k+1) <= M^s - log 2 for the k with q_k <= 2 M^q + 4 < q_(k+1), at every scale M that is used",
        )
        case = "b = 1, one frequency by its continued fraction"
        return TransportBound(p, distance, case, (*own, *hypotheses), within, reason)
    case = "almost every frequency"
    condition = "||n alpha|| >= kappa n^-(1/b + eps) for all n != 0 (almost every alpha)"
    if dual is not None:
        limit = inf if b == 1 else b - 1 + b / (b - 1)
        if not b <= dual < limit:
            raise UsageError(f"dual is {dual:g}; the argument needs {b} <= w < {limit:g} (w >= b always holds)")
        tau = (dual - b + 1) / b
        case = f"DC with exponent w = {dual:g}, hence WDC with tau = {tau:g}"
        condition = (
            f"||k.alpha|| >= kappa |k|^-{dual:g} for all k != 0 (transference gives ||n alpha|| >= kappa' n^-{tau:g})"
        )
    elif tau is not None:
        limit = inf if b == 1 else 1 / (b - 1)
        if not 1 / b <= tau < limit:
            raise UsageError(f"tau is {tau:g}; the argument needs 1/b = {1 / b:g} <= tau < {limit:g}")
        case, condition = f"WDC with tau = {tau:g}", f"||n alpha|| >= kappa n^-{tau:g} for all n != 0"
    distance = q / (1 - (tau or 1 / b) * (b - 1))
    small = f"the measure is small to the end of the search: N^(tau b) exp(-M^{s:g}) <= 1 with N = M^{distance:g}"
    return TransportBound(p, distance, case, (condition, *hypotheses, small))


def _terms(quotients: Sequence[Whole]) -> list[int]:
    """a_1, a_2, … of α in (0, 1); the list may start with a_0 = 0."""
    terms = [whole(a, "a partial quotient") for a in quotients]
    if not terms or any(a < 1 for a in terms[1:]) or terms[0] < 0:
        raise UsageError(f"partial quotients are whole numbers from 1 on, not {list(quotients)[:5]}")
    return terms[1:] if terms[0] == 0 else terms


def _good_within(terms: Sequence[int], q: float, s: float, side: Numbers) -> tuple[float, float | None, str]:
    """The exponent of the distance, N with a good box among n = 0 … N where one is guaranteed, and why.

    Points n = 0 … N are pairwise more than 1/(2 q_j) apart for N < q_j, so that at most 2I + 2 q_j e^{−M^s} of them
    lie in I ≤ M^q + 1 intervals of that measure."""
    side = real(side, "the box side M")
    if not side >= 1:
        raise UsageError(f"the box side M is {side:g}; give at least 1")
    if q * log(side) > 600:
        raise UsageError(f"M^q is {side:g}^{q:g}; give a side or a degree with M^q below 1e260")
    wanted, room = 2 * side**q + 4, 1 - 2 * exp(-(side**s))
    denominators = [1]
    for a in terms:
        denominators.append(a * denominators[-1] + (denominators[-2] if len(denominators) > 1 else 0))
    now = max(d for d in denominators if d <= wanted)
    following = next((d for d in denominators if d > wanted), None)
    if following is None:
        raise UsageError(
            f"the quotients reach denominator {now} only; the search to N = {wanted:.3g} needs more of them"
        )
    known = f"q_k = {now} <= N < q_(k+1) = {following}"
    if log(following) <= side**s - log(2):
        # At most 2 (M^q + 1) + 1 = N − 1 of the N + 1 points are bad.
        return q, wanted, f"{known} and log q_(k+1) <= M^s - log 2: a good box within N = 2 M^q + 4"
    start = f"log q_(k+1) = {log(following):.3g} exceeds M^s - log 2 = {side**s - log(2):.3g}: "
    # Of q_j points fewer than q_j are bad once q_j (1 − 2 e^{−M^s}) > 2 (M^q + 1).
    enough = next((d for d in denominators if min(d, 10**300) * room > 2 * (side**q + 1)), None)
    if enough is None:
        return inf, None, start + "no good box is guaranteed"
    return inf, enough, start + f"a good box is only guaranteed within N = q_j = {enough}"


_TOGETHER = 1 << 20  # energies of one sweep over the sites
_SITES = 64  # between two looks at the clock


@dataclass(frozen=True)
class TransferDiagnostic:
    """What transfer matrices say about the time-averaged probability beyond N: a shape, no certificate."""

    T: float
    N: int
    right: float
    left: float
    energies: int

    @property
    def value(self) -> float:
        """The sum of both sides' integrals times T³."""
        return self.right + self.left

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        status = (
            "diagnostic: T^3 int (max_n ||Phi(n, E + i/T)||^2)^-1 dE per side; constants and the e^{-cN} "
            "term of the Damanik-Tcheremchantsev method are not included"
        )
        return facts(self, "T N right left energies value", status=status)


def transfer_bound(
    operator: LongRange,
    T: Numbers,
    N: Whole,
    energies: Whole = 0,
    progress: Callable[[float], None] | None = None,
) -> TransferDiagnostic:
    """T³ ∫ (max_{1≤n≤N} ‖Φ(±n, E + i/T)‖²)^{−1} dE over the spectrum and a margin of 1, for nearest neighbours on Z.

    The method of Damanik and Tcheremchantsev (J. Amer. Math. Soc. 20 (2007) 799), integrand from memory: a diagnostic.
    ``energies`` midpoints (8 T times the interval's length, at least 1000, without it). Products are renormalised at
    every step, so that nothing overflows."""
    hopping = operator.hopping
    if operator.dim != 1 or isinstance(hopping, Kernel) or hopping.range != 1:
        raise UsageError("the transfer diagnostic is for nearest-neighbour operators on Z")
    T, N, energies = real(T, "T", below=1e90), whole(N, "N"), whole(energies, "energies", 0)
    if not T > 1e-90 or N < 1:
        raise UsageError(f"T is {T:g} and N is {N}; give T above 0 and N of at least 1")
    box = operator.box(N)
    low, high = box.interval.low - 1, box.interval.high + 1
    count = energies or max(1000, int(8 * T * (high - low)))
    if count * 8 > 1 << 31:
        raise UsageError(f"T = {T:g} needs {count:.2g} energies; give fewer with energies=")
    width = (high - low) / count
    watch = Watch(
        f"products over {N:,} sites at {count:,} energies", "fewer with energies= are quicker, on a coarser grid"
    )
    one = hopping.coefs[hopping.offsets[:, 0] == 1][0]
    strength, middle = abs(one), float(np.real(hopping.coefs[hopping.offsets[:, 0] == 0]).sum())
    values = box.single_potential() + middle
    sides = []
    for i, part in enumerate((values[N : 2 * N], values[N:0:-1])):
        total = 0.0
        for first in range(0, count, _TOGETHER):
            z = low + (np.arange(first, min(first + _TOGETHER, count)) + 0.5) * width + 1j / T
            report = partial(_report, watch, progress, i * count + first, len(z), 2 * count)
            total += float((1 / _largest_squared(part, z, strength, report)).sum())
        sides.append(T**3 * width * total)
    return TransferDiagnostic(float(T), int(N), sides[0], sides[1], count)


def _report(
    watch: Watch, progress: Callable[[float], None] | None, before: int, now: int, whole: int, fraction: float
) -> None:
    watch(before + fraction * now, whole)
    if progress is not None:
        progress((before + fraction * now) / whole)


def _largest_squared(
    values: Float64[np.ndarray, " n"],
    z: Complex128[np.ndarray, " z"],
    strength: float,
    report: Callable[[float], None],
) -> Float64[np.ndarray, " z"]:
    # Columns of Φ(n): two solutions of u_{n+1} = ((z − V_n) u_n)/t − u_{n−1}; log scale kept apart.
    a, b = np.ones_like(z), np.zeros_like(z)  # (u_{n}, u_{n−1}) of the first
    c, d = np.zeros_like(z), np.ones_like(z)
    scale, largest = np.zeros(len(z)), np.zeros(len(z))
    for i, v in enumerate(values):
        if i % _SITES == 0:
            report(i / len(values))
        step = (z - v) / strength
        a, b = step * a - b, a
        c, d = step * c - d, c
        root = np.hypot(np.hypot(np.abs(a), np.abs(b)), np.hypot(np.abs(c), np.abs(d)))
        a, b, c, d = a / root, b / root, c / root, d / root
        scale += 2 * np.log(root)
        np.maximum(largest, scale, out=largest)
    # The Frobenius norm, within a factor two of the operator norm squared.
    return np.exp(np.minimum(largest, 700.0))
