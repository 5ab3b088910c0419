"""What fails while a command works: exit code 1, one sentence, and nothing half-written."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tenfold.runs.run_folder import RunFolder

QUICK = ("--model.blocks", 2, "--model.layers", 1, "--train.batch_size", 16, "--train.tracker", "none")
LINE = ("train", "tarflow-digits", *QUICK, "--train.steps", 4, "--skip-evaluation")


@pytest.fixture
def failed(tenfold):
    """Run a line that must fail with exit code 1; returns the last line of standard error."""

    def run(*arguments: object) -> str:
        done = tenfold(*arguments)
        assert done.code == 1, (done.code, done.out, done.err)
        assert done.out == ""
        assert "Traceback" not in done.err
        assert done.err.splitlines()[-1].startswith("tenfold: ")
        return done.err.splitlines()[-1]

    return run


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_overflow_names_block_token_and_sample(failed, runs, tmp_path: Path) -> None:
    shutil.copytree(runs["likelihood"] / "model", tmp_path / "model")
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if "proj_out" in name:
            tensors[name] = 500 * torch.randn(tensor.shape, generator=generator)
    save_file(tensors, tmp_path / "model" / "model.safetensors")
    for solver in ("sequential", "jacobi"):
        message = failed("sample", tmp_path / "model", "--num", 3, "--solver", solver, "--out", tmp_path / "samples")
        assert "the inverse of block 1 overflows at token " in message
        assert "of sample " in message
    assert not (tmp_path / "samples").exists()


def test_training_that_diverges_names_step_and_block(failed, tmp_path: Path) -> None:
    message = failed(*LINE, "--out", tmp_path / "run", "--train.learning_rate", 1e30, "--train.clip", "none")
    assert "training stopped at step " in message
    assert "block 0 is not finite" in message
    assert "lower train.learning_rate" in message


def test_a_full_disk_while_training_loses_nothing(failed, tenfold, tmp_path: Path) -> None:
    with largest_file(100_000):
        message = failed(*LINE, "--out", tmp_path / "run")
    assert "could not write" in message
    assert "free some space" in message
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    done = tenfold("train", "--resume", tmp_path / "run", "--skip-evaluation")
    assert done.code == 0, done.err
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_full_disk_while_sampling_or_scoring_leaves_no_half_file(failed, runs, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((40, 1, 8, 8)))
    with largest_file(1000):
        message = failed("sample", runs["likelihood"], "--num", 40, "--out", tmp_path / "samples")
        assert f"could not write {tmp_path / 'samples' / 'samples.npz'}" in message
        message = failed("score", runs["likelihood"], tmp_path / "x.npy", "--out", tmp_path / "scores.csv")
        assert "could not write" in message
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "x.npy"]


def test_a_folder_in_use(failed, runs) -> None:
    with RunFolder(runs["noise"]).lock():
        for line in (("evaluate", runs["noise"]), ("report", runs["noise"]), ("train", "--resume", runs["noise"])):
            assert "is in use by another process (pid " in failed(*line)


@pytest.mark.parametrize(("how", "words"), [("truncate", "is truncated"), ("flip", "is corrupted")])
def test_a_damaged_checkpoint(failed, runs, tmp_path: Path, how: str, words: str) -> None:
    shutil.copytree(runs["noise"], tmp_path / "run")
    (file,) = (tmp_path / "run" / "checkpoints" / "step-2").glob("*.safetensors")
    raw = file.read_bytes()
    file.write_bytes(raw[:-9] if how == "truncate" else raw[:-1] + bytes([raw[-1] ^ 1]))
    message = failed("train", "--resume", tmp_path / "run", "--train.steps", 3)
    assert f"{file} {words}" in message
    assert "holds no other usable checkpoint" in message


def test_a_foreign_checkpoint(failed, runs, tmp_path: Path) -> None:
    shutil.copytree(runs["noise"], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-2")
    shutil.copytree(runs["likelihood"] / "checkpoints" / "step-2", tmp_path / "run" / "checkpoints" / "step-2")
    message = failed("train", "--resume", tmp_path / "run", "--train.steps", 3)
    assert "step-2 is a checkpoint of another model: missing flow/blocks.0.class_embed" in message


def test_images_that_cannot_be_read(failed, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for i in range(20):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / "images" / f"{i:02}.png")
    broken = tmp_path / "images" / "07.png"
    broken.write_bytes(broken.read_bytes()[:40])
    data = ("--data.source", "folder", "--data.path", tmp_path / "images", "--data.levels", 256)
    held_out = ("--data.validation", 2, "--data.test", 2)
    message = failed(*LINE, "--out", tmp_path / "run", *data, *held_out)
    assert f"image {broken} cannot be read" in message
