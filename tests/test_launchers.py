"""What is refused before training begins: processes that nobody announced, another precision, an evaluation that cannot
be."""

from pathlib import Path

import pytest

import tenfold
from tenfold.errors import UsageError
from tenfold.runs.machine import require_announced, require_own_precision

QUICK = {"train": {"steps": 1, "tracker": "none"}, "model": {"width": 16, "blocks": 2, "layers": 1, "head_size": 8}}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "WORLD_SIZE",
        "SLURM_STEP_NUM_TASKS",
        "OMPI_COMM_WORLD_SIZE",
        "PMI_SIZE",
        "ACCELERATE_MIXED_PRECISION",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "program"), [("SLURM_STEP_NUM_TASKS", "srun"), ("OMPI_COMM_WORLD_SIZE", "mpirun"), ("PMI_SIZE", "mpiexec")]
)
def test_processes_that_know_nothing_of_each_other(name: str, program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    require_announced()
    monkeypatch.setenv(name, "4")
    with pytest.raises(UsageError, match=rf"{program} started 4 processes.*torchrun"):
        require_announced()
    monkeypatch.setenv("WORLD_SIZE", "8")  # torchrun below it
    require_announced()


def test_the_precision_of_accelerates_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, own, fits in (
        ("no", "bf16", True),
        ("bf16", "bf16", True),
        ("bf16", "fp32", False),
        ("fp16", "bf16", False),
    ):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", told)
        if fits:
            require_own_precision(own)
        else:
            with pytest.raises(UsageError, match=rf"mixed_precision '{told}', but train.precision is '{own}'"):
                require_own_precision(own)


def test_training_asks_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(UsageError, match="mpiexec started 2"):
        tenfold.train("tarflow-digits", tmp_path / "a", **QUICK)
    monkeypatch.setenv("PMI_SIZE", "1")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UsageError, match="mixed_precision 'fp16'"):
        tenfold.train("tarflow-digits", tmp_path / "a", **QUICK)
    assert not (tmp_path / "a").exists()


def test_an_evaluation_that_cannot_be_is_refused_before_training(tmp_path: Path) -> None:
    few = {"data": {"test": 100, "validation": 20}, "evaluation": {"samples": 5000}}
    with pytest.raises(UsageError, match=r"evaluation\.samples is 5000"):
        tenfold.train("tarflow-digits-noise", tmp_path / "a", **QUICK, **few)
    assert not (tmp_path / "a").exists()
