"""Infilling scored by exact match: short holes in held-out rows."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.protocol import Denoiser, ScheduledNetwork
from tenfold.discrete_diffusion.samplers.chain import noise, run_chain
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.samplers.random import Random
from tenfold.errors import UsageError


@dataclass(frozen=True)
class Holes:
    """Rows (h, n), where the hole of each is, and its size."""

    rows: Int[Tensor, "h n"]
    hidden: Bool[Tensor, "h n"]

    def share(self, filled: Int[Tensor, "h n"]) -> tuple[float, float]:
        """Share of holes that are filled as they were, and its standard error."""
        exact = ((filled == self.rows) | ~self.hidden).all(1).double().mean().item()
        return exact, math.sqrt(exact * (1 - exact) / len(self.rows))


def cut_holes(rows: Int[Tensor, "b n"], count: int, longest: int = 8, seed: int = 0) -> Holes:
    """``count`` holes of 1 to ``longest`` tokens, as many of each length, one in each of ``count`` rows; a token at
    least stands on both sides.

    Raises UsageError for rows too short for the longest hole."""
    n = rows.shape[1]
    if n < longest + 2:
        raise UsageError(f"rows of {n} tokens are too short for holes of {longest}; give rows of {longest + 2}")
    generator = torch.Generator().manual_seed(seed)
    chosen = rows[torch.randperm(len(rows), generator=generator).repeat(-(-count // len(rows)))[:count]]
    size = torch.arange(count) % longest + 1
    first = 1 + (torch.rand(count, generator=generator) * (n - 1 - size)).long()
    place = torch.arange(n)
    hidden = (place >= first[:, None]) & (place < (first + size)[:, None])
    return Holes(chosen, hidden.to(rows.device))


@torch.no_grad()
def fill_masks(model: Denoiser, holes: Holes) -> Int[Tensor, "h n"]:
    """Holes filled one token a pass, the surest first, each by its likeliest.

    Raises UsageError for a model of another source than masks."""
    if not isinstance(model.source, MaskSource):
        raise UsageError("holes are filled by a model of masks; this one's noise is uniform: use fill_by_chain")
    tokens, left = torch.where(holes.hidden, model.source.mask, holes.rows), holes.hidden.clone()
    for _ in range(int(left.sum(1).max())):
        alpha = (~left).double().mean(1)
        time = (1 - alpha).float() if model.time_conditioned else None
        best, token = model(tokens, time).max(-1)
        place = torch.where(left, best, -torch.inf).argmax(1, keepdim=True)
        open_ = left.gather(1, place)
        tokens.scatter_(1, place, torch.where(open_, token.gather(1, place), tokens.gather(1, place)))
        left.scatter_(1, place, False)
    return tokens


def fill_by_chain(model: ScheduledNetwork, holes: Holes, steps: int = 16, seed: int = 0) -> Int[Tensor, "h n"]:
    """Holes filled by the ancestral chain at temperature 0, what stands around them fixed from the beginning: for
    uniform noise, where no token says that it is to be filled. ``seed`` is of the noise and of the chain."""
    random = Random(seed)
    start = noise(model.source, holes.rows, ~holes.hidden, random)
    options = ChainOptions(steps=steps, temperature=0.0)
    return run_chain(model, model.schedule, start, options, random, ~holes.hidden).tokens


@torch.no_grad()
def fill_from_left(model: Autoregressive, holes: Holes) -> Int[Tensor, "h n"]:
    """Holes guessed from what stands left of them, each token the likeliest."""
    tokens = torch.where(holes.hidden, 0, holes.rows)
    places = holes.hidden.any(0).nonzero()[:, 0]
    for i in range(int(places.min()), int(places.max()) + 1):
        guess = model(tokens[:, : i + 1])[:, i].argmax(-1)
        tokens[:, i] = torch.where(holes.hidden[:, i], guess, tokens[:, i])
    return tokens
