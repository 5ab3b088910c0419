"""The demonstration behind ``make demo``: two flows on real digits, one table, one HTML report.

A demonstration that was interrupted goes on where it stopped; a finished one only writes its report again.
"""

import sys
from pathlib import Path

from tenfold import api
from tenfold.cli import show
from tenfold.cli.main import guarded

RECIPES = ("tarflow-digits", "tarflow-digits-noise")
FOLDER = Path("runs/demo")
TITLE = "TarFlow on 8x8 digits: exact likelihoods, samples, guidance and denoising"


def run(argv: list[str]) -> int:
    """Train the two recipes into ``runs/demo`` (or the folder given), measure them, print and report."""
    folder = Path(argv[0]) if argv else FOLDER
    done = []
    for name in RECIPES:
        print(f"{name}: training into {folder / name}", file=sys.stderr)
        started = (folder / name / "config.yaml").exists()
        trained = (
            api.resume(folder / name, evaluate=False) if started else api.train(name, folder / name, evaluate=False)
        )
        with show.busy(f"{name}: evaluating"):
            api.evaluate(trained)
        with show.busy(f"{name}: drawing"):
            api.report(trained)
        done.append(trained)
    page = api.joint_report(done, folder / "report.html", TITLE)
    show.measurements("the demonstration on held-out digits", [row for r in done for row in r.measurements], RECIPES)
    print(f"report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(run, sys.argv[1:]))
