"""What scores texts token by token: a small protocol that every language model of the house fits, whatever it is."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from tenfold.errors import UsageError

ReadingOrder = Literal["l2r", "r2l"]


class TokenScores(NamedTuple):
    """log p of each token of a row given all that was read before it, in nats, and whether it was the likeliest one."""

    log_p: Float64[np.ndarray, " tokens"]
    greedy: Bool[np.ndarray, " tokens"]


@runtime_checkable
class LanguageModel(Protocol):
    """A model that reads tokens in one order and says how likely each is, given those that it has read.

    Attributes:
        name: what it is called in reports.
        order: "l2r", or "r2l" for a model that reads the last token of a text first.
        begin: tokens that it reads before every text, BOS say; may be none.
        opening: the token that stands for "nothing was read yet" where ``begin`` is empty; None where there is none.
        stop: the token that it reads after a whole text; None where there is none.
        longest: most tokens of a text, ``begin`` included.
    """

    name: str
    order: ReadingOrder
    begin: tuple[int, ...]
    opening: int | None
    stop: int | None
    longest: int

    def encode(self, text: str) -> list[int]:
        """Tokens of a text in reading order of its language, whatever the model's own order; without begin and end."""

    def token_scores(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """The tokens of each row, given the ``stem`` and the row's own tokens before: all in the order in which the
        model reads. The stem is not empty, and is shared, so that it is read once."""


def beginning(model: LanguageModel) -> list[int]:
    """What a model has read when it has read nothing: ``begin``, or else the ``opening``.

    Raises UsageError for a model without either: it gives a first token no probability."""
    if model.begin:
        return list(model.begin)
    if model.opening is None:
        raise UsageError(
            f"{model.name} has neither a token of the begin nor of the end, so nothing can be scored without a text "
            "before it; give a model whose tokenizer has one"
        )
    return [model.opening]


class Split(NamedTuple):
    """The tokens of two parts of a text in its own order; ``joined`` says whether they are those of the whole text,
    else each part was read by itself."""

    first: list[int]
    second: list[int]
    joined: bool


def split_tokens(model: LanguageModel, first: str, second: str) -> Split:
    """Tokens of ``first + second``, divided where ``first`` ends. Where a token spans the join, so that the whole does
    not begin with the tokens of ``first`` or leaves nothing, the parts are encoded one by one.

    Raises UsageError for a part without tokens."""
    head, whole = model.encode(first), model.encode(first + second)
    joined = whole[: len(head)] == head and len(whole) > len(head)
    tail = whole[len(head) :] if joined else model.encode(second)
    for part, tokens in ((first, head), (second, tail)):
        if not tokens:
            raise UsageError(f"{part!r} has no tokens of {model.name}; give a text that it can read")
    return Split(head, tail, joined)


def require_rows(name: str, longest: int, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> None:
    """Raises UsageError for an empty stem, no rows, one without tokens, and more tokens than the model reads."""
    if not len(stem) or not len(rows) or not all(len(row) for row in rows):
        raise UsageError(f"{name} was given no row, or one without tokens; every text needs at least one token")
    if (size := len(stem) + max(map(len, rows))) > longest:
        raise UsageError(f"{size} tokens exceed the {longest} that {name} reads; shorten the text")


def require_finite_scores(name: str, scores: Sequence[TokenScores]) -> None:
    """Raises UsageError where a log-probability is NaN or infinite."""
    if not all(np.isfinite(row.log_p).all() for row in scores):
        raise UsageError(
            f"{name} gives log-probabilities that are not finite; its weights are damaged, or need float32"
        )
