"""The models that count, against the definitions worked out by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tenfold.text.ngrams import BackOff, Unigram, best_order


def test_unigram_adds_one() -> None:
    model = Unigram(np.array([5, 5, 7]))
    assert model.cost(np.array([5, 7, 9])).tolist() == pytest.approx([-math.log2(k / 260) for k in (3, 2, 1)])
    assert (2.0**-model.bits).sum() == pytest.approx(1.0)


def test_back_off_by_hand() -> None:
    model = BackOff(np.array([1, 2, 1, 3, 1, 2]), order=2)
    base = Fraction(1, 257)
    unigram = {s: (c + 3 * base) / 9 for s, c in ((1, 3), (2, 2), (3, 1), (4, 0))}
    # After 1: 2 twice and 3 once, two successors.
    after_one = {2: (2 + 2 * unigram[2]) / 5, 3: (1 + 2 * unigram[3]) / 5, 4: (0 + 2 * unigram[4]) / 5}
    for symbol, p in after_one.items():
        assert model.cost(np.array([1, symbol]))[1] == pytest.approx(-math.log2(p))
    assert model.cost(np.array([1]))[0] == pytest.approx(-math.log2(unigram[1]))
    # 4 was never seen: what follows it is predicted without context.
    assert model.cost(np.array([4, 2]))[1] == pytest.approx(-math.log2(unigram[2]))


def test_back_off_is_a_distribution_and_learns() -> None:
    stream = np.frombuffer(b"the cat sat on the mat; the dog sat on the log. " * 20, np.uint8).astype(np.int64)
    model = best_order(stream, [stream[:200]])
    assert model.order > 2
    for context in (b"the ", b"zzz", b"a"):
        head = np.frombuffer(context, np.uint8).astype(np.int64)
        total = sum(2.0 ** -model.cost(np.append(head, symbol))[-1] for symbol in range(257))
        assert total == pytest.approx(1.0)
    row = np.frombuffer(b"the cat sat on the log.", np.uint8).astype(np.int64)
    assert model.cost(row).mean() < 0.5 * Unigram(stream).cost(row).mean()


def test_other_alphabets() -> None:
    stream = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    assert Unigram(stream, 3).bits.shape == (3,)
    model = BackOff(stream, 2, 3)
    assert sum(2.0 ** -model.cost(np.array([0, symbol]))[1] for symbol in range(3)) == pytest.approx(1.0)
    assert model.cost(np.array([0, 1]))[1] < 0.5
