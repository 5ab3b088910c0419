"""Control groups: where they are made, what they say, and that they hold."""

import gc
import os
from pathlib import Path

import pytest

from tenfold.cli.main import main
from tenfold.errors import TenfoldError
from tenfold.sandbox import Limits, Sandbox, Submission, cgroups, jail, layers
from tenfold.sandbox.cgroups import ControlGroup, delegated
from tenfold.sandbox.inside import guest
from tests.sandbox.machine import needs_jails

GREEDY = """
import os, time
for _ in range(6):
    if os.fork() == 0:
        held = b"1" * (40 << 20)
        time.sleep(9)
held = b"1" * (60 << 20)
def f(x): return os.wait()[1]
"""


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """A group of a session, below one that hands on its controllers, below one that hands on one of them."""
    for folder, handed in (("", "memory"), ("user", "cpu memory pids"), ("user/session", "")):
        (tmp_path / "sys/fs/cgroup" / folder).mkdir(parents=True)
        (tmp_path / "sys/fs/cgroup" / folder / "cgroup.subtree_control").write_text(handed)
        (tmp_path / "sys/fs/cgroup" / folder / "cgroup.procs").touch()
    return tmp_path


def test_version_2_takes_the_nearest_group_that_hands_on_both(version_2: Path) -> None:
    mounts = (
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n25 30 0:5 / /proc rw - proc proc rw\n"
    )
    place = version_2 / "sys/fs/cgroup/user"
    assert delegated(mounts, "0::/user/session\n", version_2) == {"memory": place, "pids": place}
    (place / "cgroup.procs").unlink()
    assert delegated(mounts, "0::/user/session\n", version_2) == {}
    assert delegated("25 30 0:5 / /proc rw - proc proc rw\n", "0::/\n", version_2) == {}


def test_version_1_needs_both_controllers(tmp_path: Path) -> None:
    for name in ("memory/own", "pids"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").touch()
    mounts = "".join(f"1 1 0:1 / /{n} rw shared:9 - cgroup cgroup rw,{n}\n" for n in ("memory", "pids", "cpu"))
    own = "4:memory:/own\n8:pids:/\n0::/\n"
    assert delegated(mounts, own, tmp_path) == {"memory": tmp_path / "memory/own", "pids": tmp_path / "pids"}
    assert delegated(mounts, "4:memory:/own\n", tmp_path) == {}


def test_limits_are_written_where_they_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", _made)
    group = ControlGroup(Limits(together=100, processes=7), {"memory": tmp_path, "pids": tmp_path})
    (folder,) = group.folders
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "memory.max": str(100 << 20), "memory.swap.max": "0", "pids.max": "8", "memory.events": "oom 0\noom_kill 0\n"
    }  # fmt: skip
    assert not group.overrun
    (folder / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert group.overrun


def _made(folder: Path) -> None:
    """As the kernel makes a group of version 2."""
    os.mkdir(folder)
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (folder / name).touch()
    (folder / "memory.events").write_text("oom 0\noom_kill 0\n")


@needs_jails
@pytest.mark.skipif(not cgroups.swept(), reason="no control groups may be made here")
def test_memory_of_all_processes_together() -> None:
    before = _groups()
    with Sandbox(Limits(seconds=5.0, memory=256, together=128), workers=1) as sandbox:
        (found,) = sandbox.judge([Submission(GREEDY, "assert f(1) == 9", ("f",))])
    # The kernel ends the largest: the program itself, or a child, which it tells.
    assert (found.status, "together" in found.text) in (("memory", True), ("passed", False))
    with Sandbox(Limits(seconds=2.0, memory=256, together=1024), workers=1) as sandbox:
        (found,) = sandbox.judge([Submission(GREEDY, "assert f(1) == 9", ("f",))])
    assert found.status == "timed out"
    assert not _groups() - before


def _groups() -> set[Path]:
    """Of this process: other sandboxes may be open."""
    places = set(cgroups.swept().values())
    return {path for place in places for path in place.glob(f"tenfold-{os.getpid()}-*")}


@needs_jails
@pytest.mark.skipif(not cgroups.swept(), reason="no control groups may be made here")
def test_a_sandbox_that_is_dropped_leaves_nothing() -> None:
    before = _groups()
    sandbox = Sandbox(Limits(seconds=5.0), workers=1)
    sandbox.judge([Submission("def f(x): return x", "assert f(1) == 1", ("f",))])
    assert _groups() > before
    del sandbox
    gc.collect()
    assert not _groups() - before


@needs_jails
@pytest.mark.skipif(not cgroups.swept(), reason="no control groups may be made here")
@pytest.mark.parametrize("command", [["/nowhere/bwrap"], ["bwrap", "--no-such-option"], ["true"]])
def test_a_jail_that_cannot_be_made_leaves_no_group(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before, seen = _groups(), set[Path]()

    def given(*_: object) -> list[str]:
        seen.update(_groups())
        return command

    monkeypatch.setattr(jail, "command", given)
    with pytest.raises(jail.JailError, match="bubblewrap"):
        jail.Jail(guest, Limits())
    assert seen - before
    assert not _groups() - before


@needs_jails
def test_a_jail_without_an_interpreter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.sandbox.bubblewrap.interpreter", lambda: ("/nowhere/python3", ()))
    layers.cache_clear()
    try:
        with pytest.raises(
            TenfoldError, match="does not work on this machine: bwrap: execvp /nowhere/python3: No such"
        ):
            layers()
    finally:
        layers.cache_clear()


def test_a_busy_group_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_PATIENCE", 0.01)
    places = {name: tmp_path / name for name in ("memory", "pids")}
    for place in places.values():
        place.mkdir()
    first, second = ControlGroup(Limits(), places), ControlGroup(Limits(), places)
    busy = next(iter(first.folders)) / "busy"
    busy.touch()
    first.remove()
    assert [folder for folder in first.folders if folder.exists()] == [busy.parent]
    busy.unlink()
    second.remove()
    assert not [path for place in places.values() for path in place.iterdir()]


@needs_jails
def test_the_check_says_where_there_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tenfold.sandbox.capabilities.swept", dict)
    layers.cache_clear()
    try:
        assert main(["sandbox", "--check"]) == 0
    finally:
        layers.cache_clear()
    assert "control group  not here" in capsys.readouterr().out
