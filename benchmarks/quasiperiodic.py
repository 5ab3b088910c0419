"""Sequences, counts and quantum dynamics against other programs: ``python -m benchmarks.quasiperiodic``.

The two halves run alone as well: ``benchmarks.quasiperiodic_counting`` and ``benchmarks.quasiperiodic_dynamics``.
"""

import sys
from collections.abc import Callable

from benchmarks import quasiperiodic_counting as counting
from benchmarks import quasiperiodic_dynamics as dynamics
from benchmarks.harness import Record, main


def benchmarks(quick: bool, emit: Callable[[Record], None]) -> None:
    """All records of the room."""
    counting.benchmarks(quick, emit)
    dynamics.benchmarks(quick, emit)


if __name__ == "__main__":
    sys.exit(main("quasiperiodic", benchmarks, tuple(dict.fromkeys((*counting.PACKAGES, *dynamics.PACKAGES)))))
