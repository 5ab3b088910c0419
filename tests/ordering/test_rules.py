"""Every rule picks what it should; accuracy, its intervals, and calibration."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.ordering.choices import comparison, rules
from tenfold.ordering.models.packing import request, request_of_first

FOLDER = Path(__file__).parent.parent / "fixtures/factorization_order"
CONVENTIONS: dict[str, Any] = json.loads((FOLDER / "conventions.json").read_text())
ITEMS: list[dict[str, Any]] = CONVENTIONS["items"]


@pytest.fixture(scope="module")
def joint() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "tiny_joint.npz"))


@pytest.fixture(scope="module")
def scores() -> dict[str, np.ndarray]:
    choices = [item["choices"] for item in ITEMS]
    return rules.rule_scores(
        rules.ragged([item["loglik"] for item in ITEMS]),
        rules.lengths([item["n_tokens"] for item in ITEMS]),
        rules.text_lengths(choices, "characters"),
        rules.text_lengths(choices, "bytes"),
        rules.ragged([item["uncond_loglik"] for item in ITEMS]),
    )


GOLD = np.array([item["gold"] for item in ITEMS])
NAMES = {
    "sum": ("pick_acc", "acc"),
    "character": ("pick_acc_norm_chars", "acc_norm"),
    "byte": ("pick_acc_bytes", "acc_bytes"),
    "token": ("pick_tokens", "acc_tokens"),
    "pmi": ("pick_mutual_info", "acc_mutual_info"),
}


@pytest.mark.parametrize("rule", NAMES)
def test_picks_of_ragged_items(scores: dict[str, np.ndarray], rule: str) -> None:
    key, accuracy = NAMES[rule]
    assert rules.pick(scores[rule]).tolist() == [item[key] for item in ITEMS]
    assert rules.correct(scores[rule], GOLD).mean() == pytest.approx(CONVENTIONS["aggregate"][accuracy], abs=1e-12)


def test_brier_scores(scores: dict[str, np.ndarray]) -> None:
    p = rules.probabilities(scores["sum"])
    assert p.sum(1) == pytest.approx(np.ones(len(ITEMS)))
    assert comparison.brier(p, GOLD) == pytest.approx([item["brier"] for item in ITEMS], abs=1e-9)
    expected = [item["choice_prob_gold"] for item in ITEMS]
    assert p[np.arange(len(ITEMS)), GOLD] == pytest.approx(expected, abs=1e-9)


def test_the_paradigms(joint: dict[str, np.ndarray]) -> None:
    """From the terms of each factorisation of a joint: question = the first two symbols, answer = the last two."""
    forward, backward = (joint[f"{order}.token_logp"].reshape(9, 9, 4) for order in ("l2r", "r2l"))
    total, question, answer = forward[..., 2:].sum(-1), backward[..., :2].sum(-1), backward[..., 2:].sum(-1)
    two = np.full((9, 9), 2)
    found = {
        "l2r_sum": total,
        "l2r_norm": rules.normalised(total, two),
        "r2l_p1_Mq": rules.paradigm_1(question, answer, two),
        "r2l_p1_Mqa": rules.paradigm_1(question, answer, 2 * two),
        "r2l_p2": rules.paradigm_2(question, answer),
        "r2l_p3": rules.paradigm_3(question),
        "pmi": rules.mutual_information(total, answer),
    }
    for name, value in found.items():
        np.testing.assert_allclose(value, joint[f"score.{name}"], atol=1e-9, err_msg=name)
        if f"pick.{name}" in joint:
            assert rules.pick(value).tolist() == joint[f"pick.{name}"].tolist()
    # Of one joint, paradigm 2 ranks as the forward sum, and PMI as paradigm 3.
    assert (np.argsort(found["r2l_p2"]) == np.argsort(total)).all()
    assert (np.argsort(found["pmi"]) == np.argsort(question)).all()


def test_long_questions_leave_paradigm_1_to_the_prior() -> None:
    draws = np.random.default_rng(0)
    answer, each = draws.uniform(-9, -1, (300, 4)), draws.uniform(-4, -2, (300, 4, 400))

    def agreement(length: int) -> float:
        total, count = each[..., :length].sum(-1), np.full((300, 4), length)
        by_prior = rules.pick(answer)
        return float((rules.pick(rules.paradigm_1(total, answer, count)) == by_prior).mean())

    assert agreement(400) > 0.97
    assert float((rules.pick(rules.paradigm_2(each.sum(-1), answer)) == rules.pick(answer)).mean()) < 0.6


def test_a_normaliser_acts() -> None:
    total = rules.ragged([[-1.0, -2.0]])
    assert rules.pick(total).tolist() == [0]
    assert rules.pick(rules.normalised(total, np.array([[2, 8]]))).tolist() == [1]


def test_equals_go_to_the_first_and_missing_options_to_none() -> None:
    table = rules.ragged([[-1, -1], [-3, -2, -2]])
    assert rules.pick(table).tolist() == [0, 1]
    assert rules.option_entropy(table)[0] == pytest.approx(math.log(2))
    alone = rules.ragged([[-5, -5], [-1, -9, -2]])
    assert rules.mutual_information(table, alone)[0].tolist() == [4, 4, -np.inf]
    assert rules.paradigm_1(table, alone, np.ones((2, 3), int))[0, 2] == -np.inf


@pytest.mark.parametrize("bad", [[[-1.0, math.nan]], [[-1.0, -math.inf]], [[-1.0]], []])
def test_what_is_no_score_is_refused(bad: list[list[float]]) -> None:
    with pytest.raises(UsageError, match=r"^scores"):
        rules.ragged(bad)


def test_other_bad_input() -> None:
    with pytest.raises(UsageError, match="NaN"):
        rules.pick(np.array([[0.0, np.nan]]))
    with pytest.raises(UsageError, match="holds 0"):
        rules.lengths([[1, 0]])
    with pytest.raises(UsageError, match="unit is 'words'"):
        rules.text_lengths([["a", "b"]], "words")
    with pytest.raises(UsageError, match="resamples is 10"):
        comparison.bootstrap(np.ones(5), resamples=10)
    with pytest.raises(UsageError, match="finite"):
        comparison.bootstrap(np.array([1.0, np.nan]))


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    draws = np.random.default_rng(1)
    held = 0
    for i in range(200):
        found = comparison.bootstrap((draws.random(200) < 0.3).astype(float), seed=i, resamples=400)
        assert found.low <= found.value <= found.high
        held += found.low <= 0.3 <= found.high
    assert 175 <= held <= 199  # 95 % of 200 is 190, four standard errors are 12


def test_a_difference_is_told_from_noise() -> None:
    draws = np.random.default_rng(2)
    first = draws.random(500) < 0.5
    same = comparison.compare(first, first)
    assert same == comparison.Difference(0.0, 0.0, 0.0, 0, 0, 1.0)
    assert not same.beyond_noise
    better = first | (draws.random(500) < 0.2)
    found = comparison.compare(better, first)
    assert found.beyond_noise
    assert found.only_second == 0
    assert found.p_value == pytest.approx(2 * 0.5**found.only_first)
    assert comparison.compare(first, better).value == -found.value
    noise = comparison.compare(first, draws.permutation(first))  # paired by chance
    assert not noise.beyond_noise
    assert noise.p_value > 0.05


def test_reliability() -> None:
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6], [0.5, 0.5]])
    table = comparison.reliability(p, np.array([0, 1, 0, 1, 0]))
    assert table.counts.tolist() == [0, 0, 0, 0, 1, 2, 0, 0, 0, 2]
    assert table.accuracy[[4, 5, 9]].tolist() == [1.0, 1.0, 0.5]
    assert table.error == pytest.approx((1 * 0.5 + 2 * 0.4 + 2 * 0.45) / 5)
    draws = np.random.default_rng(3)
    p = draws.dirichlet(np.ones(3), 20_000)
    answer = (draws.random((20_000, 1)) > p.cumsum(1)).sum(1)
    assert comparison.reliability(p, answer).error < 0.02  # answers are drawn from the probabilities


def test_requests_in_both_orders() -> None:
    for case in CONVENTIONS["requests"]:
        question, answer = case["question_ids"], case["answer_ids"]
        for name, found in {
            "l2r": request(question, answer, bos=1),
            "r2l": request(question, answer, bos=1, right_to_left=True),
            "r2l_last_operand_only": request_of_first(question, answer, 1, bos=1),
        }.items():
            assert found == (case[name]["context"], case[name]["target"]), name
    with pytest.raises(UsageError, match="first is 3"):
        request_of_first([1, 2], [3], 3, bos=1)
    with pytest.raises(UsageError, match="no tokens"):
        request([], [3], bos=1)
