"""Strings of three kinds of brackets: a language in which everybody sees at once what is right. No PyTorch."""

import random
from collections.abc import Iterator

OPENING, CLOSING = "([{", ")]}"
_RIGHT = 0.25  # of the strings
LENGTH, OPEN = 16, 6  # of a text, and how many of its brackets surely open


def bracket_texts(count: int, length: int = LENGTH, seed: int = 0) -> Iterator[str]:
    """Random strings that begin with six opening brackets. In a quarter of them all brackets match; the others go on at
    random, so that few do.

    >>> texts = list(bracket_texts(400))
    >>> {len(text) for text in texts}, 80 < sum(matched_share(text, 16) == 1 for text in texts) < 120
    ({16}, True)
    """
    numbers = random.Random(f"brackets {seed}")
    for _ in range(count):
        text = numbers.choices(OPENING, k=min(OPEN, length))
        right, waiting = numbers.random() < _RIGHT, list(text)
        for left in range(length - len(text), 0, -1):
            if not right:
                text.append(numbers.choice(OPENING + CLOSING))
            elif waiting and (len(waiting) == left or numbers.random() < 0.5):
                text.append(CLOSING[OPENING.index(waiting.pop())])
            else:
                waiting.append(numbers.choice(OPENING))
                text.append(waiting[-1])
        yield "".join(text)


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
