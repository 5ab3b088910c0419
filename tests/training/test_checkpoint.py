"""Checkpoints: whole or absent, checked before use, and nothing unpickled."""

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold import files
from tenfold.errors import TenfoldError, UsageError
from tenfold.runs.run_folder import RunFolder
from tenfold.training.checkpoints import checkpoint, tree
from tests.training.toys import Regression, Replay, Table, configuration, digest, run, weights


def steps(folder: Path) -> list[int]:
    return sorted(int(p.name[5:]) for p in (folder / "checkpoints").iterdir())


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A finished run with checkpoints at steps 4, 8 and 12."""
    run(tmp_path / "run", Regression(configuration(keep_last=3)))
    assert steps(tmp_path / "run") == [4, 8, 12]
    return tmp_path / "run"


def longer(**changes: Any) -> Regression:
    return Regression(configuration(keep_last=3, steps=16, **changes))


def test_files_of_a_checkpoint(trained: Path) -> None:
    folder = trained / "checkpoints" / "step-8"
    names = sorted(p.name for p in folder.iterdir())
    assert names == ["manifest.json", "shard-00001-model-00001-of-00001.safetensors", "state.json"]
    tensors = load_file(folder / names[1])
    assert {key.split("/")[0] for key in tensors} == {"model", "ema", "optimizers"}
    assert "optimizers/adamw/state/net/layers.0.weight/exp_avg" in tensors
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {n: f["sha256"] for n, f in manifest["files"].items()} == {n: files.sha256(folder / n) for n in names[1:]}
    loop = json.loads((folder / "state.json").read_text())["loop"]
    assert loop["samples"] == 64
    assert loop["processes"] == 1
    assert loop["threads"] >= 1
    assert loop["config"]["steps"] == 12
    assert "torch" in loop["versions"]


def test_keep_last_and_best(tmp_path: Path) -> None:
    class Worsening(Regression):
        def validate(self, modules: Any, batch: Any, draws: Any) -> Any:
            # Lowest at the first validation: the best checkpoint must outlive the newer ones.
            self.count = getattr(self, "count", 0) + 1
            return {"loss": super().validate(modules, batch, draws)["loss"] * 0 + self.count}

    config = configuration(steps=40, validate_every=5, checkpoint_every=4, keep_last=2)
    result = run(tmp_path / "a", Worsening(config, validation=Table(5, "v")))
    assert steps(tmp_path / "a") == [5, 36, 40]
    assert result.chosen_step == 5
    assert result.validation_loss == 1.0
    ema = load_file(next((tmp_path / "a" / "checkpoints" / "step-5").glob("*.safetensors")))
    exported = weights(tmp_path / "a")
    assert torch.equal(exported["net.layers.0.weight"], ema["ema/net/layers.0.weight"])
    assert not torch.equal(exported["net.layers.0.weight"], ema["model/net/layers.0.weight"])


def damage(path: Path, how: str) -> None:
    raw = path.read_bytes()
    if how == "truncate":
        path.write_bytes(raw[:-40])
    elif how == "flip":
        path.write_bytes(raw[:-10] + bytes([raw[-10] ^ 1]) + raw[-9:])
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "how", "sentence"),
    [
        ("*.safetensors", "truncate", "is truncated"),
        ("*.safetensors", "flip", "is corrupted"),
        ("*.safetensors", "remove", "is missing"),
        ("state.json", "truncate", "is truncated"),
        ("state.json", "flip", "is corrupted"),
        ("manifest.json", "truncate", "is corrupted"),
        ("manifest.json", "flip", "is corrupted"),
        ("manifest.json", "remove", "it has no manifest.json"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_used(
    trained: Path, name: str, how: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = digest(trained)
    file = next((trained / "checkpoints" / "step-12").glob(name))
    damage(file, how)
    task = Regression(configuration(keep_last=3))
    from tenfold.training.loop import train

    train(task, task.config, RunFolder(trained), resume=True)
    told = [line for line in capsys.readouterr().err.splitlines() if "step-12" in line]
    assert len(told) == 1
    assert sentence in told[0]
    assert told[0].endswith("; using step-8 instead")
    assert str(file) in told[0] or "no manifest" in told[0]
    assert len(task.indices) == 4  # steps 8 … 11 again
    assert digest(trained) == whole
    checkpoint.verify(trained / "checkpoints" / "step-12")


def test_a_damaged_later_checkpoint_takes_no_good_ones_place(trained: Path) -> None:
    damage(next((trained / "checkpoints" / "step-12").glob("*.safetensors")), "truncate")

    def crash() -> None:
        raise RuntimeError

    task = Regression(configuration(keep_last=1, checkpoint_every=9), at={10: crash})
    with pytest.raises(RuntimeError):
        run(trained, task, resume=True)  # from step 8; the checkpoint of step 9 is the only good one
    assert steps(trained) == [9, 12]
    checkpoint.verify(trained / "checkpoints" / "step-9")


def test_no_good_checkpoint(trained: Path) -> None:
    for folder in (trained / "checkpoints").iterdir():
        damage(next(folder.glob("*.safetensors")), "truncate")
    with pytest.raises(TenfoldError, match=r"step-12.*is truncated.*holds no other usable checkpoint"):
        run(trained, longer(), resume=True)


def test_foreign_folders_are_refused(trained: Path, tmp_path: Path) -> None:
    for folder in (trained / "checkpoints").iterdir():
        shutil.rmtree(folder)
    foreign = trained / "checkpoints" / "step-5"
    foreign.mkdir()
    save_file({"weight": torch.ones(2)}, foreign / "model.safetensors")
    with pytest.raises(TenfoldError, match=r"step-5 is not a tenfold checkpoint \(it has no manifest.json\)"):
        run(trained, longer(), resume=True)
    (foreign / "manifest.json").write_text(json.dumps({"format": "other-3"}))
    with pytest.raises(TenfoldError, match=r"not a checkpoint of this format \(found 'other-3', expected"):
        run(trained, longer(), resume=True)


def test_another_models_checkpoint_is_refused_by_name(trained: Path) -> None:
    with pytest.raises(TenfoldError) as error:
        run(trained, Regression(configuration(keep_last=3), width=9), resume=True)
    text = str(error.value)
    assert "step-12 is a checkpoint of another model" in text
    assert "\n" not in text
    assert "net/layers.0.weight of shape (12, 4) instead of (9, 4)" in text

    class Renamed(Regression):
        def modules(self) -> Any:
            return {"other": self.net}

        def optimizers(self, modules: Any) -> Any:
            return super().optimizers({"net": modules["other"]})

    with pytest.raises(TenfoldError) as error:
        run(trained, Renamed(configuration(keep_last=3)), resume=True)
    assert "missing other/calls" in str(error.value)
    assert "extra net/calls" in str(error.value)


def test_an_unlisted_tensor_file_is_refused(trained: Path) -> None:
    save_file({"x": torch.ones(1)}, trained / "checkpoints" / "step-12" / "zz.safetensors")
    with pytest.raises(checkpoint.Unusable, match=r"zz\.safetensors is not listed"):
        checkpoint.verify(trained / "checkpoints" / "step-12")


def test_nothing_is_unpickled(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    task = longer()
    run(trained, task, resume=True)
    assert len(task.indices) == 4


def test_leftovers_of_interrupted_saves_are_removed(trained: Path) -> None:
    for name in (".writing-step-9", ".removing-step-2"):
        (trained / "checkpoints" / name).mkdir()
        (trained / "checkpoints" / name / "half").write_text("x")
    run(trained, longer(), resume=True)
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == ["step-12", "step-16", "step-8"]


# A full disk


def limited(size: int) -> Any:
    """The process may write no file longer than ``size`` bytes."""

    class Limit:
        def __enter__(self) -> None:
            self.old = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, self.old[1]))

        def __exit__(self, *_: object) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, self.old)

    return Limit()


def test_file_size_limit_loses_nothing(tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    run(reference, Replay(configuration()))
    limit = limited(3000)  # below the tensors of a checkpoint, above everything else
    task = Replay(configuration(), at={5: limit.__enter__})
    try:
        with pytest.raises(TenfoldError) as error:
            run(tmp_path / "a", task)
    finally:
        limit.__exit__()
    text = str(error.value)
    assert "could not write" in text
    assert "step-8" in text
    assert "file too large" in text
    assert "\n" not in text
    assert [p.name for p in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-4"]
    checkpoint.verify(tmp_path / "a" / "checkpoints" / "step-4")
    run(tmp_path / "a", Replay(configuration()), resume=True)
    assert digest(tmp_path / "a") == digest(reference)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip() if done else 'no mount command'}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leave: int) -> None:
    """Use the disk up but for ``leave`` bytes."""
    with open(disk / "filler", "wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            overflow(file)
        file.truncate(file.tell() - leave)


def overflow(file: Any) -> None:
    for _ in range(10_000):
        file.write(b"x" * 4096)


@pytest.mark.parametrize("leave", [0, 4096, 12288])
def test_full_disk_loses_nothing(small_disk: Path, tmp_path: Path, leave: int) -> None:
    config = configuration(log_every=100, steps=12)
    run(tmp_path / "reference", Replay(config))
    task = Replay(config, at={5: lambda: fill(small_disk, leave)})
    with pytest.raises(TenfoldError, match="no space left on device"):
        run(small_disk / "a", task)
    assert [p.name for p in (small_disk / "a" / "checkpoints").iterdir()] == ["step-4"]
    checkpoint.verify(small_disk / "a" / "checkpoints" / "step-4")
    os.unlink(small_disk / "filler")
    run(small_disk / "a", Replay(config), resume=True)
    assert digest(small_disk / "a") == digest(tmp_path / "reference")


# The task's own state


def test_state_is_split_and_joined() -> None:
    value = {"a": torch.arange(3), "b": [1, 2.5, None, {"c": torch.ones(2), "d": "text"}], "e": True, "f": {}}
    skeleton, tensors = tree.split(value, "task/0")
    assert json.loads(json.dumps(skeleton)) == skeleton
    assert set(tensors) == {"task/0/a", "task/0/b/3/c"}
    joined = tree.join(skeleton, tensors.__getitem__)
    assert torch.equal(joined["a"], value["a"])
    assert torch.equal(joined["b"][3]["c"], torch.ones(2))
    assert joined["b"][:3] == [1, 2.5, None]
    assert joined["e"] is True
    assert joined["f"] == {}


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": {1: 2}}, {"x": [b"bytes"]}])
def test_a_state_that_cannot_be_saved_is_named(tmp_path: Path, bad: dict[str, Any]) -> None:
    class Bad(Regression):
        def state_dict(self) -> dict[str, Any]:
            return bad

    with pytest.raises(TenfoldError, match="cannot save task/0/x"):
        run(tmp_path, Bad(configuration()))
    assert list((tmp_path / "checkpoints").glob("*")) == []


def test_many_kinds_of_tensors_survive(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    state = {
        "bool": torch.tensor([True, False]), "empty": torch.zeros(0, 3), "scalar": torch.tensor(1.5).double(),
        "half": torch.ones(3).bfloat16(), "long": torch.tensor([2**60]), "view": shared[1:4], "whole": shared,
        "transposed": torch.arange(6).reshape(2, 3).T,
    }  # fmt: skip

    class Rich(Regression):
        loaded: Any = None

        def state_dict(self) -> dict[str, Any]:
            return state

        def load_state_dict(self, state: Any) -> None:
            self.loaded = state

    run(tmp_path, Rich(configuration()))
    task = Rich(configuration(steps=13))
    run(tmp_path, task, resume=True)
    assert set(task.loaded) == set(state)
    for name, tensor in state.items():
        assert task.loaded[name].dtype == tensor.dtype, name
        assert torch.equal(task.loaded[name], tensor), name


def test_optimiser_state_belongs_to_parameters_by_name() -> None:
    net = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(net.parameters())
    state = tree.optimizer_state(optimizer, tree.parameter_names({"net": net}))
    assert state["param_groups"][0]["params"] == ["net/weight", "net/bias"]
    other = torch.optim.AdamW([net.bias])
    with pytest.raises(TenfoldError, match="the optimiser state is of other parameters: net/weight"):
        tree.load_optimizer_state(other, state, tree.parameter_names({"net": net}))


def test_usage_errors_are_told_apart() -> None:
    assert UsageError("x").exit_code == 2
    assert TenfoldError("x").exit_code == 1
