"""The table of expected values: closed forms and independently computed numbers, with the ranges they must fall in."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.quasiperiodic.dynamics.averages import eigenbasis_moments, time_averaged
from tenfold.quasiperiodic.dynamics.evolution import BoxTooSmallError, evolve
from tenfold.quasiperiodic.dynamics.transport import transport_exponents
from tenfold.quasiperiodic.examples.log_power import two_frequencies
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.spectral.lyapunov import lyapunov_exponents
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome

Done = Callable[[float], None]


@dataclass(frozen=True)
class Check:
    """A value, and the range [low, high] that it is expected in."""

    name: str
    model: str
    value: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether it is."""
        return self.low <= self.value <= self.high

    @property
    def expected(self) -> str:
        """The range in words."""
        return f"{self.low:g} to {self.high:g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "holds": self.holds}


def run(figures: Path, quick: bool, progress: Done) -> Outcome:
    """Every check as a row, with whether it holds."""
    found = checks(quick, progress)
    rows = [
        Measurement(c.name, c.value, model=c.model, note=f"{'holds' if c.holds else 'FAILS'}: expected {c.expected}")
        for c in found
    ]
    failed = [f"{c.name}, {c.model}" for c in found if not c.holds]
    rows.append(Measurement("failed_checks", len(failed), note="; ".join(failed) or f"{len(found)} hold"))
    return Outcome(rows, {}, {}, {"checks": [c.to_dict() for c in found], "failed": failed})


def checks(quick: bool, done: Done) -> list[Check]:
    """All checks (a minute or two on one core), or with ``quick`` those that take seconds."""
    parts: list[Callable[[], list[Check]]] = [free, transition, two_frequency, mobility_edge, maryland]
    parts += [] if quick else [lambda: fibonacci(4.0), lambda: fibonacci(8.0), fibonacci_edge]
    found = []
    for i, part in enumerate(parts):
        found += part()
        done((i + 1) / len(parts))
    return found


def around(name: str, model: str, value: float, middle: float, width: float) -> Check:
    """Within ``width`` of ``middle``."""
    return Check(name, model, float(value), middle - width, middle + width)


def free() -> list[Check]:
    """⟨X²⟩ = 2t² and ⟨X⁴⟩ = 6t⁴ + 2t² at t = 20, to relative 1e-12."""
    found = evolve(presets.free(), None, [20.0]).moments([2.0, 4.0])[0]
    pairs = zip((2, 4), found, (800.0, 960800.0), strict=True)
    return [around(f"x{p}_t20", "free", value, exact, 1e-12 * exact) for p, value, exact in pairs]


def transition() -> list[Check]:
    """Aubry-André, golden, θ = 0.2, t in 10 … 400, 1801 sites."""
    times = np.geomspace(10.0, 400.0, 40)
    found = []
    for lam, middle, width in ((0.5, 0.97, 0.03), (1.0, 0.49, 0.04), (2.0, 0.0, 0.05)):
        moments = evolve(presets.aubry_andre(lam, theta=0.2), None, times, box=900).moments(2.0)
        name = f"Aubry-André, lambda = {lam:g}"
        found.append(around("beta_p2", name, transport_exponents(times, moments).beta.slope, middle, width))
    found.append(around("x2_t400", name, moments[-1], 0.339, 0.002))
    return found


def two_frequency() -> list[Check]:
    """The localised two-frequency operator, 40 times from 10 to 10⁵ on 501 sites."""
    times = np.geomspace(10.0, 1e5, 40)
    moments = evolve(two_frequencies(), None, times, box=250).moments(2.0)
    fit, name = transport_exponents(times, moments), "two frequencies"
    return [
        Check("smallest_x2", name, float(moments.min()), 0.2, 1.5),
        Check("largest_x2", name, float(moments.max()), 0.2, 1.5),
        around("slope_of_log_x2", name, 2 * fit.beta.slope, 0.0, 0.08),
        Check("bounded_preferred", name, float(fit.preferred == "bounded"), 1, 1),
    ]


def mobility_edge() -> list[Check]:
    """Exponential hopping with p = t = V = 1 on a ring of 610 sites, α = 377/610."""
    energies, vectors = np.linalg.eigh(presets.exponential_hopping(1.0).ring(610).dense())
    edge, ipr, name = presets.mobility_edge(1.0, 1.0, 1.0), (vectors**4).sum(0), "exponential hopping"
    below, above = ipr[energies < edge - 0.02], ipr[energies > edge + 0.02]
    return [
        Check("states_below_the_edge", name, float((energies < edge).sum()), 377, 377),
        Check("states_above_the_edge", name, float((energies > edge).sum()), 233, 233),
        Check("smallest_ipr_below", name, float(below.min()), 0.18, 0.9),
        Check("largest_ipr_below", name, float(below.max()), 0.18, 0.9),
        Check("smallest_ipr_above", name, float(above.min()), 0.0028, 0.0095),
        Check("largest_ipr_above", name, float(above.max()), 0.0028, 0.0095),
    ]


def maryland() -> list[Check]:
    """Lyapunov exponents of 2·10⁵ steps at nine energies against the closed form."""
    energies, lam = np.linspace(-4, 4, 9), 1.7
    found = lyapunov_exponents(presets.maryland(lam, theta=0.1234), energies, 200_000).largest
    exact = [presets.maryland_lyapunov(float(e), lam) for e in energies]
    return [Check("lyapunov_deviation", "Maryland, 2e5 steps", float(np.abs(found - exact).max()), 0.0, 5e-5)]


_FIBONACCI = {
    4.0: (0.47, 0.02, (3.4813, 33.305, 282.31, 2311.9)),
    8.0: (0.37, 0.03, (1.3759, 8.6486, 43.694, 222.76)),
}


def fibonacci(lam: float) -> list[Check]:
    """Abel-averaged ⟨X²⟩ on sites −700 … 700, 31 values of T from 10 to 10⁴."""
    scales = np.geomspace(10.0, 1e4, 31)
    box = presets.fibonacci(lam).box(700)
    state = np.zeros(box.size)
    state[700] = 1.0
    moments = eigenbasis_moments(box, state, scales, [2.0])[:, 0]
    middle, width, values = _FIBONACCI[lam]
    name = f"Fibonacci, lambda = {lam:g}"
    found = [around("beta_p2", name, transport_exponents(scales, moments).beta.slope, middle, width)]
    for T, value, at in zip((1e1, 1e2, 1e3, 1e4), values, (0, 10, 20, 30), strict=True):
        found.append(around(f"x2_T{T:.0e}", name, moments[at], value, 1e-4 * value))
    return found


def fibonacci_edge() -> list[Check]:
    """λ = 2 leaves that box by T = 10⁴, and must be refused."""
    try:
        time_averaged(presets.fibonacci(2.0), None, 1e4, box=700)
        refused = 0.0
    except BoxTooSmallError:
        refused = 1.0
    return [Check("box_refused", "Fibonacci, lambda = 2", refused, 1, 1)]
