"""Two processes train the masked language model of one: DDP and FSDP2, tied head and annealing included."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tenfold.masked_lm import MaskedLM, MaskedLMConfig
from tests.masked_lm.grpo_processes import MODEL


def test_two_processes_train_the_same_model(tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    lines = [{"text": f"def f{i}(x):\n    return x + {i * i % 97}\n"} for i in range(150)]
    texts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-W", "ignore", "-m", "tests.masked_lm.processes", str(tmp_path), str(texts)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = json.loads(done.stdout.splitlines()[-1])
    crashes = [r["crash"] for ranks in reports.values() for r in ranks if "crash" in r]
    assert not crashes, crashes[0]
    alone, expected = reports["single"][0], reports["single"][-1]["losses"]
    assert len(expected) == 4
    for parallel in ("ddp", "fsdp"):
        first, second, told = reports[parallel]
        assert told["losses"] == pytest.approx(expected, abs=1e-4)
        assert first["validation"] == pytest.approx(alone["validation"], abs=1e-4)
        assert not set(first["indices"]) & set(second["indices"])
    for rank in reports["fsdp"][:2]:
        assert all(rank["dtensors"])
        assert rank["fsdp_units"] == 3  # two layers and the rest
        assert rank["local"] == pytest.approx(rank["numel"] / 2, rel=0.05)


def test_two_processes_tune_the_same_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    MaskedLM.from_config(MaskedLMConfig(**MODEL)).save_pretrained(tmp_path / "start")
    command = [sys.executable, "-W", "ignore", "-m", "tests.masked_lm.grpo_processes"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path), str(tmp_path / "start")],
        capture_output=True, text=True, env=environment, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    reports = json.loads(done.stdout.splitlines()[-1])
    crashes = [rank["crash"] for report in reports.values() for rank in report["ranks"] if "crash" in rank]
    assert not crashes, crashes[0]
    assert len(reports["single"]["losses"]) == 3
    assert reports["ddp"]["losses"] == pytest.approx(reports["single"]["losses"], abs=1e-4)
    first, second = (set(rank["indices"]) for rank in reports["ddp"]["ranks"])
    assert not first & second
