"""Two processes train the model of one, for every kind of training: DDP and FSDP2, and through the command line."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import CASES

pytestmark = pytest.mark.long

PARALLEL = [(name, way) for name, case in CASES.items() for way in case.ways if way != "single"]


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By case and way to be parallel."""
    said = run("-m", "tests.end_to_end.processes", str(tmp_path_factory.mktemp("processes")))
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize(("name", "way"), PARALLEL)
def test_two_processes_train_the_same_model(reports: dict[str, Any], name: str, way: str) -> None:
    alone, several = reports[name]["single"], reports[name][way]
    assert not [rank["crash"] for rank in (*alone["ranks"], *several["ranks"]) if "crash" in rank]
    assert len(alone["losses"]) == 4
    assert several["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    first, second = several["ranks"]
    assert first["validation"] == pytest.approx(alone["ranks"][0]["validation"], abs=1e-4)
    assert not set(first["indices"]) & set(second["indices"])
    if way == "fsdp":
        for rank in (first, second):
            assert all(rank["dtensors"])
            assert rank["fsdp_units"] == CASES[name].units
            assert rank["local"] == pytest.approx(rank["numel"] / 2, rel=0.1)


def test_torchrun_trains_through_the_command_line(reports: dict[str, Any], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    given = {
        **{"train.steps": "4", "train.batch_size": "16", "train.log_every": "1", "train.tracker": "none"},
        **{"train.threads": "1", "train.parallel": "ddp", "model.dropout": "0", "model.blocks": "2"},
        **{"model.layers": "1", "data.validation": "16", "data.test": "16"},
    }
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    train = ("-m", "tenfold.cli.main", "train", "tarflow-digits-noise", "--skip-evaluation", "--out")
    run(*torchrun, "--master-port", port, *train, str(tmp_path / "run"), *options)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert losses == pytest.approx(reports["flow"]["single"]["losses"], abs=1e-5)
    facts = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert (facts["processes"], facts["parallel"]) == (2, "ddp")
