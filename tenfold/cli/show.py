"""Printing: tables for people, JSON for machines, and a spinner for what takes a while."""

import json
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console
from rich.table import Table

from tenfold.measurement import Measurement


def console() -> Console:
    """The terminal's standard output; wide where it is a file or a pipe, so that no line is cut."""
    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=160)


def busy(what: str) -> AbstractContextManager[Any]:
    """A spinner on standard error while something runs."""
    return Console(stderr=True).status(f"{what} ...")


def as_json(value: Any) -> None:
    """Print a JSON document."""
    print(json.dumps(value, indent=2))


def rows_as_json(rows: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Measurements as ``evaluation.json`` holds them."""
    return [row.to_dict() for row in rows]


def number(row: Measurement) -> str:
    """A value with its standard error.

    >>> number(Measurement("bits_per_dim", 2.1234, standard_error=0.0021))
    '2.1234 ± 0.0021'
    """
    value = f"{row.value:.4f}" if 1e-3 <= abs(row.value) < 1e5 or row.value == 0 else f"{row.value:.3g}"
    return value if row.standard_error is None else f"{value} ± {row.standard_error:.2g}"


def measurements(title: str, rows: Iterable[Measurement]) -> None:
    """Print measurements as one table."""
    table = Table(title=title, title_justify="left")
    for column in ("measure", "model", "split"):
        table.add_column(column, no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    for column in ("unit", "draws", "note"):
        table.add_column(column)
    for row in rows:
        draws = "" if row.draws is None else str(row.draws)
        table.add_row(row.name, row.model, row.split, number(row), row.unit, draws, row.note)
    console().print(table)


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
