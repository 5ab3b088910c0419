"""Held-out functions with a line, or all, of their body taken out: filled in, scored by exact match, shown as text."""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tenfold.errors import UsageError
from tenfold.masked_lm.analysis.holes import Hole, HoleScore


@dataclass(frozen=True)
class Body:
    """A function's tokens with its body, and one line of it, as holes."""

    body: Hole
    line: Hole


def cut_bodies(sources: Sequence[str], encode: Callable[[str], list[int]], count: int, most: int) -> list[Body]:
    """``count`` functions of ``sources``, evenly spread over those with 8 to ``most`` tokens in 3 lines or more of
    body, a docstring not counted; the line is the middle one. A hole begins with the line break before it, as many
    tokenizers join that with the indentation.

    Raises UsageError where there are fewer than ``count``."""
    found = []
    for source in sources:
        spans = body_lines(source)
        if len(spans) < 3:
            continue
        first, middle, last = spans[0], spans[len(spans) // 2], spans[-1]
        body, line = (_hole(source, begin, end, encode) for begin, end in ((first[0], last[1]), middle))
        if max(len(body.tokens), len(line.tokens)) <= most and body.last - body.first >= 8:
            found.append(Body(body, line))
    if len(found) < count:
        raise UsageError(
            f"bodies is {count}, but {len(found)} held-out functions have at most {most} tokens and 3 lines of body; "
            "ask for fewer, or set body_tokens higher"
        )
    return [found[i * len(found) // count] for i in range(count)]


def body_lines(source: str) -> list[tuple[int, int]]:
    """Where each line of a function's body is that is not empty, with the line break before it: (first, last + 1)
    characters. A decorated or a nested function is one function; a text that is no single function has none.

    >>> [source[a:b] for source in ["def f(x):\\n    y = x\\n    return y\\n"] for a, b in body_lines(source)]
    ['\\n    y = x', '\\n    return y']
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    if len(tree.body) != 1 or not isinstance(function := tree.body[0], ast.FunctionDef | ast.AsyncFunctionDef):
        return []
    statements = function.body[1:] if ast.get_docstring(function, clean=False) else function.body
    if not statements or statements[0].lineno == function.lineno:
        return []
    spans, at = [], 0
    for number, line in enumerate(source.splitlines(keepends=True), 1):
        if number >= statements[0].lineno and line.strip():
            spans.append((at - 1, at + len(line.rstrip())))
        at += len(line)
    return spans


def _hole(source: str, begin: int, end: int, encode: Callable[[str], list[int]]) -> Hole:
    # In three parts, so that no token reaches across an edge of the hole.
    before, inside, after = (encode(part) for part in (source[:begin], source[begin:end], source[end:]))
    return Hole((*before, *inside, *after), len(before), len(before) + len(inside))


def side_by_side(
    holes: Sequence[Hole], scores: Mapping[str, HoleScore], decode: Callable[[Sequence[int]], str]
) -> list[str]:
    """A text a hole: what stands before it, then what was there and what each model wrote, then what follows."""
    texts = []
    for number, hole in enumerate(holes):
        written = {"held out": hole.answer} | {name: tuple(score.answers[number]) for name, score in scores.items()}
        parts = [decode(hole.tokens[: hole.first])]
        for name, answer in written.items():
            mark = " (exact)" if name in scores and answer == hole.answer else ""
            parts.append(f"[{name}{mark}]\n" + decode(answer).removeprefix("\n").rstrip())
        rest = decode(hole.tokens[hole.last :]).strip("\n").rstrip()
        texts.append("\n".join([*parts, *(["[and on]", rest] if rest else [])]) + "\n")
    return texts
