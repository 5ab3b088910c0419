"""No program passes that does not compute the answer; none survives, and none leaves anything behind."""

import os
import platform
import time
from pathlib import Path

import pytest

from tenfold.sandbox import Limits, Sandbox, Submission, Verdict
from tests.sandbox.hostile import ESCAPES, FORGED, GREEDY
from tests.sandbox.machine import needs_jails

pytestmark = needs_jails
TESTS = "assert f(2) == 7301234567890123"
LIMITS = Limits(seconds=1.0, memory=256, disk=4)
# An escape that worked would go on to a right answer.
PROGRAMS = {
    **FORGED,
    **GREEDY,
    **{name: f"{text}\ndef f(x): return 7301234567890123" for name, text in ESCAPES.items()},
}


@pytest.fixture(scope="module")
def before() -> set[str]:
    return {str(path) for place in ("/tmp", "/dev/shm", "/var/tmp") for path in Path(place).glob("*")}


@pytest.fixture(scope="module")
def verdicts(before: set[str]) -> dict[str, Verdict]:
    with Sandbox(LIMITS, workers=4) as sandbox:
        found = sandbox.judge(Submission(program, TESTS, ("f",)) for program in PROGRAMS.values())
        after = sandbox.judge([Submission("def f(x): return 7301234567890123", TESTS)])
    assert after[0].passed, "the sandbox is out of order"
    return dict(zip(PROGRAMS, found, strict=True))


def test_there_are_many() -> None:
    assert len(PROGRAMS) >= 90


@pytest.mark.parametrize("name", PROGRAMS)
def test_none_passes(name: str, verdicts: dict[str, Verdict]) -> None:
    if name in ("mount", "unmount", "32-bit calls") and platform.machine() != "x86_64":
        pytest.skip("numbers of calls are of x86_64")
    assert verdicts[name].status in ("failed", "error", "timed out", "memory", "killed"), verdicts[name]
    assert verdicts[name].seconds < 15


def test_greed_ends_at_its_limit(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["memory at once"].status == "memory"
    assert verdicts["memory"].status in ("memory", "timed out")
    assert verdicts["endless"].status == verdicts["signals ignored"].status == "timed out"
    assert "BlockingIOError" in verdicts["fork bomb"].text or verdicts["fork bomb"].status == "timed out"
    assert "can't start new thread" in verdicts["threads"].text
    assert verdicts["disk"].text.startswith("OSError") and verdicts["one large file"].status != "timed out"  # noqa: PT018
    assert "Too many open files" in verdicts["descriptors"].text


@pytest.mark.usefixtures("verdicts")
def test_nothing_survives() -> None:
    with Sandbox(LIMITS, workers=1) as sandbox:
        sandbox.judge([Submission("def f(x): return 7301234567890123", TESTS)])
        assert jailed(), "what looks for processes finds those that are there"
    for _ in range(20):
        left = jailed()
        if not left:
            break
        time.sleep(0.1)
    assert left == []


def jailed() -> list[str]:
    """Processes in namespaces of their own, and bubblewraps, on this machine; not those that another process of the
    tests has made."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            nested = len(status(folder).get("NSpid", "").split()) > 1 and b"-P" in words
            if (nested or words[0].endswith(b"bwrap")) and not others(folder):
                found.append(f"{folder.name} {words[:4]}")
        except OSError:
            continue
    return found


def status(folder: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())


def others(folder: Path) -> bool:
    """Whether a process descends from a sibling of this one, when tests run in several."""
    while "PYTEST_XDIST_WORKER" in os.environ and folder.name not in ("0", "1", str(os.getpid())):
        parent = int(status(folder)["PPid"])
        if parent == os.getppid():
            return True
        folder = folder.with_name(str(parent))
    return False


def test_nothing_is_left(before: set[str], verdicts: dict[str, Verdict]) -> None:
    assert verdicts
    now = {str(path) for place in ("/tmp", "/dev/shm", "/var/tmp") for path in Path(place).glob("*")}
    ours = [path for path in now - before if Path(path).name in ("x", "math.py", "sda") or Path(path).name.isdigit()]
    assert ours == []
