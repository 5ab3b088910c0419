"""What the user sees while something is counted through: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(what: str, total: int, unit: str, done: int = 0, show: bool = True) -> Iterator[Callable[[int], None]]:
    """``with progress("caching latents", 5000, "images") as advance: ... advance(64)``: rate and remaining
    time on standard error. ``done`` of the ``total`` were finished before; ``show`` False says nothing."""
    console = Console(stderr=True)
    began, last_line, first = time.monotonic(), time.monotonic(), done
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not (show and console.is_terminal),
    )
    task = bar.add_task("", total=total, completed=done, detail="")

    def advance(count: int) -> None:
        nonlocal done, last_line
        done += count
        rate = (done - first) / max(1e-9, time.monotonic() - began)
        detail = f"{rate:.3g} {unit}/s  eta {clock((total - done) / rate if rate > 0 else 0.0)}"
        bar.update(task, completed=done, detail=detail)
        if show and not console.is_terminal and time.monotonic() - last_line >= SECONDS_BETWEEN_LINES:
            last_line = time.monotonic()
            print(f"{what} {done}/{total}  {detail}", file=sys.stderr, flush=True)

    with bar:
        yield advance


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
