"""A system is one folder and one word: the toy in ``tests/api/toy``, copied into the package, gets all verbs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import tenfold

pytestmark = pytest.mark.long

Line = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the toy's folder, and its word in ``systems.py``."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(
        Path(tenfold.__file__).parent, root / "tenfold", ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
    )
    shutil.copytree(Path(__file__).parent / "toy", root / "tenfold" / "toy")
    systems = root / "tenfold" / "systems.py"
    before = systems.read_text()
    systems.write_text(before.replace('    "tarflow",\n', '    "toy",\n    "tarflow",\n'))
    assert systems.read_text() != before
    return root


@pytest.fixture(scope="module")
def line(house: Path) -> Line:
    """Run the command line in the copy's folder."""

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tenfold.cli.main", *arguments]
        done = subprocess.run(command, cwd=house, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr + done.stdout
        return done

    return run


@pytest.fixture(scope="module")
def run(house: Path, line: Line) -> str:
    """A trained run, measured and reported."""
    found = json.loads(line("train", "toy-line", "--out", "runs/a", "--train.steps", "4", "--json").stdout)
    assert found["report"] == "runs/a/report.html"
    assert [row["name"] for row in found["metrics"]] == ["squared_error"]
    return "runs/a"


def test_it_is_listed(line: Line) -> None:
    found = json.loads(line("list", "--json").stdout)
    assert {"name": "toy", "title": "A line through points", "paper": "arXiv:0000.00000", "state": "ready"} in found[
        "systems"
    ]
    assert {"name": "toy-line", "system": "toy", "summary": "a line through 64 points, a second"} in found["recipes"]
    assert "greet" in line("--help").stdout


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        (("train", "toy-line"), ("--model.inputs", "--data.count", "--train.steps", "--device")),
        (("sample",), ("--num", "--shout", "--device", "--dtype")),
        (("score",), ("--draws", "--device", "--dtype")),
        (("analyse",), ("--depth", "--device", "toy-tour")),
        (("greet",), ("--word", "--device")),
        (("convert", "toy"), ("--inputs",)),
    ],
)
def test_every_verb_has_its_help(line: Line, verb: tuple[str, ...], options: tuple[str, ...]) -> None:
    page = line(*verb, "--help").stdout
    assert [option for option in options if option not in page] == []


def test_dry_run_and_settings(line: Line) -> None:
    assert json.loads(line("train", "toy-line", "--model.inputs", "5", "--dry-run", "--json").stdout)["parameters"] == 6
    assert "inputs: 7" in line("train", "toy-line", "--model.inputs", "7", "--print-config").stdout
    assert "model.inputs is 0; give at least 1" in line("train", "toy-line", "--model.inputs", "0", code=2).stderr


def test_train_resume_report(house: Path, line: Line, run: str) -> None:
    copy = house / "runs" / "b"
    shutil.copytree(house / run, copy)
    assert "step 4" in line("train", "--resume", "runs/b", "--train.steps", "6").stderr
    state = json.loads((sorted((copy / "checkpoints").glob("step-*"))[-1] / "state.json").read_text())["loop"]
    assert state["best"]["step"] in (4, 6)
    assert line("report", "runs/b").stdout.strip() == "runs/b/report.html"
    assert json.loads(line("evaluate", "runs/b", "--evaluation.points", "4", "--json").stdout)["metrics"]


def test_the_larger_value_of_its_metric_chooses(house: Path, run: str) -> None:
    records = [json.loads(text) for text in (house / run / "metrics.jsonl").read_text().splitlines()]
    best = max((r for r in records if r["kind"] == "validation"), key=lambda r: r["near"])
    state = json.loads((sorted((house / run / "checkpoints").glob("step-*"))[-1] / "state.json").read_text())["loop"]
    assert state["best"] == {"step": best["step"], "loss": best["near"]}


def test_sample_score_analyse(house: Path, line: Line, run: str) -> None:
    told = line("sample", run, "--num", "2", "--shout").stdout.splitlines()
    assert told == ["0!", "1!", f"{run}/samples/samples.txt"]
    assert (house / run / "samples" / "samples.txt").read_text() == "0!\n1!\n"
    (house / "lines.txt").write_text("ab\nabcd\n")
    assert json.loads(line("score", run, "lines.txt", "--json").stdout)["scores"][0]["name"] == "abcd"
    found = json.loads(line("analyse", run, "--depth", "3", "--json").stdout)
    assert found["metrics"][0]["value"] == 3
    assert (house / found["report"]).exists()
    assert "no sampling" not in line("sample", f"{run}/model", "--out", "from-model").stderr


def test_a_verb_of_its_own(house: Path, line: Line, run: str) -> None:
    (house / "names.txt").write_text("Ada\nEmmy\n")
    found = json.loads(line("greet", run, "names.txt", "--word", "good day", "--json").stdout)
    assert found["report"] == f"{run}/greet/report.html"
    assert json.loads((house / run / "greet" / "data.json").read_text())["said"] == ["good day Ada", "good day Emmy"]
    assert "nobody.txt does not exist" in line("greet", run, "nobody.txt", "--out", "runs/no", code=2).stderr
    assert not (house / "runs" / "no").exists()


def test_worked_example(house: Path, line: Line) -> None:
    line("analyse", "--example", "toy-tour", "--out", "runs/tour", "--quick")
    assert json.loads((house / "runs" / "tour" / "data.json").read_text()) == {"quick": True}


def test_convert(house: Path, line: Line) -> None:
    torch.save({"layer.weight": torch.ones(1, 2), "layer.bias": torch.zeros(1)}, house / "line.pth")
    line("convert", "toy", "line.pth", "converted")
    assert json.loads((house / "converted" / "config.json").read_text())["model_type"] == "toy"
    assert "no published checkpoints can be read for 'toi'" in line("convert", "toi", "line.pth", "x", code=2).stderr


def test_python(house: Path) -> None:
    code = """
import tenfold
run = tenfold.train("toy-line", out="runs/python", train={"steps": 3}, device="cpu")
assert [row.name for row in run.measurements] == ["squared_error"]
run = tenfold.resume("runs/python", train={"steps": 5})
assert tenfold.evaluate(run, points=4)[0].name == "squared_error"
assert tenfold.report(run).exists()
assert tenfold.sample(run, num=1)[0].read_text() == "0\\n"
assert tenfold.score(run, ["a", "abc"]).names == ("abc", "a")
assert tenfold.analyse(run, depth=2)[1][0].value == 2
assert tenfold.load(run, device="cpu", dtype="float64").layer.weight.dtype.itemsize == 8
assert tenfold.load("runs/python/model").config.inputs == 2
"""
    environment = {**os.environ, "PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=house, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
