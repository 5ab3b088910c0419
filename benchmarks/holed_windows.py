"""Windows with a hole in every block: what decoding several places at once is scored on."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.model import MaskedLM


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
    usable = [list(text) for text in texts if len(text) >= length]
    if not usable:
        raise UsageError(f"no text has the {length} tokens of a window; give longer texts or a shorter window")
    if length % block or longest >= block:
        raise UsageError(f"holes of up to {longest} tokens in blocks of {block} do not fit a window of {length}")
    draw, windows = random.Random(seed), []
    for _ in range(count):
        text = usable[draw.randrange(len(usable))]
        start = draw.randrange(len(text) - length + 1)
        holes = []
        for low in range(0, length, block):
            size = draw.randint(1, longest)
            first = low + draw.randrange(1, block - size)
            holes.append((first, first + size))
        windows.append(Holed(tuple(text[start : start + length]), tuple(holes)))
    return windows


def fill(model: MaskedLM, windows: Sequence[Holed], options: Mapping[str, Any], batch: int = 1) -> HoledScore:
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
