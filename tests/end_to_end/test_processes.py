"""The flows themselves on two processes, through the command line: DDP and FSDP2 against one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tenfold import hub
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig

COMMON = (
    *("--skip-evaluation", "--train.steps", "4", "--train.batch_size", "16", "--train.log_every", "1"),
    *("--train.tracker", "none", "--train.threads", "1"),
)
# No dropout: its masks are drawn by each process for its own rows.
TARFLOW = ("tarflow-digits-noise", *COMMON, "--model.dropout", "0", "--model.blocks", "2", "--model.layers", "1")
STARFLOW = (
    *("starflow-mnist-flow", *COMMON, "--model.layers", "1,2", "--model.shallow.dropout", "0"),
    *("--model.deep.dropout", "0", "--train.activation_checkpointing", "true"),
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


@pytest.fixture(scope="module", params=["tarflow", "starflow"])
def single(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, ...], Any]:
    """Options of a training, and the losses of one process."""
    folder, options = tmp_path_factory.mktemp("single"), TARFLOW
    if request.param == "starflow":
        autoencoder = Autoencoder(AutoencoderConfig(latent_channels=4, widths=(8, 8, 8), norm_groups=4))
        hub.save_pretrained(autoencoder, folder / "autoencoder")
        options = (*STARFLOW, "--data.autoencoder", str(folder / "autoencoder"))
    run("-m", "tenfold.cli.main", "train", *options, "--out", str(folder / "run"))
    return options, losses(folder / "run")


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_train_the_same_flow(single: tuple[tuple[str, ...], Any], tmp_path: Path, parallel: str) -> None:
    options, expected = single
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1")
    command = (*torchrun, "--master-port", str(port), "-m", "tenfold.cli.main", "train", *options)
    run(*command, "--out", str(tmp_path / "run"), "--train.parallel", parallel)
    assert len(expected) == 5
    assert losses(tmp_path / "run") == pytest.approx(expected, abs=1e-5)
    facts = json.loads((tmp_path / "run" / "provenance.json").read_text())
    assert (facts["processes"], facts["parallel"]) == (2, parallel)
