"""Texts of many items read together: each different text once, those that begin alike in one call of the model."""

from collections.abc import Iterable
from typing import NamedTuple

from tenfold.text.language_model import LanguageModel, TokenScores


class ScoredText(NamedTuple):
    """What is read first, and what is scored after it, both in the model's order."""

    stem: tuple[int, ...]
    row: tuple[int, ...]


Read = dict[ScoredText, TokenScores]


def text_of(stem: Iterable[int], row: Iterable[int]) -> ScoredText:
    """A text of any two sequences of tokens."""
    return ScoredText(tuple(stem), tuple(row))


def read_texts(model: LanguageModel, texts: Iterable[ScoredText]) -> Read:
    """The scores of every text's row. Each stem is read once for all rows that follow it, equal texts once."""
    stems: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for text in texts:
        stems.setdefault(text.stem, {})[text.row] = None
    found: Read = {}
    for stem, rows in stems.items():
        scores = model.token_scores(list(stem), [list(row) for row in rows])
        found |= {ScoredText(stem, row): one for row, one in zip(rows, scores, strict=True)}
    return found
