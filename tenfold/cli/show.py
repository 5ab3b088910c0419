"""Printing: tables for people, JSON for machines, and a spinner for what takes a while."""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tenfold.measurement import Measurement


def console() -> Console:
    """The terminal's standard output; wide where it is a file or a pipe, so that no line is cut."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=160)


def busy(what: str) -> AbstractContextManager[Any]:
    """A spinner and the elapsed time on standard error while something runs."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    progress = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    progress.add_task(f"{what} ...", total=None)
    return progress


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error; the function it yields takes the fraction done."""
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with bar:
        task = bar.add_task(what, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def as_json(value: Any) -> None:
    """Print a JSON document."""
    print(json.dumps(value, indent=2))


def rows_as_json(rows: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Measurements as ``evaluation.json`` holds them."""
    return [row.to_dict() for row in rows]


def measurements(title: str, rows: Sequence[Measurement], own: Collection[str] = ()) -> None:
    """Print measurements as one table; the models in ``own`` stand out from what they are compared with."""
    from tenfold.reports.tables import metric_table

    console().print(metric_table(rows, own, title))


def quantity(name: str, value: Any) -> str:
    """A fact of a dry run in human units.

    >>> quantity("total_bytes", 3 * 2**30), quantity("flops_per_step", 2.5e12), quantity("tokens", 1024)
    ('3.0 GiB', '2.50e+12', '1,024')
    """
    if name.endswith("bytes"):
        size = float(value)
        for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
            if size < 1024 or unit == "TiB":
                return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
            size /= 1024
    if "flops" in name:
        return f"{value:.2e}"
    return f"{value:,}" if isinstance(value, int) else str(value)
