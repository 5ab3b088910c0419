"""Control groups: limits of all processes of a jail together, where this process may make such groups: below a group of
version 2 that is delegated with its controllers, or of version 1 for root. Elsewhere there are none."""

import atexit
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Set
from functools import cache
from pathlib import Path

from tenfold.sandbox.limits import MIB, Limits

Folders = Mapping[str, Path]
CONTROLLERS = ("memory", "pids")
_PREFIX = "tenfold-"
_PATIENCE, _LAST_PATIENCE = 1.0, 5.0  # seconds
_left: set[Path] = set()  # groups to be removed
_REAPER = 1  # the jail's first process, which is not the program's


@cache
def swept() -> Folders:
    """The folder below which groups are made, by controller; empty where none may be made. What processes that were
    killed have left there is removed."""
    try:
        mounts, own = (Path("/proc/self", name).read_text(encoding="utf-8") for name in ("mountinfo", "cgroup"))
    except OSError:
        return {}
    places = delegated(mounts, own)
    if not places or not _works(places):
        return {}
    for place in set(places.values()):
        for folder in place.glob(f"{_PREFIX}*"):
            owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if not Path("/proc", owner).exists():
                _removed(folder)
    return places


def _works(places: Folders) -> bool:
    """Whether a group can be made there, and a process be put into it."""
    try:
        group = ControlGroup(Limits(), places)
    except OSError:
        return False
    waiting = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE, text=True)
    try:
        group.take(waiting.pid)
    except OSError:
        return False
    finally:
        waiting.communicate("\n")
        group.remove()
    return True


def delegated(mounts: str, own: str, root: Path = Path("/")) -> Folders:
    """The folders from the texts of /proc/self/mountinfo and /proc/self/cgroup, of a file system below ``root``.

    In version 2 a group with processes has no children with limits, so that the place is the nearest group above that
    hands both controllers on."""
    places = dict(line.split(":", 2)[1:] for line in own.splitlines() if line.count(":") >= 2)
    names = {name: place for listed, place in places.items() for name in listed.split(",")}
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        mounted = root / before.split(" ")[4].lstrip("/")
        if kind == "cgroup2" and "" in names:
            here = mounted / names[""].lstrip("/")
            for folder in (here, *here.parents):
                if not folder.is_relative_to(mounted):
                    break
                handed = folder / "cgroup.subtree_control"
                if handed.is_file() and {*CONTROLLERS} <= {*handed.read_text().split()} and _writable(folder):
                    return dict.fromkeys(CONTROLLERS, folder)
        for controller in CONTROLLERS:
            if kind == "cgroup" and controller in options.rsplit(" ", 1)[-1].split(",") and controller in names:
                folder = mounted / names[controller].lstrip("/")
                if _writable(folder):
                    found[controller] = folder
    return found if len(found) == len(CONTROLLERS) else {}


def _writable(folder: Path) -> bool:
    return all(os.access(path, os.W_OK) for path in (folder, folder / "cgroup.procs"))


class ControlGroup:
    """The group of one jail: memory of all its processes together, with what they keep in /tmp, and their number.

    Raises OSError where it cannot be made."""

    def __init__(self, limits: Limits, places: Folders) -> None:
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        self.folders = {place / name for place in places.values()}
        try:
            for folder in self.folders:
                folder.mkdir()
                for file, value in _settings(limits).items():
                    if (folder / file).exists():
                        (folder / file).write_text(str(value))
        except OSError:
            self.remove()
            raise

    def take(self, process: int) -> None:
        """Put a process, and those that it will start, into the group. Raises OSError where it has gone."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(process))

    @property
    def overrun(self) -> bool:
        """Whether the kernel ended a process because all together took too much memory."""
        told = (folder / file for folder in self.folders for file in ("memory.events", "memory.oom_control"))
        lines = [line for file in told if file.is_file() for line in file.read_text().splitlines()]
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def remove(self) -> None:
        """Remove it, as soon as its processes have gone; what is busy for longer is removed with a later one, or at
        the end of this process."""
        _left.update(self.folders)
        _remove(self.folders, _PATIENCE)


def _remove(folders: Set[Path], patience: float) -> None:
    """Remove groups, and those left over whose processes have gone since; wait some seconds for ``folders``."""
    end, wait = time.monotonic() + patience, 0.001
    while True:
        _left.difference_update([folder for folder in [*_left] if _removed(folder)])
        if _left.isdisjoint(folders) or time.monotonic() > end:
            return
        time.sleep(wait)
        wait = min(2 * wait, 0.05)


def _settings(limits: Limits) -> dict[str, int]:
    """By file, of both versions; swap counts as memory, so that its limits come behind."""
    together, processes = limits.together * MIB, limits.processes + _REAPER
    return {
        "memory.max": together,
        "memory.swap.max": 0,
        "memory.limit_in_bytes": together,
        "memory.memsw.limit_in_bytes": together,
        "pids.max": processes,
    }


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # a process of the group has not gone yet
        return False
    return True


atexit.register(_remove, _left, _LAST_PATIENCE)
