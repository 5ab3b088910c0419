"""Infilling scored by exact match: short holes in held-out text, beside the guess of a left-to-right reader; and
windows with a hole in every block, on which the decoding of several places at once is scored."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.loss import causal_attention
from tenfold.masked_lm.model import MaskedLM


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

    Raises UsageError where no text is as long as a window."""
    usable, draw, holes = _long_enough(texts, window), random.Random(seed), []
    for number in range(count):
        tokens = _window(usable, window, draw)
        size = number % longest + 1
        first = draw.randrange(1, window - size)
        holes.append(Hole(tokens, first, first + size))
    return holes


def _long_enough(texts: Sequence[Sequence[int]], window: int) -> list[Sequence[int]]:
    usable = [text for text in texts if len(text) >= window]
    if not usable:
        raise UsageError(f"no text has the {window} tokens of a window; give longer texts or a shorter window")
    return usable


def _window(texts: Sequence[Sequence[int]], length: int, draw: random.Random) -> tuple[int, ...]:
    text = texts[draw.randrange(len(texts))]
    start = draw.randrange(len(text) - length + 1)
    return tuple(text[start : start + length])


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


def infill_exact_match(
    model: MaskedLM, holes: Sequence[Hole], options: GenerationOptions | None = None, batch: int = 32
) -> HoleScore:
    """Fill holes with a masked model, at temperature 0 unless ``options`` say otherwise."""
    options = (options or GenerationOptions(alg="entropy")).with_changes(infill=True)
    answers: list[list[int]] = []
    passes = forwards = 0
    for part in progress.track(_parts(holes, batch), "infilling", "batches"):
        tokens = _tokens(model, part, model.special.mask)
        found = diffusion_generate(model, tokens, None, options)
        passes, forwards = passes + found.nfe, forwards + found.token_forwards
        answers += [row[h.first : h.last] for row, h in zip(found.sequences.tolist(), part, strict=True)]
    return _score(holes, answers, passes, forwards)


@torch.no_grad()
def left_to_right_exact_match(model: MaskedLM, holes: Sequence[Hole], batch: int = 32) -> HoleScore:
    """The same network (or one trained so) read causally: it guesses a hole from what is left of it, greedily.

    Raises UsageError for a model without logit shift: it predicts no next token."""
    if not model.logit_shift:
        raise UsageError("the model has no logit shift, so it predicts no next tokens; give an autoregressive one")
    answers: list[list[int]] = []
    passes = forwards = 0
    for part in progress.track(_parts(holes, batch), "left to right", "batches"):
        tokens = _tokens(model, part, 0)
        attention = causal_attention(tokens.shape[1], tokens.device)
        first = torch.tensor([h.first for h in part], device=tokens.device)
        rows = torch.arange(len(part), device=tokens.device)
        for offset in range(max(h.last - h.first for h in part)):
            place = (first + offset).clamp(max=tokens.shape[1] - 1)
            logits = model.logits(model.hidden(tokens, attention)[rows, place - 1])
            logits[:, model.special.mask] = -torch.inf
            inside = place < torch.tensor([h.last for h in part], device=tokens.device)
            tokens[rows[inside], place[inside]] = logits[inside].argmax(dim=-1)
            passes, forwards = passes + 1, forwards + tokens.numel()
        answers += [row[h.first : h.last] for row, h in zip(tokens.tolist(), part, strict=True)]
    return _score(holes, answers, passes, forwards)


def _parts(holes: Sequence[Hole], size: int) -> list[Sequence[Hole]]:
    """Neighbours in windows of one length, at most ``size`` together."""
    alike = [list(group) for _, group in groupby(holes, lambda hole: len(hole.tokens))]
    return [group[i : i + size] for group in alike for i in range(0, len(group), size)]


def _tokens(model: MaskedLM, holes: Sequence[Hole], filler: int) -> Int[Tensor, "B N"]:
    rows = [[filler if h.first <= i < h.last else t for i, t in enumerate(h.tokens)] for h in holes]
    return torch.tensor(rows, device=model.device)


def _score(holes: Sequence[Hole], answers: list[list[int]], passes: int, forwards: int) -> HoleScore:
    exact = sum(tuple(answer) == hole.answer for answer, hole in zip(answers, holes, strict=True))
    return HoleScore(exact, len(holes), passes, forwards, answers)


@dataclass(frozen=True)
class Holed:
    """A window of tokens (N,) and its holes, each first ≤ i < last."""

    tokens: tuple[int, ...]
    holes: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class HoledScore:
    """Holes that came out as they were; passes and positions computed, a window; seconds of all."""

    exact: int
    holes: int
    passes: float
    token_forwards: float
    seconds: float

    @property
    def share(self) -> float:
        """Exact match."""
        return self.exact / self.holes

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return {"exact_match": self.share, **vars(self)}


def holed_windows(
    texts: Sequence[Sequence[int]], count: int, length: int = 256, block: int = 32, longest: int = 8, seed: int = 0
) -> list[Holed]:
    """``count`` windows of ``length`` tokens, drawn with a seed, with a hole of 1 to ``longest`` tokens in every
    ``block``.

    Raises UsageError where no text is as long, or a hole does not fit into a block."""
    usable = _long_enough(texts, length)
    if length % block or longest >= block:
        raise UsageError(f"holes of up to {longest} tokens in blocks of {block} do not fit a window of {length}")
    draw, windows = random.Random(seed), []
    for _ in range(count):
        tokens, holes = _window(usable, length, draw), []
        for low in range(0, length, block):
            size = draw.randint(1, longest)
            first = low + draw.randrange(1, block - size)
            holes.append((first, first + size))
        windows.append(Holed(tokens, tuple(holes)))
    return windows


def fill_windows(model: MaskedLM, windows: Sequence[Holed], options: Mapping[str, Any], batch: int = 1) -> HoledScore:
    """Fill all holes of each window, ``batch`` windows at a time, at temperature 0 unless ``options`` say otherwise."""
    chosen = GenerationOptions(infill=True, **options)
    exact = passes = forwards = 0
    began = time.perf_counter()
    for first in progress.track(range(0, len(windows), batch), "windows", "batches"):
        part = windows[first : first + batch]
        tokens = torch.tensor([w.tokens for w in part], device=model.device)
        x = tokens.clone()
        for row, window in enumerate(part):
            for low, high in window.holes:
                x[row, low:high] = model.special.mask
        found = diffusion_generate(model, x, None, chosen, generator=torch.Generator(x.device).manual_seed(first))
        passes, forwards = passes + found.nfe, forwards + found.token_forwards
        same = found.sequences == tokens
        exact += sum(bool(same[row, low:high].all()) for row, w in enumerate(part) for low, high in w.holes)
    seconds = time.perf_counter() - began
    batches = -(-len(windows) // batch)
    return HoledScore(exact, sum(len(w.holes) for w in windows), passes / batches, forwards / len(windows), seconds)
