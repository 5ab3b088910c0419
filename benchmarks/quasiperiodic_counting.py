"""Point generation against QMCPy and SciPy, and hit counting against enumeration. ``benchmarks(quick, emit)`` is one
half of the room's benchmark; run alone: ``python -m benchmarks.quasiperiodic_counting``."""

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.harness import Record, clock, main, paired
from tenfold.quasiperiodic import count, intervals, parse_set
from tenfold.shifts import Frequency, Kronecker, use_compiled_points

PASSES = 8
PACKAGES = ("tenfold", "numpy", "scipy", "numba", "qmcpy", "torch")


def benchmarks(quick: bool, emit: Callable[[Record], None]) -> None:
    """All records of sequences and counts."""
    generation(quick, emit)
    floor_sums(quick, emit)
    lattice(quick, emit)


def generation(quick: bool, emit: Callable[[Record], None]) -> None:
    """2^22 points in two dimensions into float64: our 64-bit phases by the compiled loop and by NumPy, and 128-bit
    ones, against QMCPy's Kronecker and SciPy's Sobol'."""
    points, repeats = 1 << (20 if quick else 22), 3 if quick else 7
    alpha = Frequency.richtmyer(2)
    out = np.empty((points, 2))
    ours, ours_wide = (partial(_passes, Kronecker(alpha, bits=b), points, out) for b in (64, 128))
    kronecker, sobol = _qmcpy(alpha, points), partial(_sobol, points)
    for compiled in (True, False):
        use_compiled_points(compiled)
        suffix = "" if compiled else "-numpy"
        if kronecker is not None:
            error = float(np.abs((Kronecker(alpha, bits=64).points(0, points) - kronecker() + 0.5) % 1 - 0.5).max())
            what = "QMCPy Kronecker (float64 n α mod 1)"
            emit(_rate(f"generation-qmcpy{suffix}", ours, kronecker, repeats, points, what, error))
        what = "SciPy Sobol', unscrambled (another sequence)"
        emit(_rate(f"generation-sobol{suffix}", ours, sobol, repeats, points, what, None))
    emit(_rate("generation-sobol-128-bits", ours_wide, sobol, repeats, points, "our 128-bit phases by NumPy", None))
    if kronecker is None:
        print("generation-qmcpy left out: 'pip install tenfold[benchmarks]' brings qmcpy", file=sys.stderr)


def _sobol(points: int) -> np.ndarray:
    from scipy.stats import qmc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return qmc.Sobol(2, scramble=False).random(points)


def floor_sums(quick: bool, emit: Callable[[Record], None]) -> None:
    """b = 1, N = 10^18: certified count by floor sums, against enumeration of 10^7 points scaled up."""
    region, orbit = intervals([("1/10", "3/10")]), Kronecker("golden", "1/7", bits=256)
    N, sample = 10**18, 10**6 if quick else 10**7
    few = Kronecker("golden", "1/7", bits=64)
    count(region, orbit, 0, N)
    seconds = statistics.median(clock(partial(count, region, orbit, 0, N)) for _ in range(5 if quick else 21))
    enumerated = clock(partial(count, region, few, 0, sample, "enumerate")) * N / sample
    check = count(region, few, 0, sample, "enumerate").count - count(region, few, 0, sample, "floor_sum").count
    emit(
        Record(
            "count-floor-sum", seconds, enumerated, "s", float(abs(check)), {"b": 1, "N": N, "bits": 256},
            {"count": str(count(region, orbit, 0, N).count), "other": f"extrapolated from N = {sample:.0e}"},
            f"certified; max error is the difference of counts at N = {sample:.0e}",
        )
    )  # fmt: skip


def lattice(quick: bool, emit: Callable[[Record], None]) -> None:
    """b = 2, the band |y − x²| ≤ 10^−8 at N = 10^9 (quick: 10^8): lattice, against enumeration scaled up from 10^7."""
    N, sample = (10**8, 10**6) if quick else (10**9, 10**7)
    region, orbit = parse_set("abs(y - x^2) <= 1/100000000", 2), Kronecker("cubic", bits=128)
    few = Kronecker("cubic", bits=64)
    count(region, orbit, 0, 10**5, "lattice")
    seconds = statistics.median(clock(partial(count, region, orbit, 0, N, "lattice")) for _ in range(1 if quick else 5))
    small = statistics.median(
        clock(partial(count, region, few, 0, sample, "enumerate")) for _ in range(1 if quick else 3)
    )
    difference = count(region, few, 0, sample, "enumerate").count - count(region, orbit, 0, sample, "lattice").count
    found = count(region, orbit, 0, N, "lattice")
    emit(
        Record(
            "count-enumeration", seconds, small * N / sample, "s", float(abs(difference)), {"b": 2, "N": N},
            {"cells": found.cells, "cells over sqrt N": round((found.cells or 0) / math.sqrt(N), 3),
             "hits": found.count,
             "other": f"our enumeration, extrapolated from N = {sample:.0e}",
             "enumerated points per second": round(sample / small)},
            f"certified; max error is the difference of counts at N = {sample:.0e}",
        )
    )  # fmt: skip


def _passes(sequence: Kronecker, points: int, out: np.ndarray) -> None:
    # Ours is quick: as many passes as make its timing as long as the others'.
    for _ in range(PASSES):
        sequence.points(0, points, out=out)


def _rate(
    name: str,
    ours: Callable[[], None],
    other: Callable[[], np.ndarray],
    repeats: int,
    points: int,
    what: str,
    error: float | None,
) -> Record:
    seconds, others = paired(ours, other, repeats)
    seconds /= PASSES
    cpu = [statistics.median(_cpu(run) for _ in range(repeats)) for run in (ours, other)]
    cpu[0] /= PASSES
    details = {
        "ours points per second": round(points / seconds), "other points per second": round(points / others),
        "ours points per CPU second": round(points / cpu[0]), "ratio of CPU seconds": round(cpu[1] / cpu[0], 2),
    }  # fmt: skip
    return Record(name, seconds, others, "s", error, {"points": points, "b": 2}, details, what)


def _cpu(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began


def _qmcpy(alpha: Frequency, points: int) -> Callable[[], np.ndarray] | None:
    try:
        import qmcpy
    except ImportError:
        return None
    generator = qmcpy.Kronecker(alpha.dim, randomize="FALSE", generating_vector=alpha.floats(), warn=False)
    return lambda: np.asarray(generator(points))


if __name__ == "__main__":
    sys.exit(main("quasiperiodic_counting", benchmarks, PACKAGES))
