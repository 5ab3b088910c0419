"""Re-ranking: plain rules are its corners, weights come from the items that fit alone, and two models may share it."""

from dataclasses import replace

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.reranking import RerankWeights, bidirectional, rerank
from tenfold.ordering.choices.scoring import Backward, ChoiceScores, Forward, score_choices
from tenfold.ordering.options import ChoiceScoring
from tests.ordering.exact import FOLDER, STRINGS, ExactModel

PLAIN = ChoiceScoring(reverse="{answer} {question}")


@pytest.fixture(scope="module")
def scores() -> ChoiceScores:
    joint = np.asarray(np.load(FOLDER / "tiny_joint.npz")["joint"])
    items = [ChoiceItem(q, tuple(STRINGS), i) for i, q in enumerate(STRINGS)]
    return score_choices(ExactModel(joint, "r2l"), items, PLAIN)


def test_plain_rules_are_corners(scores: ChoiceScores) -> None:
    given = (
        np.stack([one.total for one in scores.forward]),
        np.stack([one.question for one in scores.backward]),
        np.stack([one.answer for one in scores.backward]),
        np.stack([one.tokens for one in scores.forward]),
        np.stack([one.question_tokens for one in scores.backward]),
    )
    table = scores.by_rule()
    for weights, name in (
        (RerankWeights(), "sum"),
        (RerankWeights(answer_power=1), "token"),
        (RerankWeights(backward=1), "paradigm-3"),
        (RerankWeights(backward=1, prior=1), "paradigm-2"),
    ):
        np.testing.assert_allclose(bidirectional(*given, weights), table[name], atol=1e-12)


def made(count: int, good: str) -> ChoiceScores:
    """Scores of which one direction knows the answer and the other does not."""
    draws = np.random.default_rng(0)
    items, forward, backward = [], [], []
    for i in range(count):
        answer, size = int(draws.integers(2)), 2 + i % 2
        known, noise = -5.0 * (np.arange(size) != answer), draws.normal(size=size) - 9
        one, ahead = np.ones(size, np.int64), known if good == "forward" else noise
        items.append(ChoiceItem(f"question {i}", ("a", "b", "c")[:size], answer))
        forward.append(Forward(ahead, ahead * np.nan, ahead * np.nan, one, one > 0))
        backward.append(Backward(noise if good == "forward" else known, noise[::-1].copy(), 3 * one, one))
    return ChoiceScores(items, good, "l2r", ChoiceScoring(rules=("sum", "paradigm-3")), forward, backward)


@pytest.mark.parametrize("good", ["forward", "backward"])
def test_the_direction_that_knows_is_found(good: str) -> None:
    found = rerank(made(40, good), share=0.25)
    assert (found.fitted_items, found.tested_items) == (10, 30)
    assert found.fitted.value == 1.0
    assert found.tested.value == 1.0 == found.measurement().value
    bad = "paradigm-3" if good == "forward" else "sum"
    assert found.differences[bad].beyond_noise
    assert found.differences["sum" if good == "forward" else "paradigm-3"].value == 0.0


def test_weights_do_not_see_what_they_are_tried_on() -> None:
    """Other answers of the items that were left out change their accuracy, and no weight."""
    scores = made(8, "forward")
    found = rerank(scores)
    alone = [rerank(_turned(scores, i)) for i in range(8)]
    tried = [i for i, one in enumerate(alone) if one.fitted == found.fitted and one.weights == found.weights]
    assert len(tried) == found.tested_items == 4
    worse = rerank(_turned(scores, *tried))
    assert worse.weights == found.weights
    assert worse.fitted == found.fitted
    assert worse.tested.value == 0.0


def _turned(scores: ChoiceScores, *which: int) -> ChoiceScores:
    items = [replace(item, answer=1 - item.answer) if i in which else item for i, item in enumerate(scores.items)]
    return replace(scores, items=items)


def test_two_models(scores: ChoiceScores) -> None:
    """The backward part of another model, and its rules, stand in for the first one's."""
    forward, backward = made(30, "forward"), made(30, "backward")
    found = rerank(replace(forward, backward=[]), replace(backward, forward=[]))
    assert found.tested.value == 1.0
    assert set(found.differences) == {"sum", "paradigm-3"}
    with pytest.raises(UsageError, match="other items"):
        rerank(forward, scores)
    with pytest.raises(UsageError, match="both directions"):
        rerank(replace(forward, backward=[]))
    with pytest.raises(UsageError, match="leaves none"):
        rerank(forward, share=0.001)
    with pytest.raises(UsageError, match="backward is"):
        RerankWeights(backward=1.5)
