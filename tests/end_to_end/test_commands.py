"""The README's commands in a row, on a model small enough for seconds."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold import api
from tenfold.cli.main import main
from tenfold.tarflow.model import TarFlow

TINY = ["--model.blocks", "2", "--model.layers", "1", "--train.batch_size", "16", "--train.tracker", "none"]
QUICK = [
    "--evaluation.baselines",
    "false",
    "--evaluation.calibrate",
    "4",
    "--evaluation.draws",
    "2",
    "--evaluation.importance",
    "2",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the class-conditional recipe, made by the command line."""
    folder = tmp_path_factory.mktemp("end_to_end") / "run"
    line = ["train", "tarflow-digits-noise", "--out", str(folder), "--train.steps", "4", *TINY, *QUICK]
    assert main(line) == 0
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """Run a line with --json that must succeed, and read what it printed."""
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    result: dict = json.loads(out)
    return result


def test_a_run_leaves_everything_behind(run: Path) -> None:
    made = {path.name for path in run.iterdir()}
    wanted = {
        "config.yaml",
        "checkpoints",
        "metrics.jsonl",
        "evaluation.json",
        "figures",
        "report.html",
        "model",
    }
    assert wanted | {"provenance.json"} <= made
    assert (run / "report.html").read_text().lower().startswith("<!doctype html>")
    assert {path.name for path in (run / "model").iterdir()} >= {"config.json", "model.safetensors"}


def test_a_model_of_noisy_data_reports_no_bits_per_dimension(run: Path) -> None:
    rows = api.open_run(run).measurements
    assert rows
    assert [row for row in rows if row.name == "bits_per_dim" and row.model == "tarflow-digits-noise"] == []


def test_resume_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "train", "--resume", run, "--train.steps", 6, "--skip-evaluation")
    assert result["run"] == str(run)
    assert (run / "checkpoints" / "step-6").is_dir()
    assert api.open_run(run).recipe.train.steps == 6


def test_evaluate_prints_and_stores_the_same_rows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, "evaluate", run)
    assert result["metrics"] == json.loads((run / "evaluation.json").read_text())["metrics"]
    assert all(np.isfinite(row["value"]) for row in result["metrics"])
    assert {row["model"] for row in result["metrics"]} >= {"tarflow-digits-noise"}


def test_sample_writes_what_was_asked_for(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--num", 5, "--class", 3, "--guidance", 1.5, "--denoise", "--seed", 1]
    first = call(capsys, "sample", run, *options, "--out", tmp_path / "a")
    second = call(capsys, "sample", run / "model", *options, "--out", tmp_path / "b")
    assert {Path(f).suffix for f in first["files"]} == {".png", ".npz", ".json"}
    images = [np.load(next(f for f in r["files"] if f.endswith(".npz")))["values"] for r in (first, second)]
    assert images[0].shape == (5, 1, 8, 8)
    assert np.array_equal(*images)
    record = json.loads(Path(next(f for f in first["files"] if f.endswith(".json"))).read_text())
    assert record["options"]["classes"] == 3
    assert record["options"]["denoise"] is True


def test_report_of_one_run_and_of_several(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "report.html").unlink()
    assert call(capsys, "report", run)["reports"] == [str(run / "report.html")]
    assert (run / "report.html").stat().st_size > 1000
    joint = tmp_path / "both.html"
    shutil.rmtree(run / "figures")  # as in a run that was trained with --skip-evaluation
    assert call(capsys, "report", run, run, "--out", joint)["reports"] == [str(joint)]
    assert joint.read_text().count("data:image/png;base64,") > 4


def test_convert_gives_a_model_that_samples(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flow = api.load(run)
    assert isinstance(flow, TarFlow)
    renames = (("layers.", "attn_blocks."), (".mlp.up.", ".mlp.main.0."), (".mlp.down.", ".mlp.main.2."))
    state = OrderedDict()
    for name, tensor in flow.state_dict().items():
        for ours, theirs in renames:
            name = name.replace(ours, theirs)
        state[name] = tensor
    torch.save(state, tmp_path / "published.pth")
    out = tmp_path / "model"
    options = ("--channels", 1, "--sigma", 0.1, "--head-size", flow.config.head_size)
    result = call(capsys, "convert", "tarflow", tmp_path / "published.pth", out, *options)
    assert result["config"]["classes"] == 10
    x, labels = torch.rand(3, 1, 8, 8), torch.tensor([1, 2, -1])
    assert torch.equal(api.load(out).log_prob(x, labels), flow.log_prob(x, labels))
    call(capsys, "sample", out, "--num", 2, "--class", 1, "--denoise", "--out", tmp_path / "s")


def test_dry_run_of_a_published_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    facts = call(capsys, "train", "tarflow-imagenet64", "--dry-run")
    assert facts["parameters"] == pytest.approx(466e6, rel=0.01)
    assert facts["flops_per_step"] > 6 * facts["parameters"] * 1024 * 256
    assert main(["train", "tarflow-afhq", "--dry-run"]) == 0
    assert "GiB" in capsys.readouterr().out


def test_the_default_folder_is_named_after_recipe_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "tarflow-digits", "--train.steps", "1", *TINY, "--skip-evaluation"]) == 0
    (made,) = (tmp_path / "runs").iterdir()
    assert made.name.startswith("tarflow-digits-2")


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    line = [
        "train",
        "tarflow-digits",
        "--out",
        str(folder),
        "--train.steps",
        "100000",
        "--train.log_every",
        "1",
        *TINY,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tenfold.cli.main", *line]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        deadline = time.monotonic() + 120
        while not (folder / "metrics.jsonl").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert f"tenfold train --resume {folder}" in err.splitlines()[-1]
    assert len(list((folder / "checkpoints").glob("step-*"))) == 1
