"""What a dry run says of memory is what training takes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOW = {"steps": 2, "tracker": "none", "validate_every": 0, "threads": 1}
FLOW = {"width": 64, "layers": 3}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "flow": ("tarflow-digits", {"model": FLOW, "train": {**HOW, "batch_size": 256}}),
    "flow in rounds": ("tarflow-digits", {"model": FLOW, "train": {**HOW, "batch_size": 512, "accumulate": 4}}),
    "masked diffusion": ("kjv-masked", {"model": {"width": 256}, "train": {**HOW, "batch_size": 48}}),
    "left to right": ("kjv-ar", {"model": {"width": 256}, "train": {**HOW, "batch_size": 48}}),
    "masked language model": (
        "code-bytes",
        {"data": {"source": "jsonl", "path": "texts.jsonl"}, "train": {**HOW, "batch_size": 8}},
    ),
    "autoencoder": ("autoencoder-mnist", {"train": {**HOW, "batch_size": 64}}),
    "many weights": ("kjv-masked", {"model": {"width": 512, "layers": 4}, "train": {**HOW, "batch_size": 1}}),
}


def test_estimates_are_within_a_quarter_of_the_peak(tmp_path: Path) -> None:
    line = [part for name, changes in TRAININGS.values() for part in (name, json.dumps(changes))]
    texts = [{"text": f"def f{i}(x):\n    return x + {i * i % 97}\n" * 20} for i in range(200)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    # Every large tensor is given back to the system at once, so that one process can measure all of them.
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.peaks", str(tmp_path), *line]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = {
        name: estimate / peak
        for name, (peak, estimate) in zip(TRAININGS, json.loads(done.stdout.splitlines()[-1]), strict=True)
    }
    assert all(ratio == pytest.approx(1.0, abs=0.25) for ratio in told.values()), told
