"""Worked examples with pictures: the Aubry-André transition, a log-power fit, expected values, cost against size."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.measurement import Measurement
from tenfold.quasiperiodic import presets
from tenfold.quasiperiodic.averages import time_averaged
from tenfold.quasiperiodic.bound import transport_bound
from tenfold.quasiperiodic.evolution import evolve
from tenfold.quasiperiodic.expected import checks
from tenfold.quasiperiodic.green import green_columns, green_decay
from tenfold.quasiperiodic.hopping import exponential
from tenfold.quasiperiodic.lyapunov import lyapunov_exponents
from tenfold.quasiperiodic.operators import LongRange
from tenfold.quasiperiodic.pictures import Curve, Panel, draw
from tenfold.quasiperiodic.transport import transport_exponents

Done = Callable[[float], None]


@dataclass(frozen=True)
class Found:
    """``facts`` for results.json, ``rows`` for evaluation.json, ``arrays`` for arrays.npz, captions of the pictures."""

    facts: dict[str, Any]
    rows: list[Measurement]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)


def perform(name: str, figures: Path, quick: bool, done: Done) -> Found:
    """One example; pictures go to ``figures``."""
    return {"aubry-andre": aubry_andre, "log-power": log_power, "checks": expected_values, "scale": scale}[name](
        figures, quick, done
    )


def energy_near_zero(lam: float, period: int = 610) -> float:
    """The eigenvalue nearest 0 of the golden Aubry-André ring: an energy in the spectrum, to about 1/period."""
    energies = np.linalg.eigvalsh(presets.aubry_andre(lam).ring(period).dense())
    return float(energies[np.argmin(np.abs(energies))])


def aubry_andre(figures: Path, quick: bool, done: Done) -> Found:
    """⟨X²⟩(t), Lyapunov exponents, Green's functions and averaged profiles across λ = 1, on one page."""
    couplings = (0.5, 1.0, 2.0)
    times = np.geomspace(10.0, 60.0 if quick else 400.0, 12 if quick else 40)
    times = np.append(times, 100.0) if quick else times
    reach, period, steps = (230, 144, 8192) if quick else (900, 610, 100_000)
    rows, curves, moments = [], [], {}
    expected = {0.5: "ballistic: 0.97 ± 0.03", 1.0: "critical: 0.49 ± 0.04", 2.0: "localised: |.| < 0.05"}
    facts: dict[str, Any] = {"times": times.tolist(), "fits": {}, "certificates": {}}
    for i, lam in enumerate(couplings):
        result = evolve(presets.aubry_andre(lam, theta=0.2), None, times, box=reach)
        moments[lam] = result.moments(2.0)
        fit = transport_exponents(times, moments[lam])
        facts["fits"][str(lam)] = fit.to_dict()
        facts["certificates"][str(lam)] = {"error_bound": result.error_bound, "edge_mass": result.edge_mass}
        name, error = f"lambda = {lam:g}", fit.beta.standard_error
        rows.append(Measurement("beta_p2", fit.beta.slope, model=name, standard_error=error, note=expected[lam]))
        curves.append(Curve(times, moments[lam], f"λ = {lam:g}: β = {fit.beta.slope:.2f}", "both"))
        done(0.2 * (i + 1) / 3)
    grid = np.linspace(0.25, 3.0, 6 if quick else 23)
    exponents, exact = [], [presets.aubry_andre_lyapunov(lam) for lam in grid]
    for i, lam in enumerate(grid):
        exponents.append(
            float(lyapunov_exponents(presets.aubry_andre(lam), energy_near_zero(lam, period), steps).largest)
        )
        done(0.2 + 0.6 * (i + 1) / len(grid))
    worst = float(np.abs(np.array(exponents) - exact).max())
    rows.append(Measurement("lyapunov_error", worst, model="all lambda", note=f"against max(0, log λ), {steps} steps"))
    greens, profiles = [], []
    for lam in (0.5, 1.0, 2.0, 3.0):
        box = presets.aubry_andre(lam, theta=0.2).box(150)
        z = energy_near_zero(lam, period) + 1e-3j
        column, distance = np.abs(green_columns(box, z)), box.distance()
        right = box.sites[:, 0] >= 0
        greens.append(Curve(distance[right], column[right], f"λ = {lam:g}"))
        fit_g = green_decay(box, z)
        facts[f"green_{lam:g}"] = fit_g.to_dict()
        note = f"Lyapunov exponent {presets.aubry_andre_lyapunov(lam):.3f}"
        rows.append(Measurement("green_decay", fit_g.rate, model=f"lambda = {lam:g}", note=note))
    for lam in (1.5, 2.0, 3.0):
        average = time_averaged(presets.aubry_andre(lam, theta=0.2), None, 1e3)
        right = average.box.sites[:, 0] >= 0
        n = average.box.sites[right, 0]
        shown = (n <= 60) & (average.probabilities[0, right] > 1e-25)
        profiles.append(Curve(n[shown], average.probabilities[0, right][shown], f"λ = {lam:g}", "both"))
        profiles.append(Curve(n[shown], np.exp(-2 * log(lam) * n[shown]), "", "dashed", len(profiles) - 1))
    done(1.0)
    panels = [
        Panel("Spreading from one site", "t", "⟨X²⟩", curves, "log", "log"),
        Panel(
            "Lyapunov exponent near E = 0", "λ", "exponent",
            [Curve(grid, exponents, "transfer products", "points"), Curve(grid, exact, "max(0, log λ)", "dashed")],
        ),
        Panel("Green's function at E + 0.001i", "|n|", "|G(n, 0)|", greens, yscale="log"),
        Panel("Averaged |ψ_n|², T = 1000", "n", "probability", profiles, yscale="log", note="dashed: λ^(−2n)"),
    ]  # fmt: skip
    draw(panels, figures / "transition.png")
    arrays = {"times": times, "lambda": grid, "lyapunov": np.array(exponents)}
    arrays |= {f"moments_{lam:g}": m for lam, m in moments.items()}
    caption = (
        "The Aubry-André transition at λ = 1, golden frequency, θ = 0.2: second moments with their exponents, Lyapunov "
        "exponents against the closed form, Green's functions, and time-averaged profiles against λ^(−2n)."
    )
    return Found(facts, rows, arrays, {"transition.png": caption})


def log_power(figures: Path, quick: bool, done: Done) -> Found:
    """Two frequencies, a_m = e^{−|m|} (m ≤ 10), V = 3 Σ cos: moments to t = 10⁵, fits of three models."""
    operator = two_frequencies()
    times = np.geomspace(10.0, 1e3 if quick else 1e5, 16 if quick else 40)
    result = evolve(operator, None, times, box=100 if quick else 250, progress=lambda f: done(0.9 * f))
    rows, curves, residuals = [], [], []
    facts: dict[str, Any] = {"evolution": result.to_dict(), "fits": {}}
    moments = result.moments([1.0, 2.0, 4.0])
    for j, p in enumerate((1.0, 2.0, 4.0)):
        fit = transport_exponents(times, moments[:, j], p)
        facts["fits"][f"{p:g}"] = fit.to_dict()
        name = f"p = {p:g}"
        rows.append(Measurement("beta", fit.beta.slope, model=name, standard_error=fit.beta.standard_error))
        error = fit.sigma.standard_error
        rows.append(Measurement("sigma", fit.sigma.slope, model=name, standard_error=error, note="log-power exponent"))
        for other, value in fit.aic.items():
            rows.append(Measurement(f"aicc_{other.replace(' ', '_')}", value - min(fit.aic.values()), model=name))
        curves.append(Curve(times, moments[:, j], name, "both", j))
        fitted = np.exp(p * (fit.sigma.slope * np.log(np.log(times)) + fit.sigma.intercept))
        curves.append(Curve(times, fitted, "", "dashed", j))
        residuals.append(Curve(fit.local[0], fit.local[1], name, "both"))
    rows.append(Measurement("smallest_x2", float(moments[:, 1].min()), note="expected within [0.2, 1.5]"))
    rows.append(Measurement("largest_x2", float(moments[:, 1].max()), note="expected within [0.2, 1.5]"))
    rows.append(Measurement("error_bound", result.error_bound, note=result.certificate))
    bound = transport_bound(2, 1.0, 0.5)
    facts["bound"] = bound.to_dict()
    note = "for bad sets of degree M and measure exp(-M^(1/2)): a hypothesis, not checked here"
    rows.append(Measurement("log_power_bound", bound.moment, model="p = 2", note=note))
    panels = [
        Panel("Moments", "t", "⟨|X|^p⟩", curves, "log", "log", note="dashed: log-power fit"),
        Panel("Local slopes of log⟨|X|^p⟩/p", "t", "slope", residuals, "log"),
    ]
    draw(panels, figures / "log-power.png")
    done(1.0)
    caption = (
        "Two-frequency long-range operator in its localised regime: moments do not grow; a bounded law is preferred by "
        "AICc, far below the logarithmic power of the bound."
    )
    return Found(facts, rows, {"times": times, "moments": moments}, {"log-power.png": caption})


def two_frequencies() -> LongRange:
    """a_m = e^{−|m|} for |m| ≤ 10 and 3 [cos 2π(0.3 + n(√2 − 1)) + cos 2π(0.1 + n(√3 − 1))]."""
    return presets.multi_frequency(3.0, theta=(0.3, 0.1), hopping=exponential(1.0, 1.0, radius=10))


def expected_values(figures: Path, quick: bool, done: Done) -> Found:
    """Every row of the table of expected values, with whether it holds."""
    found = checks(quick, done)
    rows = [
        Measurement(c.name, c.value, model=c.model, note=f"{'holds' if c.holds else 'FAILS'}: expected {c.expected}")
        for c in found
    ]
    failed = [f"{c.name}, {c.model}" for c in found if not c.holds]
    rows.append(Measurement("failed_checks", len(failed), note="; ".join(failed) or f"{len(found)} hold"))
    facts = {"quick": quick, "checks": [c.to_dict() for c in found], "failed": failed}
    return Found(facts, rows)


def scale(figures: Path, quick: bool, done: Done) -> Found:
    """Seconds against sites and against time; the numbers belong to the machine that they are run on."""
    rows: list[Measurement] = []
    facts: dict[str, Any] = {}
    sizes = [10**3, 10**4] if quick else [10**3, 10**4, 10**5, 10**6]
    series: dict[str, list[tuple[float, float]]] = {}
    families: dict[str, Callable[[int], LongRange]] = {
        "d = 1, nearest": lambda n: presets.aubry_andre(1.0, theta=0.2),
        "d = 1, range 20": lambda n: presets.multi_frequency(1.0, hopping=exponential(1.0, 0.5, radius=20)),
        "d = 2, nearest": lambda n: plane(1.0),
    }
    total = len(families) * len(sizes) + 2
    for f, (name, make) in enumerate(families.items()):
        for i, n in enumerate(sizes):
            operator = make(n)
            box = operator.box(n // 2 if operator.dim == 1 else round(n**0.5) // 2)
            until = 100.0 / box.interval.half_width
            began = time.perf_counter()
            result = evolve(box, None, [until], method="chebyshev")
            seconds = time.perf_counter() - began
            series.setdefault(name, []).append((box.size, seconds / result.products))
            done((f * len(sizes) + i + 1) / total)
        size, per = series[name][-1]
        rows.append(Measurement("seconds_a_product", per, unit="s", model=name, note=f"{size:,.0f} sites"))
    long_times = np.geomspace(10.0, 1e3 if quick else 1e5, 3 if quick else 5)
    local, reaches = [], []
    for t in long_times:
        began = time.perf_counter()
        result = evolve(presets.aubry_andre(2.0, theta=0.2), None, [t], box="adaptive", method="chebyshev")
        local.append(time.perf_counter() - began)
        reaches.append(result.reach)
    note = f"error bound {result.error_bound:.1e}, {result.certificate}, {result.products:,} products"
    rows.append(Measurement("adaptive_reach", reaches[-1], "sites", model=f"localised, t = {t:g}", note=note))
    rows.append(Measurement("adaptive_seconds", local[-1], "s", model=f"localised, t = {t:g}"))
    done((total - 1) / total)
    ballistic = [5.0, 20.0] if quick else [10.0, 50.0, 200.0, 1000.0, 5000.0]
    spent, needed = [], []
    for t in ballistic:
        began = time.perf_counter()
        result = evolve(presets.aubry_andre(0.5, theta=0.2), None, [t])
        spent.append(time.perf_counter() - began)
        needed.append(result.box.size)
    done(1.0)
    rows.append(Measurement("certified_sites", needed[-1], "sites", model=f"lambda = 0.5, t = {ballistic[-1]:g}"))
    rows.append(Measurement("certified_seconds", spent[-1], "s", model=f"lambda = 0.5, t = {ballistic[-1]:g}"))
    facts |= {
        "seconds_a_product": {name: points for name, points in series.items()},
        "localised": {"t": long_times.tolist(), "seconds": local, "reach": reaches},
        "certified": {"t": ballistic, "seconds": spent, "sites": needed},
    }
    panels = [
        Panel(
            "One multiplication by H", "sites", "seconds",
            [_both(name, points) for name, points in series.items()], "log", "log",
        ),
        Panel(
            "Evolution to time t", "t", "seconds",
            [
                Curve(long_times, local, "λ = 2, adaptive box", "both"),
                Curve(ballistic, spent, "λ = 0.5, certified box", "both"),
            ],
            "log", "log",
        ),
        Panel(
            "Sites that are needed", "t", "sites",
            [
                Curve(long_times, 2 * np.array(reaches) + 1, "λ = 2, adaptive box", "both"),
                Curve(ballistic, needed, "λ = 0.5, certified box", "both"),
            ],
            "log", "log",
        ),
    ]  # fmt: skip
    draw(panels, figures / "scale.png", columns=3)
    return Found(facts, rows, {}, {"scale.png": "Cost against size and time, one run on this machine."})


def _both(name: str, points: list[tuple[float, float]]) -> Curve:
    x, y = np.array(points).T
    return Curve(x, y, name, "both")


def plane(lam: float) -> LongRange:
    """Nearest neighbours on Z² with λ[cos 2π x₁ + cos 2π x₂], one frequency an axis (golden, √2 − 1)."""
    from tenfold.quasiperiodic.hopping import nearest_neighbour
    from tenfold.quasiperiodic.phases import lattice_orbit
    from tenfold.quasiperiodic.potentials import TrigPolynomial

    potential = TrigPolynomial(np.eye(2, dtype=np.int64), np.ones(2), np.zeros(2))
    orbit = lattice_orbit([["golden", 0.0], [0.0, "silver"]], (0.1, 0.2))
    return LongRange(nearest_neighbour(2), potential, orbit, lam, "plane")
