"""Two processes train the model of one, by probabilities and by scores: DDP and FSDP2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_two_processes_train_the_same_model(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join("cat dog mat log sat"[4 * (i * i % 5) :][:3] for i in range(6000)))
    command = [sys.executable, "-W", "ignore", "-m", "tests.discrete_diffusion.processes", str(tmp_path), str(text)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = json.loads(done.stdout.splitlines()[-1])
    crashes = [r["crash"] for ranks in reports.values() for r in ranks if "crash" in r]
    assert not crashes, crashes[0]
    for name, parallel in (("kjv-mdlm", "ddp"), ("kjv-mdlm", "fsdp"), ("kjv-sedd", "fsdp")):
        alone, expected = reports[f"{name}-single"][0], reports[f"{name}-single"][-1]["losses"]
        first, second, told = reports[f"{name}-{parallel}"]
        assert told["losses"] == pytest.approx(expected, abs=1e-4)
        assert first["validation"] == pytest.approx(alone["validation"], abs=1e-4)
        assert not set(first["indices"]) & set(second["indices"])
        if parallel == "fsdp":
            assert all(all(rank["dtensors"]) for rank in (first, second))
            assert first["fsdp_units"] == 3  # two layers and the rest
