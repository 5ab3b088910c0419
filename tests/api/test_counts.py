"""One object passes through a verb: one task, one reading of the configuration, of the data and of the weights."""

import argparse
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold.api import runs
from tenfold.cli.main import main
from tenfold.data import load
from tenfold.hub import folders
from tenfold.runs import run_folder

TINY = (
    *("--model.width", "16", "--model.head_size", "16", "--model.blocks", "2", "--model.layers", "1"),
    *("--train.steps", "2", "--train.batch_size", "4", "--train.validate_every", "1", "--evaluation.draws", "2"),
    *("--evaluation.importance", "1", "--evaluation.calibrate", "4", "--evaluation.baselines", "false"),
)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What was made and read while the body ran."""
    found: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            found[name] += 1
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(runs, "make_task", counting("tasks", runs.make_task))
        patch.setattr(folders, "load_strict", counting("weights", folders.load_strict))
        patch.setattr(run_folder, "load_config", counting("configurations", run_folder.load_config))
        for source, read in load._IMAGES.items():
            patch.setitem(load._IMAGES, source, counting("data", read))
        patch.setattr(argparse.ArgumentParser, "__init__", counting("parsers", argparse.ArgumentParser.__init__))
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = str(tmp_path_factory.mktemp("counts") / "run")
    assert main(["train", "tarflow-digits", "--out", folder, *TINY]) == 0
    return folder


def test_train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with counted(monkeypatch) as found:
        assert main(["train", "tarflow-digits", "--out", str(tmp_path / "run"), *TINY]) == 0
    assert found["tasks"] == 1
    assert found["data"] == 1
    assert found["weights"] <= 1
    assert found["parsers"] <= 2


def test_resume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    with counted(monkeypatch) as found:
        assert main(["train", "--resume", str(tmp_path / "run"), "--train.steps", "3"]) == 0
    assert found["tasks"] == 1
    assert found["data"] == 1
    assert found["weights"] <= 1
    assert found["configurations"] <= 2  # once by the command, once by the loop under the run's lock


@pytest.mark.parametrize("verb", [["evaluate"], ["sample", "--num", "2"], ["report"]])
def test_use(monkeypatch: pytest.MonkeyPatch, run: str, verb: list[str]) -> None:
    with counted(monkeypatch) as found:
        assert main([verb[0], run, *verb[1:]]) == 0
    assert found["tasks"] == 1
    assert found["weights"] == 1
    assert found["configurations"] <= 1 + (verb == ["report"])  # which looks first whether the folder is a run
    assert found["parsers"] <= 2
    assert found["data"] <= 1


def test_stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a run of several stages, the same for each; the later ones read the earlier ones' weights besides."""
    stages = ("autoencoder", "flow", "decoder")
    options = [
        *(f"--{stage}.train.{name}={value}" for stage in stages for name, value in (("steps", 1), ("batch_size", 2))),
        *(f"--{stage}.validation=20" for stage in ("autoencoder.data", "flow.data.images", "decoder.data")),
        *("--autoencoder.model.widths=[8,8]", "--autoencoder.model.mid_attention=false"),
        *("--flow.model.shape=[4,14,14]", "--flow.model.layers=[1,1]", "--flow.evaluation.calibrate=0"),
        *("--flow.model.shallow.width=32", "--flow.model.deep.width=32", "--decoder.reconstruction.perceptual="),
    ]
    with counted(monkeypatch) as found:
        line = ["train", "starflow-mnist", "--out", str(tmp_path / "run"), "--skip-evaluation", *options]
        assert main(line) == 0
    assert found["tasks"] == len(stages)
    assert found["parsers"] <= 2
    # The flow reads the autoencoder (to make and to decode latents), the decoder starts from it.
    assert found["weights"] <= 3
