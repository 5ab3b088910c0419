"""Masked language models on the command line: converting, training, and what users get wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tenfold import api
from tenfold.masked_lm.model import MaskedLM
from tests.masked_lm.helpers import tiny

QUICK = [
    *("--model.width", 32, "--model.layers", 1, "--model.heads", 2, "--model.intermediate", 64),
    *("--data.source", "jsonl", "--data.length", 32, "--data.stride", 0, "--train.steps", 3, "--train.batch_size", 4),
    *(
        "--train.tracker",
        "none",
        "--train.threads",
        1,
        "--evaluation.draws",
        2,
        "--evaluation.rows",
        8,
        "--evaluation.holes",
        4,
    ),
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [json.dumps({"text": f"def f{i}(x):\n    return x + {i * i % 97}\n"}) for i in range(150)]
    file.write_text("\n".join(lines))
    return file


def test_train_and_resume(tenfold: Callable[..., Any], texts: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = tenfold("train", "code-bytes", "--out", run, *QUICK, "--data.path", texts, "--json")
    assert done.code == 0, done.err
    rows = {row["model"]: row for row in json.loads(done.out)["metrics"] if row["name"] == "bits_per_byte"}
    assert set(rows) == {"code-bytes", "unigram", "back-off"}
    assert rows["code-bytes"]["draws"] == 2
    assert (run / "figures" / "by-mask-ratio.png").is_file()
    assert "Bits per byte" in (run / "report.html").read_text()
    done = tenfold("train", "--resume", run, "--train.steps", 4, "--skip-evaluation")
    assert done.code == 0, done.err
    assert isinstance(api.load(run), MaskedLM)


def test_convert(tenfold: Callable[..., Any], tmp_path: Path) -> None:
    tiny(family="llama").save_pretrained(tmp_path / "in")
    done = tenfold("convert", "masked-lm", tmp_path / "in", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["config"]["mask"] == 257
    assert json.loads((tmp_path / "out" / "config.json").read_text())["mask_token_id"] == 257
    assert api.open_source(tmp_path / "out").system == "masked-lm"
    assert isinstance(api.load(tmp_path / "out"), MaskedLM)


def test_convert_refuses(refused: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    tiny().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "is of a 'bert' model; expected Dream, qwen2, llama" in refused(
        "convert", "masked-lm", folder, tmp_path / "o"
    )
    assert "has no config.json" in refused("convert", "masked-lm", tmp_path, tmp_path / "o")
    assert "neither a model folder nor a hub id" in refused("convert", "masked-lm", "nowhere", tmp_path / "o")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model.mask", 256], "mask_token_id and pad_token_id are both 256"),
        (["--model.mask", 300], "mask_token_id is 300, outside the vocabulary of 258 tokens"),
        (["--model.heads", 3], "model.width 32 over 3 heads is no even whole number"),
        (["--model.kv_heads", 3], "model.kv_heads is 3; it must divide the 2 heads"),
        (["--model.vocab_size", 257, "--model.mask", 255], "a model of bytes needs 256, padding and mask: 258"),
        (["--model.positions", 16], "data.length 32 exceeds model.positions 16"),
        (["--objective.epsilon", 0], "objective.epsilon is 0.0"),
        (["--objective.lora_rank", 4], "low-rank updates need weights to update"),
        (["--objective.normaliser", "tokens"], "did you mean 'token'?"),
        (["--objective.start", "nowhere"], "neither a model folder nor a hub id"),
        (["--evaluation.draws", 0], "evaluation.draws is 0"),
        (["--data.path", "nowhere.jsonl"], "nowhere.jsonl does not exist"),
        (["--data.stride", 40], "data.stride is 40"),
    ],
)
def test_train_refuses(
    refused: Callable[..., str], texts: Path, tmp_path: Path, options: list[Any], sentence: str
) -> None:
    line = ["train", "code-bytes", "--out", tmp_path / "run", *QUICK, "--data.path", texts, *options]
    assert sentence in refused(*line)
    assert not (tmp_path / "run").exists()


def test_published_recipes_tell_their_size(tenfold: Callable[..., Any]) -> None:
    done = tenfold("train", "diffucoder-instruct", "--dry-run", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["parameters"] == 7_615_616_512
    assert facts["row_tokens"] == 2048
    assert facts["forward_flops_per_token"] > 2 * 7e9
