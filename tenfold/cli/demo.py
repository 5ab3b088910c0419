"""The demonstration behind ``make demo``: two flows on real digits, one table, one HTML report.

The flows are so small that one thread trains each best; two cores make both at once, the second in a process of its
own. A demonstration that was interrupted goes on where it stopped; a finished one is only measured again.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenfold import api, progress
from tenfold.cli.main import guarded
from tenfold.errors import TenfoldError, UsageError
from tenfold.reports import console as show

RECIPES = ("tarflow-digits", "tarflow-digits-noise")
FOLDER = Path("runs/demo")
TITLE = "TarFlow on 8x8 digits: exact likelihoods, samples, guidance and denoising"


def run(argv: list[str]) -> int:
    """Train the two recipes into ``runs/demo`` (or the folder given), measure them, print and report."""
    if len(argv) > 1 or (argv and argv[0].startswith("-")):
        raise UsageError(
            f"the demonstration takes a folder for its runs ({FOLDER} without one), not {' '.join(argv)!r}"
        )
    folder = Path(argv[0]) if argv else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    first, second = RECIPES
    print(f"making {first} and, beside it, {second} (its progress: {log_of(folder, second)})", file=sys.stderr)
    with made_beside(second, folder):
        if (folder / first / "config.yaml").exists():
            own = api.resume(folder / first, evaluate=False)
        else:
            own = api.train(first, folder / first, evaluate=False)
        with progress.shown(f"{first}: evaluating"):
            api.evaluate(own)
        with progress.shown(f"{first}: drawing"):
            api.report(own)
    done = [own, api.open_run(folder / second)]
    page = api.joint_report(done, folder / "report.html", TITLE)
    show.measurements("the demonstration on held-out digits", [row for r in done for row in r.measurements], RECIPES)
    print(f"report: {page}")
    return 0


def log_of(folder: Path, name: str) -> Path:
    """Where the process beside writes what it would print."""
    return folder / f"{name}.log"


@contextmanager
def made_beside(name: str, folder: Path) -> Iterator[None]:
    """Train (or resume), measure and report a recipe in another process while the body runs; wait for it at the end.

    When the body fails or is interrupted, the other process is asked to save and stop. Raises TenfoldError with
    the last line of its log where it fails."""
    target = str(folder / name)
    start = ["--resume", target] if (folder / name / "config.yaml").exists() else [name, "--out", target]
    command = [sys.executable, "-m", "tenfold.cli.main", "train", *start]
    log = log_of(folder, name)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield
        with progress.shown(f"{name}: training and evaluating"):
            code = process.wait()
    except BaseException:
        process.terminate()  # it saves, and resumes next time
        process.wait()
        raise
    if code:
        last = (log.read_text(encoding="utf-8").strip().splitlines() or ["it printed nothing"])[-1]
        raise TenfoldError(f"training {name} failed: {last.removeprefix('tenfold: ')} (see {log})")


if __name__ == "__main__":
    sys.exit(guarded(run, sys.argv[1:]))
