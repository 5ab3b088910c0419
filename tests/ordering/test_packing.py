"""Packing of documents in every order."""

import json
from pathlib import Path

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.ordering.models.packing import pack, reversed_spans

CASE = json.loads((Path(__file__).parent.parent / "fixtures/factorization_order/conventions.json").read_text())[
    "packing"
]


def flat(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([t for d in documents for t in d], np.int64), np.array([len(d) for d in documents])


@pytest.mark.parametrize(
    ("order", "name"), [("l2r", "l2r"), ("r2l_document", "r2l_per_document"), ("r2l_block", "r2l_per_block")]
)
def test_packing_in_every_order(order: str, name: str) -> None:
    tokens, lengths = flat(CASE["docs"])
    found = pack(tokens, lengths, order=order, block=CASE["block"], bos=CASE["bos"], eos=CASE["eos"])
    assert found.tolist() == CASE[name]


def test_reversing_twice_is_the_identity() -> None:
    draws = np.random.default_rng(0)
    lengths = draws.integers(0, 9, 50)  # empty documents too
    tokens, ends = draws.integers(3, 99, lengths.sum()), np.cumsum(lengths)
    once = reversed_spans(tokens, ends)
    assert once.tolist() == [t for d in np.split(tokens, ends[:-1]) for t in d[::-1]]
    assert (reversed_spans(once, ends) == tokens).all()
    # A model that reads left to right sees in reversed documents what one that reads right to left sees.
    assert (pack(once, lengths, order="l2r", block=16) == pack(tokens, lengths, order="r2l_document", block=16)).all()


def test_bad_input() -> None:
    tokens, lengths = flat(CASE["docs"])
    with pytest.raises(UsageError, match="add up to"):
        pack(tokens[1:], lengths)
    with pytest.raises(UsageError, match="block is 1"):
        pack(tokens, lengths, block=1)
    with pytest.raises(UsageError, match="order is 'r2l'"):
        pack(tokens, lengths, order="r2l")
    assert pack(tokens, lengths, block=999).shape == (0, 999)
