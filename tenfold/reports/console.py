"""Printing: tables for people, JSON for machines."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape

from tenfold import progress as progresses
from tenfold.files import json_text
from tenfold.runs.measurement import Measurement
from tenfold.runs.scores import Scores

_MOST_ROWS, _MOST_LINES = 40, 60


def console() -> Console:
    """The terminal's standard output; wide where it is a file or a pipe, so that no line is cut."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=160)


def busy(what: str) -> AbstractContextManager[None]:
    """Show that something runs whose end is unknown."""
    return progresses.shown(what)


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """Show how far some work is; the function that it yields takes the fraction done."""
    with progresses.shown(), progresses.task(what, 100, "%") as step:
        yield lambda fraction: step(100 * fraction - step.done)


def as_json(value: Any) -> None:
    """Print a JSON document."""
    print(json_text(value, indent=2))


def rows_as_json(rows: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Measurements as ``evaluation.json`` holds them."""
    return [row.to_dict() for row in rows]


def measurements(title: str, rows: Sequence[Measurement], own: Collection[str] = ()) -> None:
    """Print measurements as one table; the models in ``own`` stand out from what they are compared with."""
    from tenfold.reports.tables import metric_table

    console().print(metric_table(rows, own, title))


def example(name: str, folder: str, page: Any, rows: Sequence[Measurement], json: bool) -> None:
    """Print what a worked example measured, and where its report is."""
    if json:
        as_json({"run": folder, "report": str(page), "metrics": rows_as_json(rows)})
    else:
        measurements(f"example {name}", rows)
        print(f"report: {page}")


def readable(text: str, most: int = _MOST_LINES) -> str:
    """The first lines of a text that a model wrote, as a terminal may show it: control characters, of which some move
    the cursor or set colours, are replaced.

    >>> readable("one\\x1b[31m\\ntwo\\nthree\\n", most=2)
    'one�[31m\\ntwo\\n... 1 more lines'
    """
    lines = text.removesuffix("\n").split("\n")
    shown = ["".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in lines[:most]]
    return "\n".join([*shown, *([f"... {len(lines) - most} more lines"] if len(lines) > most else [])])


def scores(found: Scores) -> None:
    """Print scored items as a table, of many the least and the most likely ones, and the means."""
    from rich.table import Table

    from tenfold.reports.tables import title_of

    table = Table(title=found.model, title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("name")
    for name, unit in found.columns.items():
        table.add_column(f"{title_of(name)}\n{unit}", justify="right")
    count = len(found.names)
    most = _MOST_ROWS // 2
    for i, (name, values) in enumerate(zip(found.names, found.values, strict=True)):
        if count <= _MOST_ROWS or i < most or i >= count - most:
            table.add_row(str(i + 1), escape(name), *(f"{value:.4f}" for value in values))
        elif i == most:
            table.add_row("", f"... {count - _MOST_ROWS} more, which --out FILE and --json have")
    console().print(table)
    print(found.note)
    measurements("mean", found.summary)


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
