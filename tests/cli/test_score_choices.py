"""``tenfold score-choices``: what it prints and writes, and the lines that it refuses."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tenfold.api import open_language_model
from tenfold.errors import UsageError
from tenfold.ordering.choices.items import read_items, some_items
from tenfold.ordering.options import RULES
from tests.text.tokenizers_of_kinds import byte_level

ITEMS = [
    {"question": f"Where is {name}", "choices": ["in the house", "out", "é"][: 2 + i % 2], "answer": i % 2,
     "group": "gh"[i % 2]}
    for i, name in enumerate(["Ann", "Bob", "Cid", "Dee", "Eve", "Fay"])
]  # fmt: skip
TEXT = "\n".join(json.dumps(item) for item in ITEMS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stock causal model with a tokenizer of bytes, as people save them."""
    folder = tmp_path_factory.mktemp("model")
    inner = byte_level()
    inner.add_special_tokens(["<s>", "</s>"])
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=258, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=128, tie_word_embeddings=True,
    )  # fmt: skip
    network = LlamaForCausalLM(config).requires_grad_(False)
    for parameter in network.parameters():
        parameter.mul_(6.0)
    network.save_pretrained(folder)
    return folder


@pytest.fixture
def items(tmp_path: Path) -> Path:
    file = tmp_path / "items.jsonl"
    file.write_text(TEXT)
    return file


def test_every_rule_in_a_table_and_in_json(tenfold, model, items):
    done = tenfold("score-choices", items, "--model", model)
    assert done.code == 0, done.err
    for word in (*RULES, "6 items, guessing 41.7 %", "95 % interval", "ECE", "g: ", "h: "):
        assert word in done.out
    done = tenfold("score-choices", items, "--model", model, "--json", "--rules", "token,paradigm-3", "--num", 4)
    found = json.loads(done.out)
    assert [rule["rule"] for rule in found["rules"]] == ["token", "paradigm-3"]
    assert found["items"] == 4
    assert found["order"] == "l2r"
    (pair,) = found["differences"]
    assert pair["value"] == pytest.approx(
        found["rules"][0]["accuracy"]["value"] - found["rules"][1]["accuracy"]["value"]
    )


def test_fitted_weights(tenfold, refused, model, items, tmp_path):
    done = tenfold("score-choices", items, "--model", model, "--fit", 0.5, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "fitted on 3 items" in done.out
    assert "re-ranked, on the other 3: " in done.out
    data = json.loads((tmp_path / "out/data.json").read_text())
    assert data["reranked"]["tested"]["items"] == 3
    rows = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert "re-ranked" in json.dumps(rows)
    assert "fit is 1.0" in refused("score-choices", items, "--model", model, "--fit", 1)
    assert "both directions" in refused("score-choices", items, "--model", model, "--fit", 0.5, "--rules", "sum")


def test_entropies_of_both_directions(tenfold, refused, model, items):
    done = tenfold("entropy", items, "--model", model, "--num", 4, "--length", 2, "--rollouts", 2)
    assert done.code == 0, done.err
    for word in ("entropy of answer given question: ", "entropy of question given answer: ", "ECE", "2 roll-outs"):
        assert word in done.out
    done = tenfold("entropy", items, "--model", model, "--num", 4, "--length", 2, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [one["what"] for one in found["directions"]] == ["answer given question", "question given answer"]
    assert len(found["directions"][0]["positions"]["excess"]) == 2
    assert "rollouts" in refused("entropy", items, "--model", model, "--rollouts", 0)
    assert "--model is missing" in refused("entropy", items)


def test_a_report_and_its_log(tenfold, refused, model, items, tmp_path):
    out = tmp_path / "out"
    done = tenfold("score-choices", items, "--model", model, "--order", "r2l", "--out", out)
    assert done.code == 0, done.err
    assert f"report: {out / 'report.html'}" in done.out
    log = [json.loads(line) for line in (out / "choices.jsonl").read_text().splitlines()]
    assert len(log) == sum(len(item["choices"]) for item in ITEMS)
    assert {"total", "stopped", "alone", "tokens", "greedy"} == set(log[0]["forward"])
    data = json.loads((out / "data.json").read_text())
    by_rule = {rule["rule"]: rule["accuracy"]["value"] for rule in data["rules"]}
    for rule in RULES:
        hits = [record["right"] for record in log if rule in record["picked_by"]]
        assert np.mean(hits) == pytest.approx(by_rule[rule])
    assert "Reliability" in (out / "report.html").read_text()
    assert "holds a run" in refused("score-choices", items, "--model", model, "--out", out)


def test_members_of_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as made:
        made.writestr("data/one/items.jsonl", TEXT)
        made.writestr("data/two/items.jsonl", TEXT)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as made:
        entry = tarfile.TarInfo("x/items.jsonl")
        entry.size = len(TEXT.encode())
        made.addfile(entry, io.BytesIO(TEXT.encode()))
    assert len(read_items(f"{tmp_path}/a.whl:one/items.jsonl")) == 6
    found = read_items(f"{tmp_path}/a.tar.gz:items.jsonl")
    assert [item.question[-3:] for item in some_items(found, 3)] == ["Ann", "Cid", "Fay"]
    for member, sentence in (
        ("a.whl:items.jsonl", "holds 2 times items.jsonl; give more of its path"),
        ("a.whl:three.jsonl", "holds no three.jsonl"),
        ("a.tar.gz:three.jsonl", "holds no three.jsonl"),
        ("b.zip:one.jsonl", "b.zip:one.jsonl cannot be read as text: No such file"),
    ):
        with pytest.raises(UsageError, match=sentence):
            read_items(f"{tmp_path}/{member}")


def test_refused_lines(refused, model, items, tmp_path):
    assert "--model is missing" in refused("score-choices", items)
    assert "order is 'up'" in refused("score-choices", items, "--model", model, "--order", "up")
    assert "rules is 'best'" in refused("score-choices", items, "--model", model, "--rules", "best")
    assert "resamples" in refused("score-choices", items, "--model", model, "--resamples", 5)
    assert "cannot be read" in refused("score-choices", tmp_path / "none.jsonl", "--model", model)
    assert "no transformers model" in refused("score-choices", items, "--model", tmp_path)
    told = refused("score-choices", items, "--model", model, "--natural", "{answer}")
    assert "expected a text with {question} before {answer}" in told
    with pytest.raises(UsageError, match="expected l2r or r2l"):
        open_language_model(model, "any")
