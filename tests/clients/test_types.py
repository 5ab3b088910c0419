"""The README's program for type checkers, as strict as they are, where pyright is installed (mypy's first look at
PyTorch takes most of a minute)."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyright")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("program") / "program.py"
    file.write_text(block + "flow.log_probability(images)\n")  # what a checker must find, besides nothing
    return file


def test_mypy(program: Path) -> None:
    from mypy import api

    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(ROOT / ".mypy_cache" / "program")]
    said, _, code = api.run([*options, str(program)])
    assert code == 1
    assert re.findall(r"program\.py:(\d+): error", said) == [str(len(program.read_text().splitlines()))], said


def test_pyright(program: Path) -> None:
    settings = {"typeCheckingMode": "strict", "include": [program.name], "extraPaths": [str(ROOT)]}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [
        sys.executable,
        "-m",
        "pyright",
        "--outputjson",
        "--pythonpath",
        sys.executable,
        "-p",
        str(program.parent),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    errors = [found for found in json.loads(done.stdout)["generalDiagnostics"] if found["severity"] == "error"]
    assert {found["range"]["start"]["line"] for found in errors} == {len(program.read_text().splitlines()) - 1}, errors
