"""Two frequencies and exponential hopping, far into time: does anything grow, and if so, how?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.figures.panels import Curve, Panel, draw
from tenfold.quasiperiodic.dynamics.bound import transport_bound
from tenfold.quasiperiodic.dynamics.evolution import evolve
from tenfold.quasiperiodic.dynamics.transport import transport_exponents
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import exponential
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome


def run(figures: Path, quick: bool, progress: Callable[[float], None]) -> Outcome:
    """Two frequencies, a_m = e^{−|m|} (m ≤ 10), V = 3 Σ cos: moments to t = 10⁵, fits of three models."""
    operator = two_frequencies()
    times = np.geomspace(10.0, 1e3 if quick else 1e5, 16 if quick else 40)
    result = evolve(operator, None, times, box=100 if quick else 250, progress=lambda f: progress(0.9 * f))
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
    progress(1.0)
    caption = (
        "Two-frequency long-range operator in its localised regime: moments do not grow; a bounded law is preferred by "
        "AICc, far below the logarithmic power of the bound."
    )
    facts |= {"p": [1.0, 2.0, 4.0], "moments": moments.tolist()}
    return Outcome(rows, {"log-power.png": caption}, {"reach": result.reach}, facts)


def two_frequencies() -> LongRange:
    """a_m = e^{−|m|} for |m| ≤ 10 and 3 [cos 2π(0.3 + n(√2 − 1)) + cos 2π(0.1 + n(√3 − 1))]."""
    return presets.multi_frequency(3.0, theta=(0.3, 0.1), hopping=exponential(1.0, 1.0, radius=10))
