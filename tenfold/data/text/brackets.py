"""Strings of three kinds of brackets: a language in which everybody sees at once what is right. No PyTorch."""

import random
from collections.abc import Iterator

OPENING, CLOSING = "([{", ")]}"
OPENING, CLOSING = "([{", ")]}"
LENGTH = 16  # of a text


def bracket_texts(count: int, length: int = LENGTH, seed: int = 0) -> Iterator[str]:
    """Strings of brackets at random, few of which match.

    >>> [len(text) for text in bracket_texts(2)]
    [16, 16]
    """
    numbers = random.Random(f"brackets {seed}")
    for _ in range(count):
        yield "".join(numbers.choices(OPENING + CLOSING, k=length))


def matched_share(text: str, length: int) -> float:
    """Brackets that match another one, over ``length``.

    >>> matched_share("([])", 4), matched_share("([)]", 4), matched_share("()x", 4)
    (1.0, 0.5, 0.5)
    """
    waiting: list[str] = []
    pairs = 0
    for bracket in text[:length]:
        if bracket in OPENING:
            waiting.append(bracket)
        elif bracket in CLOSING and waiting and waiting[-1] == OPENING[CLOSING.index(bracket)]:
            waiting.pop()
            pairs += 1
    return 2 * pairs / length
