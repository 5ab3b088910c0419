"""``tenfold sample`` and ``tenfold analyse`` on a masked language model."""

import json

import pytest

from tenfold import api
from tenfold.api import catalogue
from tenfold.errors import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps on a few small texts."""
    folder = tmp_path_factory.mktemp("masked")
    lines = [{"text": f"def f{i}(value):\n    return value + {i} * {i % 7}\n", "file": str(i)} for i in range(120)]
    texts = folder / "texts.jsonl"
    texts.write_text("\n".join(map(json.dumps, lines)))
    model = {"width": 32, "layers": 1, "heads": 2, "intermediate": 48, "positions": 128}
    train = {"steps": 2, "batch_size": 4, "tracker": "none", "threads": 1, "validate_every": 0}
    data = {"source": "jsonl", "path": str(texts), "length": 32, "stride": 0, "validation": 0.2, "test": 0.3}
    api.train("code-bytes", folder / "run", evaluate=False, model=model, train=train, data=data)
    return folder / "run"


def test_completion(tenfold, run, tmp_path):
    done = tenfold("sample", run, "--prompt", "def f", "--tokens", 12, "--num", 3, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["files"] == [str(tmp_path / "samples.txt"), str(tmp_path / "samples.json")]
    record = json.loads((tmp_path / "samples.json").read_text())
    assert len(record["samples"]) == 3
    assert record["options"]["alg"] == "entropy"
    assert (tmp_path / "samples.txt").read_text().count("def f⟦") == 3
    assert record["cost"][0]["token_forwards"] == record["cost"][0]["passes"] * 3 * 17


def test_infilling_with_a_strategy_and_a_cache(tenfold, run, tmp_path):
    line = ("--prompt", "def", "--suffix", " + 1", "--tokens", 8, "--block-length", 4, "--cache", "dual")
    done = tenfold("sample", run, *line, "--threshold", 0.001, "--temperature", 0, "--out", tmp_path)
    assert done.code == 0, done.err
    sample = json.loads((tmp_path / "samples.json").read_text())
    assert sample["samples"][0]["prompt_tokens"] == 7
    assert sample["cost"][0]["passes"] < 8


def test_a_file_of_prompts(tenfold, run, tmp_path, refused):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "def", "task_id": "a"}\n{"prompt": "x", "task_id": "b", "max_tokens": 2}\n')
    line = (
        "sample",
        run,
        "--input",
        prompts,
        "--tokens",
        4,
        "--num",
        2,
        "--form",
        "human-eval",
        "--out",
        tmp_path / "o",
    )
    assert tenfold(*line).code == 0
    lines = (tmp_path / "o" / "human-eval.jsonl").read_text().splitlines()
    assert [json.loads(line)["task_id"] for line in lines] == ["a", "a", "b", "b"]
    assert "exists already" in refused(*line)


def test_analysis(tenfold, run, tmp_path, refused):
    options = ("--prompts", 3, "--prompt-tokens", 8, "--tokens", 10, "--holes", 8, "--window", 24)
    done = tenfold("analyse", run, *options, "--autoregressive", run, "--json", "--out", tmp_path / "a")
    assert done.code == 0, done.err
    rows = json.loads(done.out)["metrics"]
    names = {row["name"] for row in rows}
    assert {"local_ar_ness_1", "global_ar_ness_4", "sink_score", "infilling_exact_match_accuracy"} <= names
    assert {row["model"] for row in rows} == {"code-bytes", "left to right"}
    page = (tmp_path / "a" / "report.html").read_text()
    assert page.count("<img") == 5
    data = json.loads((tmp_path / "a" / "data.json").read_text())
    assert set(data["temperatures"]) == {"0.2", "1.0", "1.2"}
    assert sorted(data["temperatures"]["0.2"]["orders"][0]) == list(range(10))
    assert len(data["confidence"]) == 10
    assert {"before", "hole", "after", "filled"} == set(data["holes"][0])
    assert "not an empty folder" in refused("analyse", run, *options, "--out", tmp_path / "a")


BAD = {
    "threshold": (["--threshold", 0], ["threshold is 0.0", "(0, 1]"]),
    "both": (["--threshold", 0.5, "--factor", 1], ["threshold 0.5", "factor 1.0", "leave one out"]),
    "top-p": (["--top-p", 2], ["top_p is 2.0", "(0, 1]"]),
    "top-k": (["--top-k", 0], ["top_k is 0"]),
    "temperature": (["--temperature", -1], ["temperature is -1.0", "at least 0"]),
    "alg-temp": (["--alg-temp", -1], ["alg_temp is -1.0"]),
    "alg": (["--alg", "entropi"], ["'entropi'", "did you mean 'entropy'"]),
    "steps": (["--steps", 0], ["steps is 0", "at least 1"]),
    "tokens": (["--tokens", 0], ["tokens is 0"]),
    "blocks": (["--tokens", 8, "--block-length", 4, "--steps", 3], ["steps 3", "2 blocks", "multiple of 2"]),
    "positions": (["--tokens", 200], ["128 positions", "shorten"]),
    "cache": (["--cache", "prefiks"], ["did you mean 'prefix'"]),
    "remdm": (["--strategy", "remdm", "--cache", "dual"], ["remdm", "cache 'none'"]),
    "origin": (["--alg", "origin", "--threshold", 0.5], ["'origin'", "maskgit_plus"]),
    "speculative": (["--strategy", "self_speculative"], ["temperature 0"]),
    "input": (["--input", "none.jsonl"], ["none.jsonl", "does not exist"]),
    "both-inputs": (["--input", "a", "--prompt", "b"], ["--input or --prompt"]),
    "form": (["--form", "evalplus"], ["'evalplus'", "--input"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_sampling_refuses(refused, run, case, tmp_path):
    options, words = BAD[case]
    error = refused("sample", run, *options, "--out", tmp_path / "none")
    assert all(word in error for word in words), error
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tokens", 1], ["tokens is 1", "at least 2"]),
        (["--temperatures", "0.2,-1"], ["temperatures", "none below 0"]),
        (["--alg", "origin"], ["no order by confidence"]),
        (["--prompt-tokens", 90], ["90 tokens", "prompt_tokens lower"]),
        (["--prompt-tokens", 8, "--holes", 3, "--window", 90], ["90 tokens of a window"]),
        (["--prompt-tokens", 8, "--bodies", 3], ["bodies is 3", "ask for fewer"]),
        (["--body-tokens", 3], ["body_tokens is 3", "at least 16"]),
        (["--match", "sets"], ["did you mean 'set'"]),
        (["--autoregressive", "nowhere"], ["nowhere"]),
    ],
)
def test_what_analysis_refuses(refused, run, options, words, tmp_path):
    error = refused("analyse", run, *options, "--out", tmp_path / "none")
    assert all(word in error for word in words), error
    assert not (tmp_path / "none").exists()


def test_only_what_fills_in_masks(refused):
    assert "name a run" in refused("analyse")
    with pytest.raises(UsageError, match="tarflow has no analysis"):
        catalogue.options_of("tarflow", "analyse")
