"""The flow itself on two processes, through the command line: DDP and FSDP2 against one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

OPTIONS = (
    *("tarflow-digits-noise", "--skip-evaluation", "--train.steps", "4", "--train.batch_size", "16"),
    *("--train.log_every", "1", "--train.tracker", "none", "--train.threads", "1"),
    # Dropout masks are drawn by each process for its own rows.
    *("--model.dropout", "0", "--model.blocks", "2", "--model.layers", "1"),
)


def run(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("single") / "run"
    run("-m", "tenfold.cli.main", "train", *OPTIONS, "--out", str(folder))
    return losses(folder)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_the_same_flow(single: list[float], tmp_path: Path, parallel: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    command = (*torchrun, "--master-port", str(port), "-m", "tenfold.cli.main", "train", *OPTIONS)
    run(*command, "--out", str(tmp_path / "run"), "--train.parallel", parallel)
    assert len(single) == 5
    assert losses(tmp_path / "run") == pytest.approx(single, abs=1e-5)
    facts = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert (facts["processes"], facts["parallel"]) == (2, parallel)
