"""Several runs side by side: the settings in which they differ, and what was measured of each run's own model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.reports.html import read_run
from tenfold.reports.tables import format_value, title_of
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import load_config

if TYPE_CHECKING:
    from rich.table import Table

_CLEAR = 2.0  # standard errors


@dataclass(frozen=True)
class Side:
    """A run as it is compared: what it is called here, its settings, and the rows of its own model."""

    name: str
    settings: Mapping[str, Any]
    rows: tuple[Measurement, ...]


@dataclass(frozen=True)
class Line:
    """One measure of all runs; None where a run lacks it."""

    measure: str
    split: str
    unit: str
    rows: tuple[Measurement | None, ...]

    @property
    def difference(self) -> str:
        """The last run minus the first, with its standard error, and whether it is more than the noise; empty where one
        of them is missing."""
        first, last = self.rows[0], self.rows[-1]
        if first is None or last is None or not math.isfinite(last.value - first.value):
            return ""
        if first.standard_error is None or last.standard_error is None:
            return f"{last.value - first.value:+.4g}"
        error = math.hypot(first.standard_error, last.standard_error)
        clear = abs(last.value - first.value) > _CLEAR * error
        words = "" if clear else ", within the noise"
        return f"{format_value(last.value - first.value, error)}{words}"


def side_of(folder: Path) -> Side:
    """A run's folder, of a training, an analysis or an example. Raises UsageError where it holds none of them."""
    run = read_run(folder)
    settings = load_config(folder) if (folder / "config.yaml").exists() else {}
    return Side(str(folder), settings, tuple(row for row in run.rows if row.model in run.own))


def settings_that_differ(sides: Sequence[Side]) -> dict[str, tuple[Any, ...]]:
    """The settings, by their dotted names, that are not the same in all runs; None where a run has none of the name.

    >>> first, second = ({"train": {"steps": 1, "seed": 0}}, {"train": {"steps": 2}})
    >>> settings_that_differ([Side("a", first, ()), Side("b", second, ())])
    {'train.steps': (1, 2), 'train.seed': (0, None)}
    """
    flat = [_flat(side.settings) for side in sides]
    names = dict.fromkeys(name for settings in flat for name in settings)
    found = {name: tuple(settings.get(name) for settings in flat) for name in names}
    return {name: values for name, values in found.items() if any(value != values[0] for value in values)}


def common_measures(sides: Sequence[Side]) -> list[Line]:
    """What was measured of two runs at least, in the order of the first that has it."""
    keys = dict.fromkeys((row.name, row.split, row.unit) for side in sides for row in side.rows)
    lines = []
    for key in keys:
        rows = tuple(next((row for row in side.rows if (row.name, row.split, row.unit) == key), None) for side in sides)
        if sum(row is not None for row in rows) > 1:
            lines.append(Line(*key, rows))
    return lines


def comparison_tables(sides: Sequence[Side]) -> "list[Table]":
    """The same as tables of rich: measures first, then settings; those that would be empty are left out."""
    from rich.markup import escape
    from rich.table import Table

    names = [escape(side.name) for side in sides]
    measures = Table("measure", *names, "last − first", title="measured", title_justify="left")
    lines = common_measures(sides)
    for line in lines:
        unit = f" ({line.unit})" if line.unit else ""
        values = ["" if row is None else format_value(row.value, row.standard_error) for row in line.rows]
        measures.add_row(escape(f"{title_of(line.measure)}, {line.split}{unit}"), *values, line.difference)
    settings = Table("setting", *names, title="settings that differ", title_justify="left")
    different = settings_that_differ(sides)
    for name, given in different.items():
        settings.add_row(name, *(escape(str(value)) for value in given))
    return [table for table, filled in ((measures, lines), (settings, different)) if filled]


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        elif before or name != "format":
            found[before + name] = value
    return found
