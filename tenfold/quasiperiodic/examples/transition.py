"""The Aubry-André transition at λ = 1 on one page: moments, Lyapunov exponents, Green's functions, profiles."""

from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.figures.panels import Curve, Panel, draw
from tenfold.quasiperiodic.dynamics.averages import time_averaged
from tenfold.quasiperiodic.dynamics.evolution import evolve
from tenfold.quasiperiodic.dynamics.transport import transport_exponents
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.spectral.green import green_columns, green_decay
from tenfold.quasiperiodic.spectral.lyapunov import lyapunov_exponents
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome


def energy_near_zero(lam: float, period: int = 610) -> float:
    """The eigenvalue nearest 0 of the golden Aubry-André ring: an energy in the spectrum, to about 1/period."""
    energies = np.linalg.eigvalsh(presets.aubry_andre(lam).ring(period).dense())
    return float(energies[np.argmin(np.abs(energies))])


def run(figures: Path, quick: bool, progress: Callable[[float], None]) -> Outcome:
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
        progress(0.2 * (i + 1) / 3)
    grid = np.linspace(0.25, 3.0, 6 if quick else 23)
    exponents, exact = [], [presets.aubry_andre_lyapunov(lam) for lam in grid]
    for i, lam in enumerate(grid):
        energy = energy_near_zero(lam, period)
        exponents.append(float(lyapunov_exponents(presets.aubry_andre(lam), energy, steps).largest))
        progress(0.2 + 0.6 * (i + 1) / len(grid))
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
    progress(1.0)
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
    facts |= {"lambda": grid.tolist(), "lyapunov": exponents}
    facts |= {f"moments_{lam:g}": m.tolist() for lam, m in moments.items()}
    caption = (
        "The Aubry-André transition at λ = 1, golden frequency, θ = 0.2: second moments with their exponents, Lyapunov "
        "exponents against the closed form, Green's functions, and time-averaged profiles against λ^(−2n)."
    )
    return Outcome(rows, {"transition.png": caption}, {"reach": reach, "steps": steps}, facts)
