"""Rewards of programs: each case on its own, nothing dropped."""

from collections.abc import Iterator

import pytest

from tenfold.errors import UsageError
from tenfold.rl import TestReward, WeightedReward, fenced_program, form_only, format_reward
from tenfold.sandbox import Limits, Sandbox
from tests.sandbox.machine import needs_jails


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=1.5), workers=2) as made:
        yield made


def fenced(program: str) -> str:
    return f"Here is the code:\n```python\n{program}\n```\n"


TASK = {"tests": ["assert f(1) == 2", "assert f(2) == 3", "assert f(0) == 1", "assert f(-5) == -4"]}


@needs_jails
def test_each_case_counts_for_itself(sandbox: Sandbox) -> None:
    texts = {
        fenced("def f(x): return x + 1"): 1.0,
        fenced("def f(x):\n    while x == 2: pass\n    return x + 1"): 0.75,  # a time-out costs one case
        fenced("def f(x): return 2"): 0.25,
        fenced("import os; os._exit(0)"): 0.0,
        fenced("def f(x: return"): 0.0,
        "def f(x): return x + 1": 0.0,  # no fence
        fenced(""): 0.0,
    }
    assert TestReward(sandbox)(list(texts), [TASK] * len(texts)) == list(texts.values())
    assert TestReward(sandbox, whole=True)(list(texts)[:3], [TASK] * 3) == [1.0, 0.0, 0.0]
    assert TestReward(sandbox, fenced=False)(["def f(x): return x + 1"], [TASK]) == [1.0]


@needs_jails
def test_weighted_sums(sandbox: Sandbox) -> None:
    reward = WeightedReward({"tests": (2.0, TestReward(sandbox)), "format": (0.5, form_only)})
    texts = [fenced("def f(x): return x + 1"), fenced("def f(x: return"), "nothing"]
    assert reward(texts, [TASK] * 3) == [2.5, 0.25, 0.0]  # the published 2.0, 0.5, 0.25, 0


@pytest.mark.parametrize(
    "found", [[1.0], [1.0, None], [1.0, float("nan")], [1.0, "2"], [1.0, float("inf")], [1.0, True]]
)
def test_a_missing_result_is_an_error(found: list) -> None:
    with pytest.raises(UsageError, match="the reward 'odd' gave"):
        WeightedReward({"odd": (1.0, lambda texts, tasks: found)})(["a", "b"], [{}, {}])


@needs_jails
@pytest.mark.parametrize("task", [{}, {"tests": []}, {"tests": "assert f(1)"}, {"tests": [1]}])
def test_a_task_without_tests_is_an_error(sandbox: Sandbox, task: dict) -> None:
    with pytest.raises(UsageError, match='a task has no "tests"'):
        TestReward(sandbox)([fenced("x = 1")], [task])


def test_bad_sums() -> None:
    with pytest.raises(UsageError, match="a weighted reward has no parts"):
        WeightedReward({})


def test_forms() -> None:
    assert fenced_program("no block") == ""
    assert [format_reward(t) for t in (fenced("x = 1"), fenced("x = 1") + "\n", fenced("x = 1").rstrip())] == [1, 0, 0]
    assert format_reward(fenced("x" + "(" * 100_000)) == 0.5
    assert format_reward(fenced("\0")) == 0.5
