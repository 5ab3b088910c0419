"""The verbs on a second device, from training to scores: what is asked for is where it runs, and the numbers are the
CPU's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tenfold
from tests.devices.tasks import CASES, IMAGES
from tests.devices.test_tasks import alike

QUICK = {"steps": 2, "validate_every": 1, "checkpoint_every": 2}


def settings(path: Path) -> dict[str, Any]:
    """Those of the case "tarflow", with steps to train."""
    made = CASES["tarflow"].settings(path)
    return {**made, "train": {**made["train"], **QUICK}}


@pytest.fixture
def trained(tmp_path: Path, device: torch.device) -> dict[str, Path]:
    """The same run on both devices, gone on with after a checkpoint."""
    found = {}
    for name in ("cpu", str(device)):
        run = tenfold.train("tarflow-digits", tmp_path / name, evaluate=False, device=name, **settings(tmp_path))
        found[name] = tenfold.resume(run.path, evaluate=False, device=name, train={"steps": 4}).path
    return found


def test_from_training_to_scores(trained: dict[str, Path], device: torch.device, tmp_path: Path) -> None:
    here, there = (used(run, name, tmp_path / "samples") for name, run in trained.items())
    assert len(here) > 30
    assert here.keys() == there.keys()
    exact = device.type == "second"  # a GPU's generators have other numbers, and training sums in another order
    compared = here if exact else [key for key in here if key == "scores"]
    assert [key for key in compared if not alike(here[key], there[key], 1e-3 if exact else 5e-2)] == []


def used(run: Path, device: str, samples: Path) -> dict[str, Any]:
    """Weights, measurements, samples and scores of a run, used on a device."""
    flow = tenfold.load(run, device=device)
    assert {p.device.type for p in flow.parameters()} == {torch.device(device).type}
    assert tenfold.report(run, device=device).is_file()
    _, file, _ = tenfold.sample(run, samples, num=2, device=device)
    with np.load(file) as arrays:
        drawn = torch.from_numpy(arrays["values"])
    scores = torch.tensor(tenfold.score(run, IMAGES, device=device, draws=2).values)
    rows = {f"{r.name} {r.split} {r.note}": r.value for r in tenfold.evaluate(run, device=device)}
    return {"samples": drawn, "scores": scores, **rows, **load_file(run / "model" / "model.safetensors")}


def test_the_accelerator_is_what_auto_means(trained: dict[str, Path], device: torch.device) -> None:
    assert next(tenfold.load(trained["cpu"]).parameters()).device.type == device.type


def test_stages_find_each_other(device: torch.device, tmp_path: Path) -> None:
    """Each stage reads what those before it trained, on its own device."""
    parts = CASES["starflow"].settings(tmp_path)
    parts = {name: {**part, "train": {**part["train"], **QUICK}} for name, part in parts.items()}
    run = tenfold.train("starflow-mnist", tmp_path / "run", evaluate=False, device=str(device), **parts)
    written = tenfold.sample(run, tmp_path / "samples", num=2, classes=3, device=str(device))
    assert all(file.is_file() for file in written)
