"""``tenfold bench``."""

import subprocess
import sys
from pathlib import Path

import tenfold
from tenfold.api import catalogue
from tenfold.errors import TenfoldError, UsageError, suggest
from tenfold.files import check_writable
from tenfold.settings.command import CommandParser

EXAMPLES = """\
  tenfold bench flows --quick
  tenfold bench flows --json flows.json
"""


def run(argv: list[str]) -> int:
    """Run ``python -m benchmarks.ROOM`` of the source checkout."""
    rooms = catalogue.benchmarks()
    root = Path(tenfold.__file__).resolve().parent.parent
    parser = CommandParser(
        "bench",
        "ROOM [--quick] [--json FILE]",
        "Compare speed and results with the reference algorithm; prints ratios (above 1: faster).",
        EXAMPLES,
    )
    parser.offer(parser.add_argument("room", metavar="ROOM", help=", ".join(rooms)), rooms)
    parser.switch("--quick", "small sizes, few repetitions")
    parser.add_argument("--json", metavar="FILE", help="write the records here")
    given = parser.parse_args(argv)
    if not (root / "benchmarks").is_dir():
        raise UsageError(
            "there is no benchmarks folder beside the installed package; run 'tenfold bench' from a source "
            "checkout installed with 'pip install -e .'"
        )
    if given.room not in rooms:
        raise UsageError(f"there is no benchmark {given.room!r}{suggest(given.room, rooms)}")
    if given.json:
        check_writable(given.json, "the records")
    command = [sys.executable, "-m", f"benchmarks.{given.room}"]
    command += ["--quick"] if given.quick else []
    command += ["--json", str(Path(given.json).absolute())] if given.json else []
    # From the checkout's folder, so that no other "benchmarks" on the way is found.
    code = subprocess.run(command, cwd=root, check=False).returncode
    if code not in (0, 2):
        raise TenfoldError(f"the benchmark {given.room!r} failed with exit code {code}")
    return code
