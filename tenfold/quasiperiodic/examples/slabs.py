"""Slab deviations and covering numbers against N^{1−1/b}: the order of the hit bounds, and that it is attained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.figures import lines
from tenfold.quasiperiodic.counting.hits import count
from tenfold.quasiperiodic.counting.separation import separation_bound
from tenfold.quasiperiodic.discrepancies.exponents import Exponent, fit_exponent
from tenfold.quasiperiodic.discrepancies.slabs import worst_slab
from tenfold.quasiperiodic.sets.polynomials import variables
from tenfold.quasiperiodic.sets.shapes import band
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.shifts import Frequency, Kronecker

FREQUENCIES = {1: Frequency.named("golden"), 2: Frequency.named("cubic"), 3: Frequency.roots(2, 4)}
NAMES = {1: "golden (b = 1)", 2: "2^(k/3) (b = 2)", 3: "2^(k/4) (b = 3)"}


# Exponents of the numbers of points: of slabs (powers of 2), of bands (powers of 10).
POWERS, BANDS = (8, 17), (5, 12)
QUICK_POWERS, QUICK_BANDS = (8, 13), (5, 8)


def run(figures: Path, quick: bool, progress: Callable[[float], None]) -> Outcome:
    """Slabs for N = 2^8 … 2^17 and several θ; thin bands counted to N = 10^12 (quick: 2^13 and 10^8)."""
    first, last = QUICK_POWERS if quick else POWERS
    sizes = [2**k for k in range(first, last + 1)]
    thetas = ("0", "0.1234567", "0.6180339", "0.7320508") if not quick else ("0", "0.1234567")
    rows: list[Measurement] = []
    curves: dict[str, tuple[Any, Any]] = {}
    data: dict[str, Any] = {"slabs": {}}
    for step, (b, frequency) in enumerate(FREQUENCIES.items()):
        found = [[worst_slab(Kronecker(frequency, t), N) for N in sizes] for t in thetas]
        deviations = np.array([[w.deviation for w in line] for line in found])
        theory = 1 - 1 / b
        fit = fit_exponent(sizes, deviations, theory)
        rows.append(_row("slab_exponent", NAMES[b], fit, f"mean of {len(thetas)} θ"))
        one = fit_exponent(sizes, deviations[0], theory).slope
        rows.append(Measurement("slab_exponent", one, "", "θ = 0", NAMES[b], note=f"theory {theory:.3g}"))
        scaled = deviations[0] / np.array(sizes) ** theory
        rows.append(Measurement("slab_constant_least", float(scaled.min()), "", "θ = 0", NAMES[b]))
        rows.append(Measurement("slab_constant_largest", float(scaled.max()), "", "θ = 0", NAMES[b]))
        curves[NAMES[b]] = (sizes, deviations[0])
        data["slabs"][NAMES[b]] = [w.to_dict() for w in found[0]]
        progress((step + 1) / 6)
    names = []
    for b in (1, 2, 3):
        name = f"N^{1 - 1 / b:.2g}" if b > 1 else "1"
        curves[name] = (sizes, curves[NAMES[b]][1][0] * (np.array(sizes) / sizes[0]) ** (1 - 1 / b))
        names.append(name)
    title = "Largest deviation of a slab found"
    lines(curves, figures / "slabs.png", "N", "|count − N · volume|", title, (True, True), names)
    captions = {
        "slabs.png": "Deviation of the worst slab found among 25 directions, θ = 0, with N^{1−1/b} through the first "
        "point. Each is a lower estimate of the supremum over slabs.",
    }
    more, counted = _bands(figures, quick, lambda done: progress(0.5 + done / 2))
    captions["bands.png"] = (
        "The band |y − x²| ≤ 1/(5N), whose expected number of hits stays near 0.4: cells that the lattice method "
        "visits, hits found, and the block separation bound, which holds for every θ. Enumeration would look at all N."
    )
    return Outcome(rows + more, captions, {"sizes": sizes, "thetas": list(thetas)}, {**data, "bands": counted})


def _bands(
    figures: Path, quick: bool, progress: Callable[[float], None]
) -> tuple[list[Measurement], list[dict[str, Any]]]:
    x, _ = variables(2)
    frequency = FREQUENCIES[2]
    low, high = QUICK_BANDS if quick else BANDS
    sizes = [10**k for k in range(low, high + 1)]
    counts, above = [], []
    for i, N in enumerate(sizes):
        region = band(x**2, f"1/{5 * N}")
        counts.append(count(region, Kronecker(frequency), 0, N, "lattice"))
        above.append(separation_bound(region, frequency, N))
        progress((i + 1) / len(sizes))
    cells, hits, bounds = [c.cells for c in counts], [c.count for c in counts], [b.bound for b in above]
    table = [{"count": c.to_dict(), "bound": b.to_dict()} for c, b in zip(counts, above, strict=True)]
    fit = fit_exponent(sizes, cells, 0.5)
    per_root, last = float(np.mean(np.array(cells) / np.sqrt(sizes))), f"N = {sizes[-1]:.0e}"
    rows = [
        _row("cells_visited_exponent", NAMES[2], fit, ""),
        Measurement("cells_visited_over_root_N", per_root, "", f"N ≤ {sizes[-1]:.0e}", NAMES[2]),
        Measurement("hits_of_the_band", hits[-1], "", last, NAMES[2], note="certified"),
        Measurement("block_separation_bound", bounds[-1], "", last, NAMES[2], note="derived, every θ"),
    ]
    lines(
        {
            "cells visited": (sizes, cells), "block bound": (sizes, bounds), "hits": (sizes, np.maximum(hits, 0.5)),
            "points": (sizes, sizes), "N^0.5": (sizes, cells[0] * np.sqrt(np.array(sizes) / sizes[0])),
        },
        figures / "bands.png", "N", "number", "A thin band, counted without looking at N points", (True, True),
        ("points", "N^0.5"),
    )  # fmt: skip
    return rows, table


def _row(name: str, model: str, fit: Exponent, split: str) -> Measurement:
    note = (
        f"N = {fit.N[0]:.0e} … {fit.N[-1]:.0e}; theory {fit.theory:.3g}; 95 % interval {fit.low:.3f} … {fit.high:.3f} "
        f"by resampling {fit.resampled}"
    )
    return Measurement(name, fit.slope, "", split, model, note=note)
