"""Models of a tokenizer's tokens: converted checkpoints that write text, training on JSON lines, published sizes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tenfold import api
from tenfold.api.catalogue import recipe
from tenfold.api.runs import open_source
from tenfold.cli.main import main
from tenfold.data.text.config import TokenTextConfig
from tenfold.data.text.token_rows import read_packed
from tenfold.discrete_diffusion import DiffusionConfig, DiscreteDiffusion, TokenRowEvaluation
from tenfold.errors import UsageError
from tenfold.settings.changes import change

PIECES = ["<end>", "Ġ", "Ċ", *"abcdefg"]
SETTINGS = {"vocabulary": 10, "network": "dit", "width": 64, "layers": 1, "heads": 1, "length": 16, "epsilon": 1e-3}


def make_tokenizer(folder: Path, pieces: list[str]) -> str:
    """A byte-level one, as GPT-2's, of single letters."""
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>").save_pretrained(folder)
    return str(folder)


def checkpoint(folder: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    model = DiscreteDiffusion(DiffusionConfig(**{**SETTINGS, **changes}))  # type: ignore[arg-type]
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    file = folder / "published.safetensors"
    save_file({name.removeprefix("network."): tensor for name, tensor in model.state_dict().items()}, file)
    return file


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mdlm", {}),
        ("sedd", {"output": "scores", "time": True}),
        ("udlm", {"source": "uniform", "view": "leave_one_out", "time": True}),
    ],
)
def test_converted_checkpoints_write_text(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "tokenizer", PIECES)
    file = checkpoint(tmp_path, **changes)
    api.convert("discrete-diffusion", file, tmp_path / "model", kind=kind, length=16, tokenizer=tokenizer)
    shutil.rmtree(tokenizer)  # the model folder is whole
    assert api.load(tmp_path / "model").tokenizer is not None
    files = api.sample(tmp_path / "model", tmp_path / "samples", num=5, steps=4)
    texts = json.loads(files[1].read_text())["samples"]
    assert len(texts) == len(files[0].read_text().splitlines()) == 5
    assert set("".join(texts)) <= set(" \nabcdefg")
    files = api.sample(tmp_path / "model", tmp_path / "filled", num=3, steps=4, template="ab c____ ge")
    for text in json.loads(files[1].read_text())["samples"]:
        assert text.startswith("ab c")
        assert text.endswith(" ge")


def test_without_a_tokenizer_samples_are_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.convert("discrete-diffusion", checkpoint(tmp_path), tmp_path / "model", length=16)
    line = ["sample", str(tmp_path / "model"), "--num", "3", "--steps", "2", "--out", str(tmp_path / "samples")]
    assert main(line) == 0
    told = capsys.readouterr()
    assert "the model has no tokenizer, so samples are numbers of tokens in samples.json" in told.err
    assert told.out.split() == [str(tmp_path / "samples" / "samples.json")]
    tokens = torch.tensor(json.loads((tmp_path / "samples" / "samples.json").read_text())["tokens"])
    assert tokens.shape == (3, 16)
    assert tokens.max() < 10
    with pytest.raises(UsageError, match="no tokenizer to read it"):
        api.sample(tmp_path / "model", tmp_path / "x", template="a_")
    with pytest.raises(UsageError, match="rewards are of characters"):
        api.sample(tmp_path / "model", tmp_path / "x", kind="first_hitting", reward="word_length")
    with pytest.raises(UsageError, match="17 tokens exceed the 16"):
        api.sample(tmp_path / "model", tmp_path / "x", length=17)


def test_wrong_tokenizers(tmp_path: Path) -> None:
    file = checkpoint(tmp_path)
    large = make_tokenizer(tmp_path / "large", [*PIECES, "h"])
    (tmp_path / "none").mkdir()
    for tokenizer, words in (
        (large, "has 11 tokens, more than the model's 10"),
        (str(tmp_path / "none"), "has no tokenizer"),
        (str(tmp_path / "nowhere"), "neither a model folder nor a hub id"),
    ):
        with pytest.raises(UsageError, match=words):
            api.convert("discrete-diffusion", file, tmp_path / "model", length=16, tokenizer=tokenizer)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["mdlm-owt", "sedd-owt"])
def test_published_recipes_train_on_json_lines(name: str, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"ab c{'defg'[i % 4]} ga{'bc' * (i % 7)} {'abcdefg'[i % 5 :]}"}) for i in range(300)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    small = {"model": {**SETTINGS, "heads": 2, "condition_width": 16}, "evaluation": {"rows": 8, "draws": 2}}
    small["data"] = {
        "path": str(tmp_path / "texts.jsonl"), "tokenizer": make_tokenizer(tmp_path / "tokenizer", PIECES),
        "length": 16, "validation": 0.2, "test": 0.2,
    }  # fmt: skip
    small["train"] = {
        "steps": 3, "batch_size": 8, "accumulate": 1, "warmup_steps": 0, "learning_rate": 1e-2, "tracker": "none",
        "threads": 1, "validate_every": 0, "precision": "fp32",
    }  # fmt: skip
    run = api.train(change(recipe(name), small), tmp_path / "run")
    rows = {(row.name, row.model): row for row in run.measurements}
    mine = rows["bits_per_token", run.name]
    assert mine.note == "NELBO of the masked process"
    assert rows["perplexity", run.name].value == pytest.approx(2**mine.value)
    assert rows["perplexity", "unigram"].value < 10
    files = api.sample(run, num=2, steps=2)
    assert len(json.loads(files[1].read_text())["samples"]) == 2
    with pytest.raises(UsageError, match="so the text cannot be read in them"):
        open_source(run.path / "model").trained().evaluate()


def test_packed_rows(tmp_path: Path) -> None:
    """Every text once, in one split, in order, with the end after it; rows are windows of what is on end."""
    texts = [f"{i % 50:02d}" for i in range(80)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    config = TokenTextConfig(path=str(tmp_path), length=3, validation=0.3, test=0.3)
    found = read_packed(config, lambda text: [int(c) for c in text], 99)
    rows = {name: split.batch(np.arange(len(split)))["tokens"] for name, split in found.items()}
    assert all((split[:, 2] == 99).all() for split in rows.values())
    numbers = [int(10 * a + b) for split in rows.values() for a, b, _ in split.tolist()]
    assert sorted(numbers) == list(range(50))
    for split in rows.values():
        assert (split[:, 0] * 10 + split[:, 1]).diff().min() > 0
    assert found["train"].some(3).rows.shape == (3, 3)
    assert found["train"].fingerprint != found["test"].fingerprint
    with pytest.raises(UsageError, match="less than one row of 2000"):
        read_packed(replace(config, length=2000), lambda text: [0], 99)


def test_published_sizes() -> None:
    facts = api.describe(recipe("mdlm-owt"))
    assert round(facts["parameters"] / 1e6) == 170
    assert facts["batch_size"] * facts["row_tokens"] == 2**19
    assert api.describe(recipe("sedd-owt"))["parameters"] == facts["parameters"]


def test_bad_settings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="OpenWebText does not come with tenfold"):
        api.train(recipe("mdlm-owt"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match=r"data.length 2048 exceeds model.length 1024"):
        api.make_task("mdlm-owt", change(recipe("mdlm-owt"), {"data": {"length": 2048}}))
    with pytest.raises(UsageError, match=r"leave model.alphabet empty"):
        api.make_task("mdlm-owt", change(recipe("mdlm-owt"), {"model": {"alphabet": "ab", "vocabulary": 2}}))
    with pytest.raises(UsageError, match=r"data.tokenizer is empty"):
        TokenTextConfig(tokenizer="")
    with pytest.raises(UsageError, match=r"evaluation.draws is 0"):
        TokenRowEvaluation(draws=0)
