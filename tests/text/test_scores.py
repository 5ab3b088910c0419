"""Texts cut into rows, scored, and put together."""

import math

import pytest
import torch

from tenfold.data.text.texts import NamedText
from tenfold.errors import UsageError
from tenfold.text.scores import Rows, score_texts


def scored(texts, given=0, seen=None):
    """Each token costs its own number of nats, those of a row that are given nothing."""

    def likelihood(rows):
        if seen is not None:
            seen.extend(rows.tolist())
        return Rows(rows[:, given:].sum(1), torch.full((len(rows),), 3.0))

    named = [NamedText(text, text) for text in texts]
    return score_texts(
        named, lambda t: [int(c) for c in t], lambda t: [2] * len(t), likelihood, 4, "byte", "m", "", given
    )


def test_a_text_is_the_sum_of_its_rows():
    found = scored(["12", "1234567"])
    assert found.names == ("1234567", "12")
    log_p, error, bits, size = found.values[0]
    assert log_p == -28
    assert error == pytest.approx(math.sqrt(18))  # two rows
    assert bits == pytest.approx(28 / math.log(2) / 14)
    assert size == 14
    assert found.values[1][:2] == (-3, 3)


def test_rows_overlap_by_what_is_given_so_that_every_other_token_is_scored_once():
    seen = []
    found = scored(["1234567"], given=1, seen=seen)
    assert sorted(seen) == [[1, 2, 3, 4], [4, 5, 6, 7]]
    assert found.values[0][0] == -27
    assert found.values[0][3] == 12


def test_a_text_without_a_token_to_score():
    with pytest.raises(UsageError, match="'5' has 1 tokens, too few"):
        scored(["5"], given=1)
