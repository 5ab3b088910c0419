"""What ``tenfold score`` finds: a row an item, from the least to the most likely. Imports no PyTorch."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.errors import UsageError
from tenfold.files import check_writable, json_text, write_output
from tenfold.runs.measurement import Measurement

SUFFIXES = (".csv", ".json")


@dataclass(frozen=True)
class Scores:
    """Scored items in the order of the first column, which is log p in nats: least likely first.

    ``columns`` maps the names of the columns to their units; ``values`` has a row an item. ``note`` says what the
    values are; ``files`` what was written.

    >>> found = Scores.ranked("flow", ["a", "b"], {"log_prob": ("nats", [-1.0, -2.0])})
    >>> found.names, found.values
    (('b', 'a'), ((-2.0,), (-1.0,)))
    """

    model: str
    names: tuple[str, ...]
    columns: Mapping[str, str]
    values: tuple[tuple[float, ...], ...]
    note: str = ""
    files: tuple[Path, ...] = ()

    @classmethod
    def ranked(
        cls, model: str, names: Sequence[str], columns: Mapping[str, tuple[str, Sequence[float]]], note: str = ""
    ) -> "Scores":
        """Scores of items in any order; ``columns`` maps a name to its unit and its values."""
        rows = list(zip(*(values for _, values in columns.values()), strict=True))
        order = sorted(range(len(names)), key=lambda i: rows[i][0])
        units = {name: unit for name, (unit, _) in columns.items()}
        return cls(model, tuple(names[i] for i in order), units, tuple(tuple(map(float, rows[i])) for i in order), note)

    @property
    def summary(self) -> list[Measurement]:
        """The mean of every column over the items, with its standard error where there are several."""
        count, rows = len(self.names), []
        for (name, unit), values in zip(self.columns.items(), zip(*self.values, strict=True), strict=True):
            mean = math.fsum(values) / count
            squares = math.fsum((v - mean) ** 2 for v in values)
            error = math.sqrt(squares / (count - 1) / count) if count > 1 else None
            rows.append(Measurement(name, mean, unit, model=self.model, standard_error=error, note=f"N = {count}"))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary; rank 1 is the least likely item."""
        rows = [
            {"rank": rank, "name": name, **dict(zip(self.columns, values, strict=True))}
            for rank, (name, values) in enumerate(zip(self.names, self.values, strict=True), 1)
        ]
        summary = [row.to_dict() for row in self.summary]
        return {"model": self.model, "note": self.note, "units": dict(self.columns), "summary": summary, "scores": rows}

    def write(self, path: Path) -> None:
        """Write a CSV table, or JSON as ``to_dict`` has it, by the suffix of ``path``."""
        check_target(path)
        content = self.to_dict()
        if path.suffix == ".json":
            text = json_text(content, indent=2) + "\n"
        else:
            table = io.StringIO()
            writer = csv.DictWriter(table, ["rank", "name", *self.columns], lineterminator="\n")
            writer.writeheader()
            writer.writerows(content["scores"])
            text = table.getvalue()
        write_output(path, text)


def check_target(path: Path) -> None:
    """Raise UsageError unless scores can be written to a file of this name."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'!r}; scores are written to .csv or .json files")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file for the scores")
    check_writable(path, "scores")
