"""Infilling scored by exact match: short holes in held-out text, beside the guess of a left-to-right reader; and
held-out functions with a line, or all, of their body taken out, shown as text."""

import ast
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.loss import causal_attention
from tenfold.masked_lm.model import MaskedLM, require_finite_logits
from tenfold.runs.measurement import Measurement


@dataclass(frozen=True)
class Hole:
    """A window of tokens (N,) with the tokens ``first`` ≤ i < ``last`` taken out."""

    tokens: tuple[int, ...]
    first: int
    last: int

    @property
    def answer(self) -> tuple[int, ...]:
        """What was taken out."""
        return self.tokens[self.first : self.last]


def cut_holes(
    texts: Sequence[Sequence[int]], count: int, window: int = 256, longest: int = 8, seed: int = 0
) -> list[Hole]:
    """``count`` holes of 1 to ``longest`` tokens, as many of each length, in windows of texts drawn with a seed; at
    least one token stands on both sides.

    Raises UsageError where no text is as long as a window, and for a window without room for the longest hole."""
    if window < longest + 2 or longest < 1 or count < 0:
        raise UsageError(
            f"{count} holes of up to {longest} tokens in windows of {window} are not possible; give windows of "
            f"{longest + 2} tokens at least"
        )
    usable = [list(text) for text in texts if len(text) >= window]
    if not usable:
        raise UsageError(f"no text has the {window} tokens of a window; give longer texts or a shorter window")
    draw, holes = random.Random(seed), []
    for number in range(count):
        text = usable[draw.randrange(len(usable))]
        start = draw.randrange(len(text) - window + 1)
        size = number % longest + 1
        first = draw.randrange(1, window - size)
        holes.append(Hole(tuple(text[start : start + window]), first, first + size))
    return holes


@dataclass(frozen=True)
class HoleScore:
    """How many holes were filled as they were, of how many, and the passes and positions that it took."""

    exact: int
    holes: int
    passes: int
    token_forwards: int
    answers: list[list[int]]

    @property
    def share(self) -> float:
        """Exact match."""
        return self.exact / self.holes

    def row(self, name: str, model: str, note: str) -> Measurement:
        """The exact match as a row of ``evaluation.json``."""
        error = math.sqrt(self.share * (1 - self.share) / self.holes)
        return Measurement(name, self.share, "", "test", model, error, self.holes, note)


def infill_exact_match(
    model: MaskedLM, holes: Sequence[Hole], options: GenerationOptions | None = None, batch: int = 32
) -> HoleScore:
    """Fill holes with a masked model, at temperature 0 unless ``options`` say otherwise."""
    options = (options or GenerationOptions(alg="entropy")).with_changes(infill=True)
    filled = []
    for part in progress.track(_parts(holes, batch), "infilling", "batches"):
        found = diffusion_generate(model, _tokens(model, part, model.special.mask), None, options)
        filled.append((found.sequences, found.nfe, found.token_forwards))
    return _score(holes, filled)


@torch.no_grad()
def left_to_right_exact_match(model: MaskedLM, holes: Sequence[Hole], batch: int = 32) -> HoleScore:
    """The same network (or one trained so) read causally: it guesses a hole from what is left of it, greedily.

    Raises UsageError for a model without logit shift: it predicts no next token."""
    if not model.logit_shift:
        raise UsageError("the model has no logit shift, so it predicts no next tokens; give an autoregressive one")
    filled = []
    for part in progress.track(_parts(holes, batch), "left to right", "batches"):
        tokens = _tokens(model, part, 0)
        attention = causal_attention(tokens.shape[1], tokens.device)
        first = torch.tensor([h.first for h in part], device=tokens.device)
        rows = torch.arange(len(part), device=tokens.device)
        last = torch.tensor([h.last for h in part], device=tokens.device)
        longest = max(h.last - h.first for h in part)
        for offset in range(longest):
            place = (first + offset).clamp(max=tokens.shape[1] - 1)
            logits = model.logits(model.hidden(tokens, attention)[rows, place - 1])
            require_finite_logits(logits.sum())
            logits[:, model.special.mask] = -torch.inf
            inside = place < last
            tokens[rows[inside], place[inside]] = logits[inside].argmax(dim=-1)
        filled.append((tokens, longest, longest * tokens.numel()))
    return _score(holes, filled)


def _parts(holes: Sequence[Hole], size: int) -> list[Sequence[Hole]]:
    """Neighbours in windows of one length, at most ``size`` together."""
    alike = [list(group) for _, group in groupby(holes, lambda hole: len(hole.tokens))]
    return [group[i : i + size] for group in alike for i in range(0, len(group), size)]


def _tokens(model: MaskedLM, holes: Sequence[Hole], filler: int) -> Int[Tensor, "B N"]:
    rows = [[filler if h.first <= i < h.last else t for i, t in enumerate(h.tokens)] for h in holes]
    return torch.tensor(rows, device=model.device)


def _score(holes: Sequence[Hole], filled: list[tuple[Tensor, int, int]]) -> HoleScore:
    """Of the filled windows of each batch, and its passes and positions."""
    rows = [row for tokens, _, _ in filled for row in tokens.tolist()]
    answers = [row[hole.first : hole.last] for row, hole in zip(rows, holes, strict=True)]
    exact = sum(tuple(answer) == hole.answer for answer, hole in zip(answers, holes, strict=True))
    return HoleScore(exact, len(holes), sum(n for _, n, _ in filled), sum(n for *_, n in filled), answers)


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
