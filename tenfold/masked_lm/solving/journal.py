"""What is finished of a suite, a line of JSON each, so that work which was cut off goes on behind it."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.errors import UsageError
from tenfold.files import disk_errors, json_text, read_json, write_json

Key = tuple[int, int]


class Journal:
    """The finished samples of a suite by (number of the problem, sample): lines of ``FOLDER/completions.jsonl``, or
    without a folder in memory alone.

    ``suite.json`` beside them says what they are of. A line that a kill left half-written is removed. Raises UsageError
    for a folder with lines of another ``header``."""

    def __init__(self, folder: Path | None, header: Mapping[str, Any]) -> None:
        self.done: dict[Key, dict[str, Any]] = {}
        self.path = None if folder is None else folder / "completions.jsonl"
        if folder is None:
            return
        about = folder / "suite.json"
        with disk_errors(str(folder)):
            if not about.exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_json(about, header)
            elif read_json(about) != json.loads(json_text(header)):
                raise UsageError(
                    f"{folder} holds completions of another model, other problems or other settings; go on with those, "
                    "or choose another --out"
                )
            self._read(folder / "completions.jsonl")

    def _read(self, path: Path) -> None:
        path.touch()
        at = 0
        with open(path, "rb+") as file:
            for line in file:
                try:
                    record = json.loads(line)
                    key = int(record["problem"]), int(record["sample"])
                except (ValueError, KeyError, TypeError, RecursionError):
                    break
                if not line.endswith(b"\n"):
                    break
                self.done[key] = record
                at += len(line)
            file.truncate(at)

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Keep finished samples; they are on the disk when this returns."""
        self.done.update({(int(r["problem"]), int(r["sample"])): dict(r) for r in records})
        if self.path is None:
            return
        with disk_errors(str(self.path)), open(self.path, "a", encoding="utf-8") as file:
            file.writelines(json_text(record) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
