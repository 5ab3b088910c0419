"""Cost against size and time: seconds of one multiplication to 10⁶ sites, of localised dynamics to t = 10⁵."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.figures.panels import Curve, Panel, draw
from tenfold.quasiperiodic.dynamics.evolution import Evolution, evolve
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import exponential
from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome


def run(figures: Path, quick: bool, progress: Callable[[float], None]) -> Outcome:
    """Seconds against sites and against time; the numbers belong to the machine that they are run on."""
    rows: list[Measurement] = []
    facts: dict[str, Any] = {}
    sizes = [10**3, 10**4] if quick else [10**3, 10**4, 10**5, 10**6]
    series: dict[str, list[tuple[float, float]]] = {}
    families: dict[str, Callable[[int], LongRange]] = {
        "d = 1, nearest": lambda n: presets.aubry_andre(1.0, theta=0.2),
        "d = 1, range 20": lambda n: presets.multi_frequency(1.0, hopping=exponential(1.0, 0.5, radius=20)),
        "d = 2, nearest": lambda n: presets.lattice_cosines(1.0, theta=(0.1, 0.2)),
    }
    total = len(families) * len(sizes) + 2
    for f, (name, make) in enumerate(families.items()):
        for i, n in enumerate(sizes):
            operator = make(n)
            box = operator.box(n // 2 if operator.dim == 1 else round(n**0.5) // 2)
            until = 100.0 / box.interval.half_width
            seconds, result = _timed(box, until, method="chebyshev")
            series.setdefault(name, []).append((box.size, seconds / result.products))
            progress((f * len(sizes) + i + 1) / total)
        size, per = series[name][-1]
        rows.append(Measurement("seconds_a_product", per, unit="s", model=name, note=f"{size:,.0f} sites"))
    long_times = np.geomspace(10.0, 1e3 if quick else 1e5, 3 if quick else 5)
    local, reaches = [], []
    for t in long_times:
        seconds, result = _timed(presets.aubry_andre(2.0, theta=0.2), t, box="adaptive", method="chebyshev")
        local.append(seconds)
        reaches.append(result.reach)
    note = f"error bound {result.error_bound:.1e}, {result.certificate}, {result.products:,} products"
    rows.append(Measurement("adaptive_reach", reaches[-1], "sites", model=f"localised, t = {t:g}", note=note))
    rows.append(Measurement("adaptive_seconds", local[-1], "s", model=f"localised, t = {t:g}"))
    progress((total - 1) / total)
    ballistic = [5.0, 20.0] if quick else [10.0, 50.0, 200.0, 1000.0, 5000.0]
    spent, needed = [], []
    for t in ballistic:
        seconds, result = _timed(presets.aubry_andre(0.5, theta=0.2), t)
        spent.append(seconds)
        needed.append(result.box.size)
    progress(1.0)
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
    return Outcome(rows, {"scale.png": "Cost against size and time, one run on this machine."}, {}, facts)


def _timed(operator: LongRange | Box, t: float, **options: Any) -> tuple[float, Evolution]:
    began = time.perf_counter()
    result = evolve(operator, None, [t], **options)
    return time.perf_counter() - began, result


def _both(name: str, points: list[tuple[float, float]]) -> Curve:
    x, y = np.array(points).T
    return Curve(x, y, name, "both")
