"""The memory that trainings take, beside what a dry run tells; a script, so that nothing else is in the process.

``python -m tests.training.peaks FOLDER NAME JSON NAME JSON ...`` prints, for each recipe with changed settings, the
peak of resident memory above that before the first step, and the estimate, in bytes, as JSON.
"""

import json
import sys
import threading
import time
from pathlib import Path

from tenfold import api
from tenfold.api import catalogue
from tenfold.settings.changes import change
from tenfold.training import loop


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Enough(Exception):
    """Two steps and a checkpoint were made."""


def measured(folder: Path, name: str, changes: str) -> tuple[int, int]:
    """Peak above the start, and the estimate."""
    recipe = change(catalogue.recipe(name), json.loads(changes))
    base, peak, done = [0], [0], threading.Event()
    prepare, validate = loop._Training._prepare, loop._Training._validate

    def preparing(self: loop._Training) -> None:
        self.task.train_source()
        base[0] = resident()
        prepare(self)

    def saving(self: loop._Training) -> None:
        self._save()
        raise Enough

    def watching() -> None:
        while not done.is_set():
            peak[0] = max(peak[0], resident()) if base[0] else 0
            time.sleep(0.003)

    watcher = threading.Thread(target=watching)
    watcher.start()
    loop._Training._prepare, loop._Training._validate = preparing, saving  # type: ignore[method-assign]
    try:
        api.train(recipe, folder, evaluate=False, device="cpu")
    except Enough:
        pass
    finally:
        loop._Training._prepare, loop._Training._validate = prepare, validate  # type: ignore[method-assign]
        done.set()
        watcher.join()
    return peak[0] - base[0], api.describe(recipe)["total_bytes"]


if __name__ == "__main__":
    root, *rest = sys.argv[1:]
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    began, found = time.monotonic(), []
    for number, pair in enumerate(pairs):
        found.append(measured(Path(root) / str(number), *pair))
        print(pair[0], *found[-1], f"{time.monotonic() - began:.1f} s", file=sys.stderr)
    print(json.dumps(found))
