"""Runs of words that a text shares with items: whoever trained on one may know the answer by heart.

Words are runs of letters, digits and underscores, in small letters, so that neither blanks nor punctuation hide one.
Thirteen words in a row are what the literature calls contaminated (arXiv:2005.14165, appendix C).
"""

import re
from collections.abc import Iterator, Sequence

from tenfold.errors import UsageError
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.layout import question_of
from tenfold.settings.arguments import read_arguments

_WORD = re.compile(r"\w+")
_LONGEST = 10_000


@read_arguments
def item_runs(items: Sequence[ChoiceItem], *, length: int = 13) -> frozenset[str]:
    """Every run of ``length`` words in the question, its context before it, followed by one of the options; items of
    fewer words have none.

    Raises UsageError for no items, and a length below one word.

    >>> sorted(item_runs([ChoiceItem("Who is it", ("Ann!", "Bob"), 0)], length=3))
    ['is it ann', 'is it bob', 'who is it']
    """
    if not len(items):
        raise UsageError("items are none; give at least one")
    _require_length(length)
    return frozenset(
        run for item in items for option in item.choices for run in _runs(f"{question_of(item)} {option}", length)
    )


@read_arguments
def shares_run(text: str, runs: frozenset[str], *, length: int = 13) -> bool:
    """Whether any ``length`` words in a row of the text are one of the ``runs`` that ``item_runs`` found.

    Raises UsageError for a length below one word, and runs that are no set.

    >>> shares_run("Tell me: who is  it?", frozenset({"who is it"}), length=3)
    True
    """
    _require_length(length)
    if not isinstance(runs, frozenset):
        raise UsageError(f"runs are no frozenset but {type(runs).__name__}; give what item_runs makes")
    return any(run in runs for run in _runs(text, length))


def _require_length(length: int) -> None:
    if not 1 <= length <= _LONGEST:
        raise UsageError(f"length is {length}; give 1 to {_LONGEST:,} words")


def _runs(text: str, length: int) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    return (" ".join(words[i : i + length]) for i in range(len(words) - length + 1))
