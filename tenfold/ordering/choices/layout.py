"""How an item becomes a text of two parts: what a model reads first, and what is scored given that.

Two texts are made of a question q and an option a: the natural one, question before answer, and the reverse one, answer
before question. A model that reads left to right finds p(a | q) in the first and p(q | a) in the second; one that reads
right to left finds them the other way round.
"""

from string import Formatter
from typing import NamedTuple

from tenfold.errors import UsageError
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.settings.checks import settings

NATURAL = "{question} {answer}"
REVERSE = '"{answer}" is the answer of question: {question}'


@settings
class Templates:
    """Texts with one {question} and one {answer} each.

    Attributes:
        natural: the question stands before the answer.
        reverse: the answer stands before the question (arXiv:2502.18435 scores models that read left to right by it).
    """

    natural: str = NATURAL
    reverse: str = REVERSE

    def __post_init__(self) -> None:
        for name, order in (("natural", ["question", "answer"]), ("reverse", ["answer", "question"])):
            pieces(getattr(self, name), name, order)


def pieces(template: str, name: str, order: list[str]) -> tuple[str, str, str]:
    """What stands before, between and after the two places of a template.

    Raises UsageError where the places are not those of ``order``.

    >>> pieces("{question} {answer}.", "natural", ["question", "answer"])
    ('', ' ', '.')
    """
    expected = " before ".join("{" + place + "}" for place in order)
    texts, places = [""], []
    try:
        for text, place, how, turned in Formatter().parse(template):
            texts[-1] += text
            if place is not None:
                places.append(f"{place}{how}{turned or ''}")
                texts.append("")
    except ValueError:
        places = []
    if places != order:
        raise UsageError(f"the {name} template is {template!r}; expected a text with {expected}, each once")
    return texts[0], texts[1], texts[2]


class TextParts(NamedTuple):
    """A text in its own order as ``first + second``; the answer is in the second part if ``answer_last``."""

    first: str
    second: str
    answer_last: bool


def question_of(item: ChoiceItem) -> str:
    """The question, with what stands before it."""
    return f"{item.context}\n{item.question}" if item.context else item.question


def parts_of(item: ChoiceItem, option: str, template: str, *, answer_last: bool, scored_last: bool) -> TextParts:
    """The two parts of a text.

    Args:
        item: whose question it is.
        option: the answer.
        template: with the places in the order that ``answer_last`` says.
        answer_last: whether the template is the natural one.
        scored_last: whether the second part is scored given the first (a model that reads left to right), or the first
            given the second. The template's words between the places belong to what is given; blanks to the second
            part, as tokenizers have it.
    """
    order = ["question", "answer"] if answer_last else ["answer", "question"]
    before, between, after = pieces(template, "natural" if answer_last else "reverse", order)
    one, two = question_of(item), option
    if not answer_last:
        one, two = two, one
    words = between.rstrip() if scored_last else between.lstrip()
    blank = between[len(words) :] if scored_last else between[: len(between) - len(words)]
    if scored_last:
        return TextParts(f"{before}{one}{words}", f"{blank}{two}{after}", answer_last)
    return TextParts(f"{before}{one}", f"{blank}{words}{two}{after}", answer_last)
