"""Flows of bytes and of a tokenizer's tokens: training on any texts, samples, scores, tokenizers, published sizes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from tenfold import api
from tenfold.api.catalogue import recipe
from tenfold.errors import UsageError
from tenfold.settings.changes import change
from tenfold.text_flows import TextFlow, TextFlowConfig, elbo

MODEL = {
    "components": [257], "width": 32, "layers": [1], "heads": 2, "length": 16, "local_mixing": 3, "dim": 8,
    "hidden": 16,
}  # fmt: skip
TRAIN = {
    "steps": 60, "batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 5, "tracker": "none", "threads": 1,
    "validate_every": 0, "ema": None,
}  # fmt: skip
WORDS = ("the", "cät", "dog", "sat", "ran", "on", "mat", "log")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Trained on bytes of lines of a few words, one of which is two bytes in places."""
    folder = tmp_path_factory.mktemp("bytes")
    draw = np.random.default_rng(0)
    lines = [" ".join(WORDS[i] for i in draw.integers(len(WORDS), size=40)) for _ in range(600)]
    (folder / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    data = {"path": str(folder / "text.txt"), "length": 16, "validation": 0.2, "test": 0.2, "validation_rows": 32}
    small = {"model": MODEL, "data": data, "train": TRAIN, "evaluation": {"draws": 2, "rows": 32}}
    return api.train(change(recipe("bytes-flow"), small), folder / "run")


def test_a_flow_of_bytes_learns(run: Any) -> None:
    rows = {(row.name, row.model): row for row in run.measurements}
    bound, counts = rows["bits_per_token", "bytes-flow"], rows["bits_per_token", "unigram"]
    assert (bound.note, bound.unit) == ("≤: ELBO", "bits/token")
    assert rows["bits_per_token_weighted", "bytes-flow"].value <= bound.value < counts.value < 5
    assert counts.standard_error is not None
    assert counts.standard_error > 0
    assert "bits_per_char" not in {name for name, _ in rows}


def test_the_model_folder_reads_and_writes_texts(run: Any, tmp_path: Path) -> None:
    folder = run.path / "model"
    stock = AutoTokenizer.from_pretrained(folder / "tokenizer")
    assert stock("cät")["input_ids"] == list("cät".encode())
    assert stock.eos_token_id == 256
    model = api.load(folder)
    assert model.tokenizer.encode("né") == list("né".encode())
    for source in (run.path, folder):  # a run, and a bare model folder
        files = api.sample(source, tmp_path / source.name, num=3, length=12)
        texts = json.loads((tmp_path / source.name / "samples.json").read_text())["samples"]
        assert len(texts) == 3
        assert all(0 < len(text.encode()) <= 36 for text in texts)  # a byte that is none of UTF-8 is a sign of three
        assert files[0].read_text(encoding="utf-8").count("\n") >= 3
    api.sample(folder, tmp_path / "prompt", num=2, prompt="the cät")
    assert all(
        text.startswith("the cät") for text in json.loads((tmp_path / "prompt" / "samples.json").read_text())["samples"]
    )


def test_scores_are_counted_in_bytes(run: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cät sat", encoding="utf-8")
    (tmp_path / "b.txt").write_text("zq#9xv!kkwj_", encoding="utf-8")
    for source in (run.path, run.path / "model"):
        scores = api.score(source, tmp_path, draws=4)
        assert [Path(name).name for name in scores.names] == ["b.txt", "a.txt"]
        columns = dict(zip(scores.columns, zip(*scores.values, strict=True), strict=True))
        assert columns["bytes"] == (12, 12)
    tokens = torch.tensor([list("the cät sat".encode())])
    bits = float(elbo(api.load(run.path / "model"), tokens, 64).nats) / math.log(2) / 12
    assert columns["bits_per_byte"][1] == pytest.approx(bits, abs=0.3)


def test_published_sizes() -> None:
    """12 layers of 12 · 768² and a head of 768 · 50257, and little more."""
    mixd, mix1 = recipe("owt-mixd"), recipe("owt-mix1")
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in TextFlow(found.model).parameters()) for found in (mixd, mix1)]
    assert sizes[0] == pytest.approx(12 * 12 * 768**2 + 768 * 50257, rel=0.1)
    assert sizes[1] < sizes[0]
    assert mixd.train.batch_size * mixd.data.length == 2**19


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="OpenWebText does not come with tenfold"):
        api.train(change(recipe("bytes-flow"), {"model": MODEL, "data": {"length": 16}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    plain = TextFlow(TextFlowConfig(vocabulary=8, components=(8,), width=16, heads=2, layers=(1,), length=8))
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(UsageError, match="no tokenizer, so its samples are no text"):
        api.sample(tmp_path / "plain", tmp_path / "samples", num=1)
    (tmp_path / "text.txt").write_text("abc")
    with pytest.raises(UsageError, match="texts cannot be read in them"):
        api.score(tmp_path / "plain", tmp_path / "text.txt")
    for changes, words in (
        ({"model": {"alphabet": "ab", "vocabulary": 2, "components": [2]}}, "leave model.alphabet empty"),
        ({"data": {"length": 256}}, "data.length 256 exceeds model.length 128"),
        ({"model": {"vocabulary": 100, "components": [100]}, "data": {"path": str(tmp_path)}}, "has 257 tokens"),
    ):
        with pytest.raises(UsageError, match=words):
            api.train(change(recipe("bytes-flow"), changes), tmp_path / "run")
