"""What does not fit into memory is refused in one sentence before it is begun, by every verb, in Python and on the
command line."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tenfold
from tenfold import api
from tenfold.api import catalogue
from tenfold.errors import UsageError
from tests.devices.tasks import CASES, write_sources

SENTENCE = r"would need about [\d.e+-]+ GiB of memory, but [\d.e+-]+ GiB are available; "
MODELS = ("tarflow", "discrete-diffusion", "autoregressive", "masked-lm", "detector")
RUNS = ("tarflow", "discrete-diffusion", "masked-lm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders, a run of every kind of task that a recipe needs for being used, and what is scored."""
    path = tmp_path_factory.mktemp("memory")
    write_sources(path)
    for name in MODELS:
        CASES[name].task(path).export(path / f"model-{name}")
    short = {"steps": 1, "batch_size": 4, "validate_every": 0, "tracker": "none", "threads": 1}
    for name in RUNS:
        recipe = CASES[name].task(path).recipe
        api.train(recipe, path / f"run-{name}", evaluate=False, device="cpu", train=short)
    np.save(path / "images.npy", np.zeros((2, 1, 8, 8), np.int64))
    Image.new("RGB", (40, 40)).save(path / "photo.png")
    (path / "words.txt").write_text("the cat and the hound\n" * 30)
    return path


@dataclass(frozen=True)
class Use:
    """A verb on a model: the arguments that go to it in Python, and the line."""

    verb: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def called(self, folder: Path, out: Path) -> None:
        """In Python."""
        if self.verb in catalogue.verbs():  # of a room's own
            inputs = str(folder / self.source) if self.source else None
            api.perform(self.verb, api.open_source(folder / self.model, "cpu"), inputs, out, **self.options)
            return
        verb: Callable[..., Any] = getattr(tenfold, "solve" if "suite" in self.options else self.verb)
        given = [folder / self.source] if self.source else []
        where = [out] if self.verb in ("sample", "analyse") or "suite" in self.options else []
        verb(folder / self.model, *given, *where, device="cpu", **self.options)

    def line(self, folder: Path, out: Path) -> list[str]:
        """The same on the command line."""
        given = [str(folder / self.source)] if self.source else []
        writes = self.verb in ("sample", "analyse", *catalogue.verbs()) or "suite" in self.options
        where = ["--out", str(out)] if writes else []
        options = [part for name, value in self.options.items() for part in (f"--{name}", str(value))]
        return [self.verb, str(folder / self.model), *given, *where, *options, "--device", "cpu"]


SMALL = {
    "sample a flow": Use("sample", "model-tarflow", {"num": 2}),
    "score under a flow": Use("score", "model-tarflow", source="images.npy"),
    "sample diffusion": Use("sample", "model-discrete-diffusion", {"num": 2}),
    "score under diffusion": Use("score", "model-discrete-diffusion", source="words.txt"),
    "score from left to right": Use("score", "model-autoregressive", source="words.txt"),
    "analyse diffusion": Use("analyse", "run-discrete-diffusion", {"judge": "model-autoregressive"}),
    "sample a language model": Use("sample", "model-masked-lm", {"prompt": "def f", "tokens": 8}),
    "score under a language model": Use("score", "model-masked-lm", source="words.txt"),
    "analyse a language model": Use("analyse", "run-masked-lm"),
    "find objects": Use("detect", "model-detector", {"tile": 32, "halo": 8}, "photo.png"),
    "solve problems": Use("evaluate", "run-masked-lm", {"suite": "humaneval", "first": 1}),
    **{f"{verb} {name}": Use(verb, f"run-{name}") for verb in ("evaluate", "report") for name in RUNS},
}
# More than there is, of a machine that holds the model well.
LARGE = {
    "sample a flow": Use("sample", "model-tarflow", {"num": 10**5, "batch": 10**5}),
    "sample diffusion": Use("sample", "model-discrete-diffusion", {"num": 10**5, "batch": 10**5}),
    "sample a language model": Use("sample", "model-masked-lm", {"prompt": "def f", "num": 10**5, "batch": 10**5}),
    "score under diffusion": Use("score", "model-discrete-diffusion", {"batch": 10**5}, "long.txt"),
    "score from left to right": Use("score", "model-autoregressive", {"batch": 10**5}, "long.txt"),
    "score under a language model": Use("score", "model-masked-lm", {"batch": 10**5}, "long.txt"),
}


def test_every_verb_of_every_kind_of_model_is_tried() -> None:
    """A new verb on a trained model has a line here too."""
    assert {use.verb for use in SMALL.values()} >= {"sample", "score", "analyse", "evaluate", "report"}
    assert set(catalogue.verbs()) <= {use.verb for use in SMALL.values()}


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """So many bytes are left from now on."""
    monkeypatch.setattr("tenfold.runs.machine.free_memory", lambda: size)


def listing(path: Path) -> dict[str, int]:
    """All files with their times."""
    return {str(file): file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}


def refusal(use: Use, folder: Path, tmp_path: Path, fix: str, monkeypatch: pytest.MonkeyPatch, tenfold: Any) -> None:
    """Refused in both ways, by the same sentence, and nothing is written."""
    monkeypatch.chdir(folder)
    before = listing(folder)
    with pytest.raises(UsageError, match=SENTENCE + fix) as told:
        use.called(folder, tmp_path / "out")
    done = tenfold(*use.line(folder, tmp_path / "out"))
    assert (done.code, done.out) == (2, "")
    assert str(told.value) in done.err
    assert not (tmp_path / "out").exists()
    assert listing(folder) == before


@pytest.mark.parametrize("name", SMALL)
def test_a_model_too_large(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Callable[..., Any]
) -> None:
    free(monkeypatch, 1000)
    refusal(SMALL[name], folder, tmp_path, "take a smaller model", monkeypatch, tenfold)


@pytest.mark.parametrize("name", LARGE)
def test_a_request_too_large(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Callable[..., Any]
) -> None:
    (folder / "long.txt").write_text("the cat and the hound\n" * 3000)
    free(monkeypatch, 1 << 21)
    refusal(LARGE[name], folder, tmp_path, "(lower --|take fewer|give fewer|draw fewer)", monkeypatch, tenfold)


def test_converting_and_loading(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Any) -> None:
    torch.save({"weights": torch.zeros(1000)}, tmp_path / "published.pth")
    free(monkeypatch, 1000)
    for system in [name for name, known in catalogue.systems().items() if known.published]:
        source = folder / "model-masked-lm" if system == "masked-lm" else tmp_path / "published.pth"
        with pytest.raises(UsageError, match="reading the weights of .*" + SENTENCE):
            api.convert(system, source, tmp_path / "out")
        done = tenfold("convert", system, source, tmp_path / "out")
        assert done.code == 2
        assert re.search(SENTENCE, done.err)
        assert not (tmp_path / "out").exists()
    for name in MODELS:
        with pytest.raises(UsageError, match=SENTENCE):
            api.load(folder / f"model-{name}")


@pytest.mark.parametrize("name", ["tarflow", "autoencoder", "discrete-diffusion", "masked-lm", "reward"])
def test_training(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenfold: Callable[..., Any]
) -> None:
    recipe = CASES[name].task(folder).recipe
    monkeypatch.setattr("tenfold.runs.machine.free_memory", lambda: 1000)
    with pytest.raises(UsageError, match="training .*" + SENTENCE + r"lower train.batch_size"):
        api.train(recipe, tmp_path / "run", evaluate=False, device="cpu")
    assert not (tmp_path / "run").exists()
    done = tenfold("train", "tarflow-digits", "--out", tmp_path / "other", "--device", "cpu")
    assert done.code == 2
    assert re.search(SENTENCE, done.err)
    assert not (tmp_path / "other").exists()


def test_a_pipeline_is_refused_before_its_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = catalogue.recipe("starflow-mnist")
    first = api.describe(recipe)["autoencoder"]["total_bytes"]
    monkeypatch.setattr("tenfold.runs.machine.free_memory", lambda: first)
    with pytest.raises(UsageError, match=SENTENCE):
        api.train("starflow-mnist", tmp_path / "run", device="cpu", flow={"train": {"batch_size": 512}})
    assert not (tmp_path / "run").exists()
