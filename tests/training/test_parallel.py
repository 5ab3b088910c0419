"""Several processes under DDP and FSDP2: the same run as one process, and nobody waits for a failed one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.training import parallel
from tenfold.training.checkpoints import checkpoint
from tests.training.processes import CONFIG, free_port
from tests.training.toys import configuration, difference, digest, weights

pytestmark = pytest.mark.long

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """Every scenario of processes.py, played once."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.processes", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = json.loads(done.stdout.splitlines()[-1])
    crashes = [r["crash"] for ranks in reports.values() for r in ranks if "crash" in r]
    assert not crashes, crashes[0]
    return folder, reports


def without_calls(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights(folder).items() if not name.endswith("calls")}


@pytest.mark.parametrize(
    ("name", "world", "reference"),
    [
        ("ddp2", 2, "single"),
        ("ddp2-accumulated", 2, "single"),
        ("ddp4", 4, "single"),
        ("fsdp2", 2, "single"),
        ("fsdp2-accumulated", 2, "single"),
        ("fsdp2-recomputed", 2, "single"),
        ("fsdp4", 4, "single"),
        ("pair-ddp2", 2, "pair"),
        ("pair-fsdp2", 2, "pair"),
        ("stream-fsdp2", 2, "stream"),
    ],
)
def test_several_processes_reach_the_single_process(played: Any, name: str, world: int, reference: str) -> None:
    folder, reports = played
    ranks, alone = reports[name], reports[reference][0]
    assert len(ranks) == world
    assert all(report["world"] == world for report in ranks)
    assert alone["world"] == 1
    assert [report["main"] for report in ranks] == [True] + [False] * (world - 1)
    rounds = 2 if "accumulated" in name else 1
    assert all(len(report["indices"]) == 10 * rounds for report in ranks)
    if reference == "single":
        assert all(abs(report["loss"] - alone["loss"]) < 1e-5 for report in ranks)
    expected = without_calls(folder / reference)
    assert difference(without_calls(folder / name), expected) < 1e-5
    fresh = {f"net.{key}": tensor for key, tensor in _fresh().items()}
    net = {key: tensor for key, tensor in expected.items() if key.startswith("net.")}
    assert difference(net, {key: fresh[key] for key in net}) > 1e-3  # and they did learn


def _fresh() -> dict[str, torch.Tensor]:
    from tests.training.toys import Net

    return Net().state_dict()


@pytest.mark.parametrize(("name", "world"), [("fsdp2", 2), ("fsdp4", 4), ("pair-fsdp2", 2), ("stream-fsdp2", 2)])
def test_fsdp2_really_shards(played: Any, name: str, world: int) -> None:
    assert len(played[1][name]) == world
    for report in played[1][name]:
        assert report["kinds"]
        assert all(kind.startswith("FSDP") for kind in report["kinds"])
        assert report["dtensors"]
        assert all(report["dtensors"])
        assert report["local"] * world == report["numel"] > 0
        assert report["fsdp_units"] > len(report["kinds"])  # units one by one, and the root
        # Afterwards the main process alone holds the whole plain model.
        assert report["own"] == (268 if report["main"] else 0)


@pytest.mark.parametrize(("name", "world"), [("ddp2", 2), ("ddp4", 4), ("pair-ddp2", 2)])
def test_ddp_replicates(played: Any, name: str, world: int) -> None:
    assert len(played[1][name]) == world
    for report in played[1][name]:
        assert report["dtensors"]
        assert set(report["kinds"]) == {"DistributedDataParallel"}
        assert not any(report["dtensors"])
        assert report["local"] == report["numel"]


@pytest.mark.parametrize(("name", "world"), [("ddp2", 2), ("ddp4", 4), ("fsdp2", 2), ("fsdp4", 4), ("stream-fsdp2", 2)])
def test_processes_see_different_data_and_together_all_of_it(played: Any, name: str, world: int) -> None:
    per_rank = [{i for batch in r["indices"] for i in batch} for r in played[1][name]]
    assert all(len(seen) == 80 // world for seen in per_rank)
    assert set.union(*per_rank) == set(range(80))
    assert sum(map(len, per_rank)) == 80


def test_fsdp2_resumes_bit_exactly(played: Any) -> None:
    folder, reports = played
    assert all("planned" in r["error"] for r in reports["fsdp2-crashed"])
    assert all(0 < len(r["indices"]) < 10 for r in reports["fsdp2-resumed"])
    assert digest(folder / "fsdp2-crashed") == digest(folder / "fsdp2")


def test_another_number_of_processes_needs_the_flag(played: Any) -> None:
    folder, reports = played
    assert len(reports["fsdp2-on-4-refused"]) == 4
    for report in reports["fsdp2-on-4-refused"]:
        assert report["exit_code"] == 2
        assert "the number of processes was 2 and is 4" in report["error"]
        assert "--allow-inexact" in report["error"]
    expected = reports["single-extended"][0]
    for world in (4, 1):
        ranks = reports[f"fsdp2-on-{world}"]
        assert len(ranks) == world
        assert all(abs(report["loss"] - expected["loss"]) < 1e-5 for report in ranks)
        assert all(len(report["indices"]) == 4 for report in ranks)
        extended, alone = folder / f"fsdp2-on-{world}", folder / "single-on-1-exactly"
        assert difference(without_calls(extended), without_calls(alone)) < 1e-5
    assert reports["fsdp2-on-4"][0]["local"] * 4 == reports["fsdp2-on-4"][0]["numel"]


def test_state_of_each_process_is_saved(played: Any) -> None:
    folder, _ = played
    state = json.loads((folder / "replay-ddp2" / "checkpoints" / "step-10" / "state.json").read_text())
    histories = [state["skeleton"]["task"][rank]["history"] for rank in ("0", "1")]
    assert [h["cursor"] for h in histories] == [40, 40]
    assert histories[0]["means"] != histories[1]["means"]
    assert {"task/0/buffer", "task/1/buffer"} <= set(state["tensors"])


@pytest.mark.parametrize(
    ("name", "sentence", "code"),
    [
        ("unreadable", "the shard of this process is unreadable", 1),
        ("full", "step-5: no space left on device", 1),
        ("nan", "training stopped at step 6: block 3 is not finite", 1),
        ("stopped", "at step 4; the run is saved", 130),
        ("bad-mode", "train.parallel is single but 2 processes were started", 2),
        ("bad-batch", "train.batch_size 7 cannot be split over 2 processes", 2),
        ("existing", "already holds a run", 2),
    ],
)
def test_a_failure_in_one_process_reaches_all(played: Any, name: str, sentence: str, code: int) -> None:
    assert len(played[1][name]) == 2
    for report in played[1][name]:
        assert sentence in report["error"]
        assert report["exit_code"] == code
        assert "\n" not in report["error"]


def test_a_full_disk_of_one_process_leaves_the_previous_checkpoint(played: Any) -> None:
    folder, _ = played
    assert [p.name for p in (folder / "full" / "checkpoints").iterdir()] == ["step-4"]
    assert checkpoint.verify(folder / "full" / "checkpoints" / "step-4")["step"] == 4
    assert (folder / "stopped" / "checkpoints" / "step-4").is_dir()


def test_under_torchrun(tmp_path: Path) -> None:
    command = [
        sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m", "tests.training.processes",
        str(tmp_path / "a"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads(path.read_text()) for path in tmp_path.glob("rank-*.json")]
    assert len(reports) == 2
    assert {r["main"] for r in reports} == {True, False}
    assert all(r["world"] == 2 and all(r["dtensors"]) and r["local"] * 2 == r["numel"] for r in reports)
    provenance = json.loads((tmp_path / "a" / "provenance.json").read_text())
    assert provenance["processes"] == 2
    assert provenance["parallel"] == "fsdp"
    assert CONFIG.steps == max(int(p.name[5:]) for p in (tmp_path / "a" / "checkpoints").iterdir())


def test_unconnected_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alone:
        num_processes = 1

        def __init__(self, **options: Any) -> None:
            pass

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(parallel, "Accelerator", Alone)
    monkeypatch.setattr(parallel.dist, "is_initialized", lambda: True)
    with pytest.raises(UsageError, match="WORLD_SIZE is 2 but 1 are connected; start them with 'torchrun"):
        parallel.set_up(configuration())
