"""What the commands make of a file of prompts, and of a folder of texts, at any batch; and of small models."""

import json

import pytest

from tenfold.masked_lm import MaskedLM, MaskedLMConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder with fewer positions than the plain recipe's rows."""
    folder = tmp_path_factory.mktemp("small") / "model"
    config = MaskedLMConfig(width=32, layers=1, heads=2, intermediate=48, positions=64)
    MaskedLM.from_config(config).save_pretrained(folder)
    return folder


def test_the_texts_of_a_file_do_not_depend_on_the_batch(tenfold, refused, model, tmp_path):
    lines = [{"prompt": text} for text in ("def f", "a", "import ", "a", "x = ")] + [{"prompt": "p", "max_tokens": 3}]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = set()
    for batch in (1, 3, 8):
        out = tmp_path / str(batch)
        done = tenfold("sample", model, "--input", file, "--tokens", 6, "--batch", batch, "--seed", 4, "--out", out)
        assert done.code == 0, done.err
        found.add((out / "completions.jsonl").read_bytes())
    assert len(found) == 1
    for number, line in enumerate(found.pop().decode().splitlines()):
        if number in (0, 2):
            out = tmp_path / f"alone-{number}"
            prompt = ("--prompt", lines[number]["prompt"], "--tokens", 6, "--seed", 4, "--out", out)
            assert tenfold("sample", model, *prompt).code == 0
            alone = json.loads((out / "samples.json").read_text())["samples"][0]["text"]
            assert alone == json.loads(line)["completion"]
    file.write_text('{"prompt": "a"}\n{"prompt": "b", "max_tokens": 100}\n')
    assert "line 2 of" in refused("sample", model, "--input", file, "--tokens", 6, "--out", tmp_path / "bad")
    assert not (tmp_path / "bad" / "completions.jsonl.partial").exists()
    assert "eta is 0.5" in refused("sample", model, "--prompt", "a", "--eta", 0.5, "--out", tmp_path / "bad")


def test_a_folder_is_scored_text_by_text(tenfold, model, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_bytes(b"\xef\xbb\xbfab\r\ncd\xc2\x85e")
    (texts / "b.txt").write_bytes(b"a longer text of more than sixty-four bytes, which is cut into rows of the model")
    (texts / "c.png").write_bytes(b"\x89PNG\xff")
    done = tenfold("score", model, texts, "--draws", 2, "--json")
    assert done.code == 0, done.err
    assert "1 of 3 files" in done.err
    assert "c.png" in done.err
    rows = {row["name"]: row for row in json.loads(done.out)["scores"]}
    assert rows["a.txt"]["bytes"] == len(b"ab\r\ncd\xc2\x85e") - 1  # the first is given
    alone = tenfold("score", model, texts / "a.txt", "--draws", 2, "--batch", 1, "--json")
    assert json.loads(alone.out)["scores"][0]["log_prob"] == pytest.approx(rows["a.txt"]["log_prob"], rel=1e-5)
    lines = tenfold("score", model, texts / "a.txt", "--lines", "--draws", 2, "--json")
    assert len(json.loads(lines.out)["scores"]) == 2
