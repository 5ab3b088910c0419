"""Functions with a hole in them: where it is cut, that every model fills it, and how it is shown."""

from pathlib import Path

import pytest

from tenfold.errors import UsageError
from tenfold.masked_lm.analysis.holes import (
    HoleScore,
    body_lines,
    cut_bodies,
    infill_exact_match,
    left_to_right_exact_match,
    side_by_side,
)
from tenfold.masked_lm.analysis.study import study
from tenfold.masked_lm.options import MaskedAnalysis
from tests.masked_lm.helpers import tiny

SOURCE = '''@cached
def area(a, b):
    """The area."""
    if a < 0:
        return 0

    return a * b
'''
SHORT = "def one():\n    a = 1\n    b = a\n    return b\n"


def encode(text: str) -> list[int]:
    return list(text.encode())


def decode(tokens) -> str:
    return bytes(t % 256 for t in tokens).decode(errors="replace")


def test_where_bodies_are_cut():
    assert [SOURCE[a:b] for a, b in body_lines(SOURCE)] == [
        "\n    if a < 0:",
        "\n        return 0",
        "\n    return a * b",
    ]
    (cut,) = cut_bodies([SHORT[:12], SOURCE, "x = 1\n"], encode, 1, 128)
    assert decode(cut.body.tokens) == decode(cut.line.tokens) == SOURCE
    assert decode(cut.body.answer) == "\n    if a < 0:\n        return 0\n\n    return a * b"
    assert decode(cut.line.answer) == "\n        return 0"


@pytest.mark.parametrize(
    "source", ["def f(x): return x\n", "x = 1\n", "def f(:\n", 'def f():\n    """Only this."""\n', SHORT + SHORT]
)
def test_texts_without_a_body_of_lines(source: str):
    assert body_lines(source) == []


def test_too_few_bodies_are_told():
    with pytest.raises(UsageError, match="bodies is 2, but 1 held-out functions"):
        cut_bodies([SOURCE, SHORT], encode, 2, len(SHORT))


def test_holes_in_windows_of_several_lengths():
    model = tiny(positions=128)
    holes = [part for cut in cut_bodies([SHORT, SOURCE, SHORT], encode, 3, 128) for part in (cut.line, cut.body)]
    for fill in (infill_exact_match, left_to_right_exact_match):
        together = fill(model, holes)
        assert together.holes == len(holes)
        assert together.answers == [fill(model, [hole]).answers[0] for hole in holes]
        assert [len(answer) for answer in together.answers] == [hole.last - hole.first for hole in holes]


def test_texts_side_by_side():
    (cut,) = cut_bodies([SHORT], encode, 1, 64)
    scores = {"a": HoleScore(1, 1, 5, 5, [list(cut.line.answer)]), "b": HoleScore(0, 1, 5, 5, [encode("\n    c = a ")])}
    (text,) = side_by_side([cut.line], scores, decode)
    assert text == (
        "def one():\n    a = 1\n[held out]\n    b = a\n[a (exact)]\n    b = a\n[b]\n    c = a\n[and on]\n    return b\n"
    )  # fmt: skip


def test_a_study_of_bodies(tmp_path: Path):
    model = tiny(positions=128)
    options = MaskedAnalysis(prompts=1, prompt_tokens=4, tokens=4, temperatures=(0.2,), maps=1, bodies=2)
    found = study(model, [encode(SHORT)], options, tmp_path, "masked", model, [SOURCE, SHORT])
    rows = {(row.name, row.model): row for row in found.rows}
    for kind in ("line", "body"):
        for name in ("masked", "left to right"):
            assert rows[f"{kind}_exact_match_accuracy", name].draws == 2
    assert (tmp_path / "infilled.txt").read_text().count("[left to right") == 4
    assert "infilled.txt" in found.captions
