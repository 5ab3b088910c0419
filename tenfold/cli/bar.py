"""A bar with the remaining time for work that reports the fraction done; a line now and then without a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tenfold.training.progress import clock

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def bar(what: str) -> Iterator[Callable[[float], None]]:
    """``with bar("evolving") as done: ... done(0.3)``: fraction, elapsed and remaining time on standard error."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(what, total=1.0)
            yield lambda fraction: progress.update(task, completed=fraction)
        return
    began = last = time.monotonic()

    def line(fraction: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES and fraction > 0:
            last = now
            left = (now - began) * (1 - fraction) / fraction
            print(f"{what}: {100 * fraction:.0f} %  eta {clock(left)}", file=sys.stderr, flush=True)

    yield line
