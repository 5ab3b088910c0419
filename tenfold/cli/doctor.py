"""``tenfold doctor``: the machine, the versions, and the optional packages that are here or missing."""

import os
import platform
import re
import shutil
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from tenfold.api import catalogue
from tenfold.reports import console as show
from tenfold.runs.machine import cpu_name, free_memory
from tenfold.settings.command import CommandParser
from tenfold.version import __version__

EXAMPLES = """\
  tenfold doctor
  tenfold doctor --json
"""
_FOR_DEVELOPERS = ("dev", "benchmarks", "clients")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;]*)(?:;\s*(.*))?")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


def run(argv: list[str]) -> int:
    """Print what this installation has, and what it lacks."""
    parser = CommandParser(
        "doctor",
        "[--json]",
        "What this installation runs on: versions, devices, threads, memory and disk; and of the optional packages, "
        "which are here and how to get the others.",
        EXAMPLES,
    )
    parser.switch("--json", "print JSON")
    as_json = parser.parse_args(argv).json
    facts, extras = machine(), optional_packages()
    if as_json:
        show.as_json({**facts, "extras": extras})
        return 0
    about = Table("what", "found", title="installation", title_justify="left")
    for name, value in facts.items():
        about.add_row(name.replace("_", " "), ", ".join(value) if isinstance(value, list) else str(value))
    out = show.console()
    out.print(about)
    out.print(optional_table(extras))
    return 0


def optional_table(extras: Mapping[str, Mapping[str, str | None]]) -> Table:
    """The extras, and how to get what is missing of them."""
    table = Table("extra", "packages", "state", title="optional packages", title_justify="left")
    for extra, packages in extras.items():
        missing = [name for name, version in packages.items() if version is None]
        listed = ", ".join(f"{name} {version}" if version else name for name, version in packages.items())
        state = f"missing {', '.join(missing)}: pip install 'tenfold[{extra}]'" if missing else "here"
        table.add_row(extra, listed, escape(state))
    return table


def machine() -> dict[str, Any]:
    """The versions, devices, threads, memory and disk of this process; sizes in words."""
    import torch

    here = Path.cwd()
    return {
        "tenfold": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": [*_accelerators(), "cpu"],
        "free_memory": f"{free_memory() / 2**30:.1f} GiB",
        "free_disk": f"{shutil.disk_usage(here).free / 2**30:.1f} GiB in {here}",
        "systems_ready": [system.name for system in catalogue.ten().values() if system.state == "ready"],
    }


def _accelerators() -> list[str]:
    import torch

    if not torch.accelerator.is_available():
        return []
    kind = torch.accelerator.current_accelerator()
    assert kind is not None
    names = range(torch.accelerator.device_count())
    if kind.type != "cuda":
        return [f"{kind.type}:{i}" for i in names]
    return [
        f"cuda:{i} ({torch.cuda.get_device_name(i)}, {torch.cuda.mem_get_info(i)[0] / 2**30:.1f} GiB free)"
        for i in names
    ]


def optional_packages(requirements: list[str] | None = None) -> dict[str, dict[str, str | None]]:
    """By extra for users, the version of each of its packages that is installed; None for a missing one.

    >>> optional_packages(["torch>=2.6", "no-such-package>=1; extra == 'more'"])
    {'more': {'no-such-package': None}}
    """
    found: dict[str, dict[str, str | None]] = {}
    for line in metadata.requires("tenfold") or [] if requirements is None else requirements:
        told = _REQUIREMENT.fullmatch(line)
        extra = _EXTRA.search(line)
        if told is None or extra is None or extra[1] in _FOR_DEVELOPERS:
            continue
        if "sys_platform" in line and platform.system() != "Linux":
            continue
        found.setdefault(extra[1], {})[told[1]] = _version(told[1])
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
