"""One way to compare two programs: paired, alternating runs after a warm-up, medians, equal thread counts.

Every benchmark module is run as ``python -m benchmarks.<room> [--quick] [--json FILE] [--threads N]`` and
writes ``{"machine": ..., "versions": ..., "commit": ..., "records": [...]}``.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tenfold.runs.machine import cpu_name
from tenfold.runs.run_folder import git_commit


@dataclass
class Record:
    """One comparison.

    ``ours`` and ``other`` are in ``unit``; ``ratio`` = other / ours, above 1 where ours is better (less
    is better in every unit). ``max_error`` is the largest difference between the two results; ``sizes`` and
    ``details`` say what ran; ``note`` anything that a reader must know. Where each side has an error of its own
    (against float64, or a closed form), the details hold ``ours_error`` and ``other_error``, and what was not run but
    scaled up says "extrapolated" there: the tables of the docs show both.
    """

    name: str
    ours: float
    other: float
    unit: str
    max_error: float | None = None
    sizes: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def ratio(self) -> float:
        """other / ours."""
        return self.other / self.ours if self.ours else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary with the ratio."""
        return {**asdict(self), "ratio": self.ratio}


def paired(
    ours: Callable[[], Any],
    other: Callable[[], Any],
    repeats: int = 5,
    warm_up: int = 1,
    synchronize: Any = None,
) -> tuple[float, float]:
    """Median seconds of ``ours`` and ``other``, run in turn ``repeats`` times after ``warm_up`` runs of each.

    The order within a pair alternates, so that neither always runs on a warmer cache. ``synchronize`` is
    called before each clock reading (a GPU)."""
    for _ in range(warm_up):
        ours()
        other()
    times: dict[int, list[float]] = {0: [], 1: []}
    for number in range(repeats):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            times[which].append(clock((ours, other)[which], synchronize))
    return statistics.median(times[0]), statistics.median(times[1])


def clock(run: Callable[[], Any], synchronize: Any = None) -> float:
    """Seconds of one run."""
    if synchronize:
        synchronize()
    began = time.perf_counter()
    run()
    if synchronize:
        synchronize()
    return time.perf_counter() - began


def machine(threads: int) -> dict[str, Any]:
    """The hardware in general words, and the threads in use."""
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "threads": threads,
    }
    import torch

    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def main(
    room: str,
    benchmarks: Callable[[bool, Callable[[Record], None]], None],
    packages: tuple[str, ...] = ("tenfold", "torch"),
    arguments: list[str] | None = None,
) -> int:
    """The command line of a benchmark module: ``benchmarks(quick, emit)`` calls ``emit(record)`` for each result."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{room}",
        description=f"Benchmarks of {room} against the reference's algorithm.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats and less training; numbers are rough")
    parser.add_argument("--json", metavar="FILE", help="write the records there")
    parser.add_argument("--threads", type=int, default=1, help="threads of both sides (1)")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(options.threads)
    records: list[Record] = []

    def emit(record: Record) -> None:
        records.append(record)
        error = "" if record.max_error is None else f"  max error {record.max_error:.1e}"
        print(
            f"{record.name:34} ours {record.ours:10.4g}  other {record.other:10.4g} {record.unit:8} "
            f"ratio {record.ratio:6.2f}{error}",
            flush=True,
        )

    benchmarks(options.quick, emit)
    result = {
        "room": room,
        "command": f"python -m benchmarks.{room}" + (" --quick" if options.quick else ""),
        "quick": options.quick,
        "machine": machine(options.threads),
        "versions": versions(*packages),
        **(git_commit() or {}),
        "seeds": [0],  # of the inputs that both sides are given
        "records": [record.to_dict() for record in records],
    }
    if options.json:
        target = Path(options.json)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        partial.replace(target)
        print(f"wrote {target}", file=sys.stderr)
    return 0
