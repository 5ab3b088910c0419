"""Texts whose middle is written with both sides in view, by a flow of one coupling that reads from left to right.

Continuations of the left side are candidates. Each has the weight p(right side | its latents), estimated without bias
from latents of the right side drawn from q(z | x), and one is drawn in proportion to the weights: importance
resampling, whose law tends to p(middle | both sides) as candidates grow in number, with a bias of the order of 1 over
it. The latents of the left side are drawn from q(z | x) too, not from the posterior.
"""

from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import categorical
from tenfold.errors import UsageError
from tenfold.files import json_text, write_output
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments
from tenfold.text_flows.bounds import collapsed_terms
from tenfold.text_flows.corpus import texts_of
from tenfold.text_flows.inversion import invert_flow
from tenfold.text_flows.networks.model import TextFlow
from tenfold.text_flows.options import TextFlowSampling
from tenfold.text_flows.sampling import base_noise, continued
from tenfold.training.streams import Draws


class Filled(NamedTuple):
    """Whole texts (b, n), and the effective number of the candidates of each, (Σw)² / Σw² (b,)."""

    tokens: Int[Tensor, "b n"]
    effective: Float[Tensor, " b"]


@read_arguments
@torch.no_grad()
def fill_between(
    model: TextFlow,
    left: Values,
    right: Values,
    hole: int,
    num: int = 8,
    *,
    candidates: int = 64,
    seed: int = 0,
    batch: int = 512,
) -> Filled:
    """``num`` texts of ``left`` (l,), ``hole`` tokens that are drawn, and ``right`` (r,).

    Args:
        left: may be empty.
        candidates: continuations of which each text is drawn.
        seed: keys the draws, with the number of the text.
        batch: continuations computed together; it changes rounding only.

    Raises:
        UsageError: a flow of another kind than one tied Mix-d coupling without patches, no hole or right side, a text
            that is too long, and numbers out of range.
    """
    if min(hole, num, candidates, batch) < 1:
        raise UsageError(
            f"hole is {hole}, num {num}, candidates {candidates} and batch {batch}; give at least 1 of each"
        )
    before, after = (side_of(model, side, name) for side, name in ((left, "the left side"), (right, "the right side")))
    length = len(before) + hole + len(after)
    if not len(after):
        raise UsageError("there is nothing to the right of the hole; go on with a prompt instead")
    if model.config.patch > 1 or length > model.config.length:
        raise UsageError(
            f"a text of {length} tokens and a model of {model.config.length}, {model.config.patch} a position; fill "
            "texts that are no longer, with a model of one token a position"
        )
    parts = [
        _filled(model, before, after, hole, rows, candidates, seed)
        for rows in progress.track(torch.arange(num).split(max(1, batch // candidates)), "filling", "batches")
    ]
    return Filled(*(torch.cat(found) for found in zip(*parts, strict=True)))


def _filled(
    model: TextFlow, left: Tensor, right: Tensor, hole: int, rows: Tensor, candidates: int, seed: int
) -> Filled:
    """The texts with the numbers ``rows``."""
    device, first = left.device, len(left) + hole
    numbers = (rows[:, None] * candidates + torch.arange(candidates)).flatten().to(device)
    u = base_noise(model, numbers, first, seed)
    z = invert_flow(model, continued(model, left, u, seed, numbers) if len(left) else u).latents
    uniforms = Draws(seed, 1).uniform("decode", numbers, (hole,), torch.float64)
    middle = categorical(model.tokens.log_probs(z[:, len(left) :]).double().exp(), uniforms)
    noise = Draws(seed, 0).normal("right side", numbers, (len(right), model.config.dim))
    behind = model.tokens.encode(right.expand(len(numbers), -1), noise.to(z))
    weights = collapsed_terms(model, torch.cat([z, behind], 1))[:, first:].sum(1).view(-1, candidates).softmax(1)
    chosen = categorical(weights, Draws(seed, 1).uniform("filled", rows.to(device), (), torch.float64))
    drawn = middle.view(-1, candidates, hole)[torch.arange(len(rows), device=device), chosen]
    sides = (side.expand(len(rows), -1) for side in (left, right))
    return Filled(torch.cat([next(sides), drawn, next(sides)], 1), 1 / weights.square().sum(1))


def side_of(model: TextFlow, side: Values, name: str) -> Int[Tensor, " n"]:
    """A side as tokens of the model. Raises UsageError, which begins with ``name``, for what is none."""
    if isinstance(side, Tensor) and side.ndim != 1:
        raise UsageError(f"{name} has shape {tuple(side.shape)}; give one row of tokens")
    tokens = model.rows([side] if not isinstance(side, Tensor) else side[None])[0]
    if len(tokens):
        model.padded(tokens[None])
    return tokens


def write_filled(
    model: TextFlow, options: TextFlowSampling, folder: Path, name: str, left: Values, right: Values
) -> list[Path]:
    """Texts between ``options.prompt`` and ``options.suffix``, their tokens as ``left`` and ``right``, as
    ``samples.txt`` and ``samples.json``.

    Raises UsageError for a length that leaves no hole, and as ``fill_between``."""
    length = options.length or model.config.length
    hole = length - len(left) - len(right)
    if hole < 1:
        raise UsageError(f"length is {length}, and both sides have {length - hole} tokens; give more than these")
    found = fill_between(
        model.eval(), left, right, hole, options.num, candidates=options.candidates, seed=options.seed,
        batch=max(options.batch, options.candidates),
    )  # fmt: skip
    texts = texts_of(model, found.tokens)
    record = {"model": name, "options": asdict(options), "samples": texts, "effective": found.effective.tolist()}
    return [
        write_output(folder / "samples.txt", "".join(text + "\n" for text in texts)),
        write_output(folder / "samples.json", json_text(record, indent=2) + "\n"),
    ]
