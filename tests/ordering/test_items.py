"""Readers of multiple-choice items, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import UsageError
from tenfold.ordering.choices.items import ChoiceItem, read_items

PLAIN = {"question": "The sky is", "choices": ["blue", "green", "red"], "answer": 1}


def written(folder: Path, *records: Any) -> Path:
    file = folder / "items.jsonl"
    file.write_text("\n".join(json.dumps(r) if not isinstance(r, str) else r for r in records))
    return file


def evals(text: str, ideal: Any, *before: dict[str, str]) -> dict[str, Any]:
    return {"input": [*before, {"role": "user", "content": text}], "ideal": ideal}


def test_items_of_our_own(tmp_path: Path) -> None:
    more = {**PLAIN, "choices": [" a ", "b"], "context": "Read this. ", "group": "g", "answer": 0}
    assert read_items(written(tmp_path, PLAIN, "", more)) == [
        ChoiceItem("The sky is", ("blue", "green", "red"), 1),
        ChoiceItem("The sky is", ("a", "b"), 0, "Read this.", "g"),
    ]


@pytest.mark.parametrize("target", [1, "1", "[1]", "green"])
def test_logs_of_the_harness(tmp_path: Path, target: Any) -> None:
    pairs = [["The sky is", " blue"], ["The sky is", " green"], ["The sky is", " red"]]
    named = {f"gen_args_{i}": {"arg_0": c, "arg_1": t} for i, (c, t) in enumerate(pairs)}
    alone = [*pairs, *([" ", text] for _, text in pairs)]  # mutual information asks for the options alone too
    for arguments in (pairs, named, alone):
        file = written(tmp_path, {"doc_id": 0, "doc": {}, "arguments": arguments, "target": target})
        assert read_items(file) == [ChoiceItem("The sky is", ("blue", "green", "red"), 1)]


def test_samples_of_openai_evals(tmp_path: Path) -> None:
    rules = {"role": "system", "content": "Say A, B or C."}
    text = "\nPassage: x\nA. is no option\nQuestion: y?\n{}\nAnswer:"
    twice = "A. A.blue\nB. B.green\nC. C.red"
    for options, ideal in [
        ("A. blue\nB. green\nC. red", "B"),
        ("(a) blue\n(b) green\n(c) red", ["(b)"]),
        (twice, "green"),
    ]:
        (item,) = read_items(written(tmp_path, evals(text.format(options), ideal, rules)))
        assert item == ChoiceItem("Passage: x\nA. is no option\nQuestion: y?", ("blue", "green", "red"), 1)
    (item,) = read_items(written(tmp_path, evals("Who?\nA. A. Milne\nB. Poe", "A", {"role": "user", "content": "Hi"})))
    assert item == ChoiceItem("Who?", ("A. Milne", "Poe"), 0, "Hi")  # a name is not a second letter


def test_tasks_of_bigbench(tmp_path: Path) -> None:
    examples = [
        {"input": "The sky is", "target_scores": {"blue": 0, "green": 1}},
        {"input": "x", "target_scores": {"a": 1.0, "b": 0}},
    ]
    for indent in (None, 2):
        file = tmp_path / "task.json"
        file.write_text(json.dumps({"name": "sky", "examples": examples}, indent=indent))
        assert read_items(file) == [ChoiceItem("The sky is", ("blue", "green"), 1), ChoiceItem("x", ("a", "b"), 0)]
    file.write_text(json.dumps({"examples": [examples[0], {"input": "x", "target_scores": {"a": 1, "b": 1}}]}))
    with pytest.raises(UsageError, match=r"task.json, examples\[1\]: 2 options share"):
        read_items(file)


def test_repeated_options_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repeated = {**PLAIN, "choices": ["blue", "blue ", "green"], "answer": 2}
    alike = {**PLAIN, "choices": ["blue", "blue"]}
    assert read_items(written(tmp_path, PLAIN, repeated, alike))[1:] == [ChoiceItem("The sky is", ("blue", "green"), 1)]
    told = capsys.readouterr().err
    assert "options stand twice in 1 items, first in line 2" in told
    assert "all options are the same in 1 items, first in line 3; left out" in told


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({**PLAIN, "choices": ["blue"], "answer": 0}, "choices has length 1; give at least two options"),
        ({**PLAIN, "choices": ["blue", " "]}, r"choices\[1\] is empty"),
        ({**PLAIN, "choices": "blue"}, "choices is 'blue'; expected a list of texts"),
        ({**PLAIN, "answer": 3}, "answer is 3; expected an index from 0 to 2"),
        ({**PLAIN, "answer": True}, "answer is 'True'; expected a whole number"),
        ({**PLAIN, "answer": None}, "answer is 'None'"),
        ({**PLAIN, "question": " "}, "question is empty"),
        ({**PLAIN, "question": 5}, "question is '5'; expected text"),
        ({"choices": ["a", "b"], "answer": 0}, "question is missing"),
        ({"text": "x"}, "an object of 'text' is no item"),
        ("[1, 2]", "is no JSON object"),
        ("{broken", "is no JSON object"),
        (evals("No options", "A"), "no line of the message begins with"),
        (evals("x\nA. a\nB. b", "C"), "the answer 'C' is none of the 2 options"),
        ({"input": [], "ideal": "A"}, "input holds no message"),
        ({"arguments": [["x", " a"], ["y", " b"]], "target": 0}, "the options have different contexts"),
        ({"arguments": [["x"]], "target": 0}, "arguments hold no pairs"),
        ({"arguments": [["x", " a"], ["x", " b"]], "target": 2}, "the answer '2' is none of the 2 options"),
        ({"input": "x", "target_scores": {"a": "1", "b": 0}}, "expected a number for each option"),
    ],
)
def test_what_is_no_item_is_refused_by_its_line(tmp_path: Path, record: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=rf"items.jsonl, line 3: .*{sentence}") as told:
        read_items(written(tmp_path, PLAIN, PLAIN, record, PLAIN))
    assert "\n" not in str(told.value)


def test_files_without_items(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no items"):
        read_items(written(tmp_path))
    with pytest.raises(UsageError, match="cannot be read"):
        read_items(tmp_path / "missing.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        read_items(tmp_path)
