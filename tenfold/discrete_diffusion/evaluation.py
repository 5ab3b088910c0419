"""Bits per character of held-out text: the trained model, by a bound with a name, and models that count."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.holes import Holes, cut_holes, fill_by_chain, fill_from_left, fill_masks
from tenfold.discrete_diffusion.likelihood import Bound
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.options import DiffusionEvaluation
from tenfold.runs.measurement import Measurement
from tenfold.text.ngrams import BackOff, Unigram, best_order

NAME, UNIT = "bits_per_char", "bits/char"


def measure(model: Any, data: CharacterSplits, options: DiffusionEvaluation, name: str) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split: the bound, or the exact likelihood from left to right; holes; the
    models that count, on the same rows."""
    tokens = test_rows(data, options).to(next(model.parameters()).device)
    rows = []
    exact = isinstance(model, Autoregressive)
    if exact:
        rows.append(row(likelihood.autoregressive(model, tokens, options.batch), name))
    else:
        rows.append(row(likelihood.bound(model, tokens, options.draws, batch=options.batch), name))
        if not isinstance(model.source, MaskSource):
            loose = likelihood.bound(model, tokens, options.draws, "generalised_kl", batch=options.batch)
            rows.append(row(loose, name, "bits_per_char_generalised_kl"))
    if options.holes:
        holes = cut_holes(tokens, options.holes)
        filled, note = _fill(model, holes)
        share, error = holes.share(filled)
        rows.append(Measurement("hole_accuracy", share, "", "test", name, error, options.holes, note))
    rows.append(Measurement("parameters", sum(p.numel() for p in model.parameters()), model=name))
    return rows + (baselines(data, tokens.cpu()) if options.baselines else [])


def _fill(model: Any, holes: Holes) -> tuple[Tensor, str]:
    """The holes filled as the kind of model can, and how."""
    if isinstance(model, Autoregressive):
        return fill_from_left(model, holes), "from left to right"
    if isinstance(model.source, MaskSource):
        return fill_masks(model, holes), "filled from both sides"
    return fill_by_chain(model, holes), "filled from both sides, by a chain around what is given"


def test_rows(data: CharacterSplits, options: DiffusionEvaluation) -> Tensor:
    """The rows that are scored."""
    some = data.test.some(options.rows)
    return some.batch(np.arange(len(some)))["tokens"]


def row(found: Bound, model: str, name: str = NAME) -> Measurement:
    """A bound as a measurement."""
    value, error = found.bits_per_token()
    return Measurement(name, value, UNIT, "test", model, error, found.draws, found.name)


def baselines(data: CharacterSplits, test: Tensor) -> list[Measurement]:
    """The add-one unigram, n-grams of two orders and the back-off model of the best, each row read by itself."""
    symbols, stream = len(data.alphabet), data.stream.astype(np.int64)
    held_out = list(data.validation.some(512).arrays["tokens"].astype(np.int64))
    best = best_order(stream, held_out, symbols=symbols)
    models: dict[str, tuple[Any, str]] = {
        "unigram": (Unigram(stream, symbols), "one added to each count"),
        "bigram": (BackOff(stream, 2, symbols), "Witten-Bell"),
        "trigram": (BackOff(stream, 3, symbols), "Witten-Bell"),
        "back-off": (best, f"Witten-Bell, {best.order - 1} characters of context"),
    }
    rows = []
    for name, (model, note) in models.items():
        bits = torch.tensor([float(model.cost(line).sum()) for line in test.numpy()], dtype=torch.float64)
        counts = torch.full((len(bits),), test.shape[1])
        found = Bound(bits * float(np.log(2)), torch.zeros_like(bits), counts, 1, note)
        value, error = found.bits_per_token()
        rows.append(Measurement(NAME, value, UNIT, "test", name, error, None, note))
    return rows
