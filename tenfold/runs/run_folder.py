"""One folder per run: what was asked, what was saved, what came out, and where it came from.

Imports no PyTorch, so that reports and listings stay quick.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError
from tenfold.files import (
    check_writable,
    disk_errors,
    fsync,
    json_text,
    read_json,
    replace_folder,
    write_json,
    write_yaml,
)
from tenfold.runs.measurement import Measurement
from tenfold.settings.yaml_files import FORMAT, read_yaml

_PACKAGES = ("tenfold", "torch", "numpy", "accelerate", "safetensors")


class RunFolder:
    """The layout of a run.

    ``config.yaml``, ``checkpoints/step-N/``, ``metrics.jsonl``, ``evaluation.json``, ``figures/``,
    ``report.html``, ``model/`` (the exported model) and ``provenance.json``. JSON and YAML are written beside
    and renamed; ``lock()`` keeps a second process out.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.figures = self.path / "figures"
        self.report = self.path / "report.html"
        self.model = self.path / "model"
        self.provenance = self.path / "provenance.json"
        self._lock: IO[str] | None = None
        self._depth = 0

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def holds_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists() or (self.checkpoints.is_dir() and any(self.checkpoints.glob("step-*")))

    def start(self, settings: Mapping[str, Any]) -> None:
        """Make the folder of a new run and write its ``config.yaml``; refuses a folder that holds a run."""
        self.refuse_existing_run()
        self.write_config(settings)

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """``config.yaml``: the settings, under the number of the folder's format."""
        with disk_errors(str(self.config)):
            self.path.mkdir(parents=True, exist_ok=True)
            write_yaml(self.config, {"format": FORMAT, **settings})

    def refuse_existing_run(self) -> None:
        """UsageError when a run was started here (so that a command can say so before it does any work)."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file; a run needs a folder: choose another --out")
        check_writable(self.path, "a run", folder=True)
        if self.holds_run():
            raise UsageError(
                f"{self.path} already holds a run; continue it with 'tenfold train --resume {self.path}' "
                "or choose another --out"
            )

    def forget_start(self) -> None:
        """Take away what ``start`` and the first preparations wrote of a run that never made a step, so that the
        folder does not refuse the next try; other files stay."""
        for part in (self.config, self.provenance, self.metrics, self.path / ".lock"):
            part.unlink(missing_ok=True)
        for folder in (self.checkpoints, self.path / "tensorboard"):
            shutil.rmtree(folder, ignore_errors=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def require_run(self) -> None:
        """UsageError unless a run was started here."""
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is not a folder; a run is made with 'tenfold train NAME --out FOLDER'")
        if not self.holds_run():
            raise UsageError(f"{self.path} holds no run (no config.yaml); make one with 'tenfold train NAME'")

    def load_config(self) -> dict[str, Any]:
        """The settings in ``config.yaml``."""
        return load_config(self.config)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; nested use is fine. TenfoldError while another process holds it.

        The kernel releases the lock with its process, so that a killed run never blocks the next one; the
        process number inside the file serves the message alone.
        """
        if self._depth == 0:
            self._lock = self._acquire()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self._lock is not None:
                _HELD.discard(self._lock)
                self._lock.close()
                self._lock = None

    def _acquire(self) -> IO[str]:
        with disk_errors(str(self.path)):
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / ".lock", "a+")  # noqa: SIM115  (held until lock() ends)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                file.close()
                raise TenfoldError(
                    f"{self.path} is in use by another process (pid {owner}); "
                    "wait for it, stop it, or choose another --out"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        _HELD.add(file)
        return file

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``; a record has "step" and "kind" ("train" or "validation")."""
        with disk_errors(str(self.metrics)), open(self.metrics, "a") as file:
            file.write(json_text(record) + "\n")

    def truncate_metrics(self, step: int) -> None:
        """Drop the records after ``step`` and a half-written last line: a resumed run writes them anew."""
        if not self.metrics.exists():
            return
        temporary = self.metrics.with_name(".metrics.jsonl.writing")
        with disk_errors(str(self.metrics)):
            with open(temporary, "w", encoding="utf-8") as file:
                file.writelines(f"{json_text(record)}\n" for record in self.metric_records() if record["step"] <= step)
            fsync(temporary)
            os.replace(temporary, self.metrics)

    def metric_records(self) -> Iterator[dict[str, Any]]:
        """The records of ``metrics.jsonl``, one after the other; what is no record is left out, with a note unless it
        is a last line that a kill left half-written."""
        if not self.metrics.exists():
            return
        broken: list[int] = []
        number = 0
        with open(self.metrics, encoding="utf-8", errors="replace", newline="\n") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    record = None
                if isinstance(record, dict) and isinstance(record.get("step"), int | float):
                    yield record
                elif line.strip():
                    broken.append(number)
        if broken and broken != [number]:
            lines = f"{len(broken)} lines are no records, the first is line {broken[0]}"
            progress.note(f"{self.metrics}: {lines}; they were left out")

    def read_metrics(self, most: int | None = None) -> list[dict[str, Any]]:
        """The records of ``metrics.jsonl`` in the order of their steps; of more than ``most`` of one kind, evenly
        spread ones, so that a long run needs no more memory than a short one."""
        kept: dict[str, list[dict[str, Any]]] = defaultdict(list)
        seen: Counter[str] = Counter()
        every: dict[str, int] = defaultdict(lambda: 1)
        for record in self.metric_records():
            kind = str(record.get("kind"))
            if seen[kind] % every[kind] == 0:
                kept[kind].append(record)
            seen[kind] += 1
            if most is not None and len(kept[kind]) > most:
                kept[kind], every[kind] = kept[kind][::2], 2 * every[kind]
        return sorted((record for records in kept.values() for record in records), key=lambda record: record["step"])

    def write_evaluation(self, measurements: Iterable[Measurement]) -> None:
        """``evaluation.json``: one row per measured value, baselines included."""
        with disk_errors(str(self.evaluation)):
            write_json(self.evaluation, {"metrics": [row.to_dict() for row in measurements]})

    def read_evaluation(self) -> list[Measurement]:
        """The rows of ``evaluation.json``. Raises TenfoldError for another file of that name."""
        try:
            return [Measurement.from_dict(row) for row in read_json(self.evaluation)["metrics"]]
        except (KeyError, TypeError, AttributeError, UsageError) as error:
            raise TenfoldError(
                f"{self.evaluation} is not a list of measurements ({error}); redo it with 'tenfold evaluate'"
            ) from None

    def write_provenance(self, **facts: Any) -> None:
        """``provenance.json``: where the numbers came from; later calls add to it and keep the rest."""
        with disk_errors(str(self.provenance)):
            write_json(self.provenance, {**self.read_provenance(), **facts})

    def record_start(self, step: int, circumstances: Mapping[str, Any], fingerprint: str) -> None:
        """Note in ``provenance.json`` what trains from ``step`` on, and on which data."""
        facts = {**provenance(), **circumstances}
        if step == 0:
            self.write_provenance(**facts, data=fingerprint, resumed=[])
        else:
            known = self.read_provenance().get("resumed", [])
            self.write_provenance(resumed=[*known, {"step": step, **facts}])

    def replace_model(self, write: Callable[[Path], Any]) -> None:
        """Put what ``write(folder)`` makes in the place of ``model/``, when it is whole."""
        with disk_errors(str(self.model)):
            temporary = self.path / ".writing-model"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write(temporary)
            replace_folder(temporary, self.model)

    def read_provenance(self) -> dict[str, Any]:
        """What ``provenance.json`` holds; empty when there is none, and with a note where it cannot be read."""
        if not self.provenance.exists():
            return {}
        try:
            found = read_json(self.provenance)
        except UsageError as error:
            found = str(error)
        if not isinstance(found, dict):
            progress.note(f"{self.provenance} holds no facts about the run ({found}); it was left out")
            return {}
        return found


def load_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A run's ``config.yaml`` (or the folder that holds one) as a dictionary.

    Raises:
        UsageError: when the file is missing, is not YAML, or does not hold settings.
    """
    file = Path(path)
    file = file / "config.yaml" if file.is_dir() else file
    if not file.exists():
        raise UsageError(f"{file} does not exist; a run folder holds a config.yaml")
    return read_yaml(file)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def provenance() -> dict[str, Any]:
    """What can be told about this process: versions, commit, command, kind of machine; no user paths."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv),
        "versions": versions(),
        "git": git_commit(),
        "platform": {
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
        },
    }


def command_line(arguments: list[str]) -> list[str]:
    """The command with the program's bare name and without anybody's folders in absolute paths."""
    here = f"{Path.cwd()}{os.sep}"
    shortened = []
    for argument in arguments[1:]:
        flag, equals, value = argument.rpartition("=")
        if value.startswith(here):
            value = value.removeprefix(here)
        elif os.path.isabs(value):
            value = f".../{os.path.basename(value)}"
        shortened.append(f"{flag}{equals}{value}")
    return [os.path.basename(arguments[0]), *shortened] if arguments else []


def git_commit() -> dict[str, Any] | None:
    """Commit of the repository around the working directory and whether it has changes; None outside one."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


_HELD: set[IO[str]] = set()


def _drop_locks_in_child() -> None:
    # A forked child (a data worker, say) would otherwise keep the lock alive after this process has died;
    # closing the child's copy does not release the parent's lock.
    for file in _HELD:
        file.close()
    _HELD.clear()


os.register_at_fork(after_in_child=_drop_locks_in_child)
