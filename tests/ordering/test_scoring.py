"""The scorer: every rule from one pass, in both orders, as the exact joint has it."""

from typing import Any

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.ordering.choices import rules
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.layout import NATURAL, REVERSE, Templates, TextParts, parts_of, pieces
from tenfold.ordering.choices.pruning import pruned_pick
from tenfold.ordering.choices.scoring import Losses, backward_scores, forward_scores, readings, score_choices
from tenfold.ordering.models.packing import request
from tenfold.ordering.options import FORWARD, RULES, ChoiceScoring
from tenfold.text.causal import CausalReader
from tests.ordering.exact import FOLDER, STRINGS, ExactModel
from tests.text.test_causal import tiny

ITEMS = [ChoiceItem(q, tuple(STRINGS), 0) for q in STRINGS]
PLAIN = ChoiceScoring(reverse="{answer} {question}")


@pytest.fixture(scope="module")
def fixture() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "tiny_joint.npz"))


def test_forward_rules_are_those_of_the_fixture(fixture: dict[str, np.ndarray]) -> None:
    model = ExactModel(fixture["joint"])
    found = score_choices(model, ITEMS, ChoiceScoring(rules=FORWARD)).by_rule()
    np.testing.assert_allclose(found["sum"], fixture["score.l2r_sum"], atol=1e-9)
    np.testing.assert_allclose(found["token"], fixture["score.l2r_norm"], atol=1e-9)
    # Alone means at the beginning of a text, as evaluation harnesses have it: p(x_0, x_1).
    alone = np.log(fixture["joint"].sum((2, 3)).ravel())
    np.testing.assert_allclose(found["pmi"], fixture["score.l2r_sum"] - alone, atol=1e-9)
    assert (found["stop"] == found["sum"]).all()
    # One call for each question with all options, one for the options alone, which all items share.
    assert sorted(model.calls) == sorted([*(([3, *model.encode(q)], 9) for q in STRINGS), ([3], 9)])


@pytest.mark.parametrize(("norm", "name"), [("pair", "Mqa"), ("question", "Mq")])
def test_paradigms_are_those_of_the_fixture(fixture: dict[str, np.ndarray], norm: str, name: str) -> None:
    model = ExactModel(fixture["joint"], "r2l")
    scoring = ChoiceScoring(rules=("paradigm-1", "paradigm-2", "paradigm-3"), norm=norm)
    scores = score_choices(model, ITEMS, scoring)
    found = scores.by_rule()
    np.testing.assert_allclose(found["paradigm-1"], fixture[f"score.r2l_p1_{name}"], atol=1e-9)
    np.testing.assert_allclose(found["paradigm-2"], fixture["score.r2l_p2"], atol=1e-9)
    np.testing.assert_allclose(found["paradigm-3"], fixture["score.r2l_p3"], atol=1e-9)
    for rule, key in (("paradigm-1", f"r2l_p1_{name}"), ("paradigm-2", "r2l_p2"), ("paradigm-3", "r2l_p3")):
        assert rules.pick(found[rule]).tolist() == fixture[f"pick.{key}"].tolist()
    # The joint, whichever way it is read: paradigm 2 ranks as the forward sum does, mutual information as paradigm 3.
    forward = score_choices(ExactModel(fixture["joint"]), ITEMS, ChoiceScoring(rules=("sum",))).by_rule()["sum"]
    assert (rules.pick(forward) == rules.pick(found["paradigm-2"])).all()
    prior = found["paradigm-2"] - found["paradigm-3"]
    np.testing.assert_allclose(rules.mutual_information(forward, prior), fixture["score.pmi"], atol=1e-9)
    assert (fixture["pick.pmi"] == rules.pick(found["paradigm-3"])).all()
    one = scores.backward[3]
    m = one.question_tokens + (one.tokens if norm == "pair" else 0)
    np.testing.assert_allclose(found["paradigm-1"][3], one.question / m + one.answer, atol=1e-12)


def test_a_model_of_reversed_texts_is_a_model_that_reads_backwards(fixture: dict[str, np.ndarray]) -> None:
    """Left to right over the reverse text is right to left over the natural one, if the texts' law is reversed too."""
    backward = score_choices(ExactModel(fixture["joint"], "r2l"), ITEMS, PLAIN).by_rule()
    mirror = ExactModel(fixture["joint"].transpose(3, 2, 1, 0))
    mirrored = [ChoiceItem(i.question[::-1], tuple(c[::-1] for c in i.choices), 0) for i in ITEMS]
    other = score_choices(mirror, mirrored, PLAIN).by_rule()
    for rule in RULES:
        np.testing.assert_allclose(backward[rule], other[rule], atol=1e-12, err_msg=rule)


def test_requests_are_those_of_packing(fixture: dict[str, np.ndarray]) -> None:
    item = ChoiceItem("ab", ("ca", "c"), 0)
    for order in ("l2r", "r2l"):
        model = ExactModel(fixture["joint"], order)
        found = readings(model, item, NATURAL, answer_last=True)
        for reading, answer in zip(found, ([2, 0], [2]), strict=True):
            wanted = request([0, 1], answer, bos=3, right_to_left=order == "r2l")
            assert ([3, *reading.given], reading.scored) == wanted


def test_the_stop_token_flips_a_pick() -> None:
    """A short option is likelier as the beginning of others than as a whole."""

    class Ending(ExactModel):
        def _row(self, seen: list[int], row: Any) -> Any:
            scores = super()._row(seen, row)
            whole = len(seen) + len(row) - 1 == 4
            scores.log_p[-1] = np.log(0.9 if whole else 0.01) if row[-1] == 4 else scores.log_p[-1]
            return scores

    joint = np.ones((3, 3, 3, 3)) / 81
    scoring = ChoiceScoring(rules=("sum", "stop"))
    found = score_choices(Ending(joint), [ChoiceItem("aa", ("b", "bb"), 1)], scoring).by_rule()
    assert rules.pick(found["sum"]).tolist() == [0]
    assert rules.pick(found["stop"]).tolist() == [1]


def test_long_questions_lose_their_oldest_tokens(
    fixture: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    joint = fixture["joint"]
    item = ChoiceItem("bbbab", ("ca", "cb"), 0)
    short = ChoiceItem("ab", ("ca", "cb"), 0)
    for order, rule in (("l2r", "sum"), ("r2l", "paradigm-3"), ("l2r", "paradigm-3")):
        scoring = ChoiceScoring(rules=(rule,), reverse="{answer} {question}")
        longer = score_choices(ExactModel(joint, order, 5), [item], scoring).by_rule()
        kept = score_choices(ExactModel(joint, order), [short], scoring).by_rule()
        np.testing.assert_allclose(longer[rule], kept[rule], atol=1e-12)
        assert "1 questions are longer than the model reads; their beginning is left out" in capsys.readouterr().err
    with pytest.raises(UsageError, match="an option of 5 tokens leaves no room in the 5 of exact"):
        score_choices(ExactModel(joint, longest=5), [ChoiceItem("a", ("bbbbb", "b"), 0)], ChoiceScoring(rules=("sum",)))
    with pytest.raises(UsageError, match="the longest option leaves no room"):
        score_choices(
            ExactModel(joint, "r2l", 5), [ChoiceItem("a", ("bbbb", "b"), 0)], ChoiceScoring(rules=("paradigm-3",))
        )


def test_templates() -> None:
    item = ChoiceItem("q?", ("yes", "no"), 0, context="Read.")

    def parts(template: str, answer_last: bool, scored_last: bool) -> TextParts:
        return parts_of(item, "yes", template, answer_last=answer_last, scored_last=scored_last)

    natural = "Q: {question}\nA: {answer}."
    assert parts(natural, True, True)[:2] == ("Q: Read.\nq?\nA:", " yes.")
    assert parts(natural, True, False)[:2] == ("Q: Read.\nq?", "\nA: yes.")
    assert parts(REVERSE, False, True)[:2] == ('"yes" is the answer of question:', " Read.\nq?")
    assert parts(REVERSE, False, False)[:2] == ('"yes', '" is the answer of question: Read.\nq?')
    assert pieces("{{a}} {question}{answer}", "natural", ["question", "answer"]) == ("{a} ", "", "")
    for wrong in (
        "{answer} {question}",
        "{question}",
        "{question} {answer} {answer}",
        "{question} {answer",
        "{} {answer}",
    ):
        with pytest.raises(UsageError, match="the natural template is"):
            Templates(natural=wrong)
    with pytest.raises(UsageError, match=r"expected a text with \{answer\} before \{question\}, each once"):
        ChoiceScoring(reverse=NATURAL)


@pytest.fixture(scope="module")
def reader() -> CausalReader:
    return tiny(longest=200)


BYTES = [
    ChoiceItem("The sky is", ("blue", "green indeed", "red"), 0),
    ChoiceItem("Two and two", ("four", "é"), 1, context="Count."),
]


def test_items_read_together_are_those_read_alone(reader: CausalReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever waits for company, equal texts once: the same sums, counts and greedy tokens."""
    items = [*BYTES, BYTES[0], ChoiceItem("Again", ("blue", "red"), 0)]
    before = reader.computed
    together = score_choices(reader, items)
    some, before = reader.computed - before, reader.computed
    monkeypatch.setattr("tenfold.ordering.choices.scoring._AT_ONCE", 1)
    apart = score_choices(reader, items)
    assert some < reader.computed - before
    scoring, losses = ChoiceScoring(), Losses()
    for i, item in enumerate(items):
        single = forward_scores(reader, item, scoring.natural, losses)
        other = backward_scores(reader, item, scoring.reverse, losses)
        for found in (together, apart):
            for mine, theirs in ((found.forward[i], single), (found.backward[i], other)):
                for name, values in mine._asdict().items():
                    np.testing.assert_allclose(values, getattr(theirs, name), atol=1e-9, err_msg=name)


def test_ragged_items_of_a_network(reader: CausalReader) -> None:
    scores = score_choices(reader, BYTES)
    found = scores.by_rule()
    assert tuple(found) == RULES
    assert all(np.isneginf(table[1, 2]) for table in found.values())
    for i, item in enumerate(BYTES):  # alone as beside others
        alone = score_choices(reader, [item]).by_rule()
        for rule in RULES:
            np.testing.assert_allclose(alone[rule][0], found[rule][i, : len(item.choices)], atol=1e-9)
    total = scores.forward[1].total
    np.testing.assert_allclose(found["character"][1, :2], total / [4, 1])
    np.testing.assert_allclose(found["byte"][1, :2], total / [4, 2])
    np.testing.assert_allclose(found["token"][1, :2], total / [5, 3])
    log = list(scores.log())
    assert [(r["item"], r["option"]) for r in log] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert sum("sum" in record["picked_by"] for record in log) == 2
    assert log[0]["forward"]["total"] == scores.forward[0].total[0]
    assert log[4]["scores"]["paradigm-3"] == found["paradigm-3"][1, 1]


@pytest.mark.parametrize("order", ["l2r", "r2l"])
@pytest.mark.parametrize("rule", ["paradigm-1", "paradigm-2", "paradigm-3"])
def test_pruning_changes_no_pick(order: str, rule: str) -> None:
    model = tiny(3, longest=200, order=order)
    items = [
        ChoiceItem(f"Where is {w} now", ("a", "bcd", "in there", "x" * n), 0) for n, w in enumerate(STRINGS[:4], 2)
    ]
    whole = score_choices(model, items, ChoiceScoring(rules=(rule,))).by_rule()[rule]
    read = of = 0
    for item, scores in zip(items, whole, strict=True):
        found = pruned_pick(model, item, rule=rule, step=1)
        assert found.pick == scores.argmax()
        assert found.score == pytest.approx(scores.max(), abs=1e-9)
        assert (found.bounds >= scores - 1e-9).all()
        read, of = read + found.read, of + found.of
    assert read < of


def test_bad_input(reader: CausalReader) -> None:
    with pytest.raises(UsageError, match="items are none"):
        score_choices(reader, [])
    with pytest.raises(UsageError, match="rules is 'best'"):
        ChoiceScoring(rules=("best",))
    for none_or_twice in ((), ("sum", "sum")):
        with pytest.raises(UsageError, match="give at least one of"):
            ChoiceScoring(rules=none_or_twice)
    with pytest.raises(UsageError, match="no stop token"):
        score_choices(tiny(stop=None), BYTES, ChoiceScoring(rules=("stop",)))
    assert "stop" not in score_choices(tiny(stop=None, longest=200), BYTES).by_rule()
    with pytest.raises(UsageError, match="step is 0"):
        pruned_pick(reader, BYTES[0], step=0)
    with pytest.raises(UsageError, match="rule is 'sum'"):
        pruned_pick(reader, BYTES[0], rule="sum")
    with pytest.raises(UsageError, match="longer than the 20 tokens"):
        pruned_pick(tiny(longest=20), BYTES[0])
