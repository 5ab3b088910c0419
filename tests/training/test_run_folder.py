"""The run folder: layout, refusals, atomic files, the lock."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold import files
from tenfold.errors import TenfoldError, UsageError
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder, command_line, load_config, provenance

HOLDER = """
import sys, time
from tenfold.runs.run_folder import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_config_round_trip_and_second_start(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "deep" / "a")
    assert not run.holds_run()
    run.start({"model": {"patch": (2, 2)}, "train": {"steps": 3, "clip": None}})
    assert load_config(run.path) == run.load_config() == {
        "model": {"patch": [2, 2]}, "train": {"steps": 3, "clip": None}}  # fmt: skip
    with pytest.raises(UsageError, match=r"already holds a run; continue it with 'tenfold train --resume"):
        run.start({})
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        RunFolder(tmp_path / "file").start({})
    with pytest.raises(UsageError, match="holds no run"):
        RunFolder(tmp_path).require_run()
    with pytest.raises(UsageError, match="is not a folder"):
        RunFolder(tmp_path / "absent").require_run()


def test_a_folder_with_other_files_may_hold_a_run(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    RunFolder(tmp_path).start({"train": {}})
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(("text", "expected"), [("a: [1", "not valid YAML"), ("- 1", "holds list")])
def test_broken_config(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UsageError, match=expected) as error:
        load_config(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="does not exist"):
        load_config(tmp_path / "absent.yaml")


def test_metrics_are_truncated_at_a_step(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        run.append_metrics({"step": step, "kind": "train", "loss": 0.5})
    with open(run.metrics, "a") as file:
        file.write('{"step": 4, "lo')
    assert [r["step"] for r in run.read_metrics()] == [1, 2, 3]
    run.truncate_metrics(2)
    run.append_metrics({"step": 3, "kind": "train", "loss": 0.25})
    assert [(r["step"], r["loss"]) for r in run.read_metrics()] == [(1, 0.5), (2, 0.5), (3, 0.25)]
    assert all(json.loads(line) for line in run.metrics.read_text().splitlines())


def test_evaluation_round_trip(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    rows = [Measurement("bits_per_dim", 2.0, "bits", "test", "m", 0.01, 16), Measurement("fid", 3.0)]
    run.write_evaluation(rows)
    assert json.loads(run.evaluation.read_text())["metrics"][1] == {"name": "fid", "value": 3.0}
    assert run.read_evaluation() == rows


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"version": 1})

    def fail(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(TenfoldError, match="no space left on device"), files.disk_errors("a.json"):
        files.write_json(path, {"version": 2})
    assert json.loads(path.read_text()) == {"version": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_provenance_names_no_user_and_no_host() -> None:
    facts = provenance()
    assert set(facts["versions"]) >= {"python", "torch", "numpy", "tenfold"}
    text = json.dumps(facts)
    assert os.uname().nodename not in text.replace(os.uname().release, "") or len(os.uname().nodename) < 4
    inside = str(Path.cwd() / "runs" / "a")
    told = command_line(["/home/someone/bin/tenfold", "train", "/home/someone/data", f"--out={inside}", "--x=/y/z"])
    assert told == ["tenfold", "train", ".../data", "--out=runs/a", "--x=.../z"]


def test_lock_keeps_a_second_process_out_until_the_first_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(TenfoldError, match=rf"in use by another process \(pid {holder.pid}\)"):
            RunFolder(tmp_path).lock().__enter__()
    finally:
        holder.kill()  # SIGKILL: it had no chance to clean up, its pid stays in the file
        holder.wait()
    assert (tmp_path / ".lock").read_text() == str(holder.pid)
    run = RunFolder(tmp_path)
    with run.lock(), run.lock():
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
        with pytest.raises(TenfoldError, match="in use"):
            RunFolder(tmp_path).lock().__enter__()
    with RunFolder(tmp_path).lock():
        pass


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    script = """
import os, sys, time
from tenfold.runs.run_folder import RunFolder
with RunFolder(sys.argv[1]).lock():
    child = os.fork()
    if child == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os._exit(0)  # the parent dies inside the lock, the child lives on
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True)
    child = int(done.stdout)
    try:
        with RunFolder(tmp_path).lock():
            assert Path(f"/proc/{child}").exists() or sys.platform != "linux"
    finally:
        os.kill(child, 9)


def test_needs_no_torch() -> None:
    script = """
import sys
sys.modules["torch"] = None
import tenfold, tenfold.training.config, tenfold.runs.run_folder, tenfold.training.schedule
assert tenfold.training.config.TrainingConfig().steps > 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)
