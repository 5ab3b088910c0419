"""Exact entropies of arithmetic in every direction, and its multiple-choice items."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.ordering.arithmetic import (
    Arithmetic,
    arithmetic_items,
    mean_pairs,
    operand_entropy,
    position_entropies,
)

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "fixtures/factorization_order/arithmetic_entropies.json").read_text()
)
TABLES = [(layout, direction) for layout in ("forward", "reverse") for direction in ("l2r", "r2l")]


def task_of(case: dict[str, Any]) -> Arithmetic:
    return Arithmetic(case["digits"], case["op"], case["lowest"])


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['digits']}{c['op']}{c['lowest']}")
def test_the_operands_given_the_result(case: dict[str, Any]) -> None:
    task = task_of(case)
    assert task.pairs == case["pairs"]
    assert operand_entropy(task) == pytest.approx(case["H_ops_given_result"], abs=1e-9)
    if task.digits < 4:
        assert mean_pairs(task) == pytest.approx(case["log_mean_pairs_per_distinct_result"], abs=1e-9)


def test_four_digits_are_not_what_the_paper_says() -> None:
    case = CASES[-1]
    assert case["digits"] == 4
    assert round(case["H_ops_given_result"], 4) == 1.8742
    assert round(case["log_mean_pairs_per_distinct_result"], 2) == 1.49


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["digits"] < 4], ids=lambda c: f"{c['digits']}{c['op']}{c['lowest']}"
)
def test_positions(case: dict[str, Any]) -> None:
    task = task_of(case)
    for layout, direction in TABLES if task.digits < 3 else TABLES[1:3]:
        found = position_entropies(task, layout, direction)
        np.testing.assert_allclose(found, case[f"{direction}_{layout}_layout"], atol=1e-9)
        assert found.sum() == pytest.approx(case["H_joint"], abs=1e-9)
        assert found.sum() == pytest.approx(math.log(task.pairs), abs=1e-9)
    backward = position_entropies(task, "forward", "r2l")
    assert backward[task.result_digits :].sum() == pytest.approx(case["H_ops_given_result"], abs=1e-9)
    assert backward[-task.digits :].sum() == pytest.approx(case["H_first_given_second_and_result"], abs=1e-9)


def test_too_large_a_study_is_refused_before_work() -> None:
    with pytest.raises(UsageError, match="would need about"):
        operand_entropy(Arithmetic(6))
    with pytest.raises(UsageError, match="digits is 5: strings of 20 digits; at most 18"):
        position_entropies(Arithmetic(5), "forward", "l2r")
    with pytest.raises(UsageError, match="lowest is 100"):
        Arithmetic(2, lowest=100)
    with pytest.raises(UsageError, match="layout is 'upward'"):
        position_entropies(Arithmetic(1), "upward", "l2r")


def test_the_published_example() -> None:
    task = Arithmetic(4)
    assert task.text(1928, 82) == ("1 9 2 8 * 0 0 8 2 =", "0 0 1 5 8 0 9 6")
    assert task.text(1928, 82, "reverse") == ("0 0 1 5 8 0 9 6 =", "1 9 2 8 * 0 0 8 2")
    assert Arithmetic(2, "+").text(99, 1) == ("9 9 + 0 1 =", "1 0 0")


@pytest.mark.parametrize("layout", ["forward", "reverse"])
def test_wrong_options_differ_in_one_digit(layout: str) -> None:
    task = Arithmetic(2)
    pairs = np.random.default_rng(0).integers(1, 100, (200, 2))
    items = arithmetic_items(task, pairs, layout=layout)
    for (m, n), item in zip(pairs, items, strict=True):
        question, answer = task.text(int(m), int(n), layout)
        assert (item.question, item.right) == (question, answer)
        assert len(set(item.choices)) == 4
        differing = [sum(a != b for a, b in zip(answer, text, strict=True)) for text in item.choices]
        assert sorted(differing) == [0, 1, 1, 1]
    assert {item.answer for item in items} == {0, 1, 2, 3}
    # Each draw is of its own pair: other items beside it change nothing, another seed does.
    assert arithmetic_items(task, pairs[50:60], layout=layout) == items[50:60]
    assert arithmetic_items(task, pairs, layout=layout, seed=1) != items


def test_clean_options_do_not_answer_the_question() -> None:
    task = Arithmetic(2)
    pairs = np.stack([np.arange(1, 60), np.zeros(59, np.int64)], 1)  # of m * 0, any other m has the same product

    def right(text: str) -> bool:
        first, second = text.replace(" ", "").split("*")
        return int(first) * int(second) == 0

    def consistent(distractors: str) -> list[int]:
        items = arithmetic_items(task, pairs, layout="reverse", distractors=distractors)
        return [sum(map(right, item.choices)) for item in items]

    assert consistent("clean") == [1] * 59
    assert max(consistent("any")) > 1
    with pytest.raises(UsageError, match="0 wrong options"):
        arithmetic_items(task, np.zeros((1, 2), np.int64), layout="reverse")
    with pytest.raises(UsageError, match="expected 0 to 99"):
        arithmetic_items(task, np.array([[1, 100]]))
