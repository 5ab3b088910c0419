"""What is measured of held-out text: the trained model, by a bound with a name, and models that count."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.text.characters import CharacterSplits
from tenfold.data.text.token_rows import PackedRows, TokenRows
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.analysis.holes import Holes, cut_holes, fill_by_chain, fill_from_left, fill_masks
from tenfold.discrete_diffusion.likelihood import LikelihoodBound
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.options import DiffusionEvaluation, TokenRowEvaluation
from tenfold.runs.measurement import Measurement
from tenfold.text.ngrams import BackOff, Unigram, best_order
from tenfold.training.task import device_of

NAME, UNIT = "bits_per_char", "bits/char"


def measure(
    model: DiscreteDiffusion | Autoregressive, data: CharacterSplits, options: DiffusionEvaluation, name: str
) -> list[Measurement]:
    """Rows of ``evaluation.json`` of a model of characters on the test split: the bound, or the exact likelihood from
    left to right; holes; the models that count, on the same rows."""
    tokens = some_rows(data.test, options.rows).to(device_of(model))
    rows = []
    if isinstance(model, Autoregressive):
        rows.append(bound_row(likelihood.autoregressive(model, tokens, options.batch), name))
    else:
        rows.append(bound_row(likelihood.bound(model, tokens, options.draws, batch=options.batch), name))
        if not isinstance(model.source, MaskSource):
            loose = likelihood.bound(model, tokens, options.draws, "generalised_kl", batch=options.batch)
            rows.append(bound_row(loose, name, "bits_per_char_generalised_kl"))
    if options.holes:
        holes = cut_holes(tokens, options.holes)
        filled, note = _fill(model, holes)
        share, error = holes.share(filled)
        rows.append(Measurement("hole_accuracy", share, "", "test", name, error, options.holes, note))
    rows.append(size_row(model, name))
    return rows + (baselines(data, tokens.cpu()) if options.baselines else [])


def _fill(model: DiscreteDiffusion | Autoregressive, holes: Holes) -> tuple[Tensor, str]:
    """The holes filled as the kind of model can, and how."""
    if isinstance(model, Autoregressive):
        return fill_from_left(model, holes), "from left to right"
    if isinstance(model.source, MaskSource):
        return fill_masks(model, holes), "filled from both sides"
    return fill_by_chain(model, holes), "filled from both sides, by a chain around what is given"


def baselines(data: CharacterSplits, test: Int[Tensor, "b n"]) -> list[Measurement]:
    """The add-one unigram, n-grams of two orders and the back-off model of the best, each row read by itself."""
    symbols, stream = len(data.alphabet), data.stream.astype(np.int64)
    held_out = list(data.validation.some(512).arrays["tokens"].astype(np.int64))
    best = best_order(stream, held_out, symbols=symbols)
    models: dict[str, tuple[Unigram | BackOff, str]] = {
        "unigram": (Unigram(stream, symbols), "one added to each count"),
        "bigram": (BackOff(stream, 2, symbols), "Witten-Bell"),
        "trigram": (BackOff(stream, 3, symbols), "Witten-Bell"),
        "back-off": (best, f"Witten-Bell, {best.order - 1} characters of context"),
    }
    rows = []
    for name, (model, note) in models.items():
        bits = torch.tensor([float(model.cost(line).sum()) for line in test.numpy()], dtype=torch.float64)
        counts = torch.full((len(bits),), test.shape[1])
        found = LikelihoodBound(bits * float(np.log(2)), torch.zeros_like(bits), counts, 1, note)
        value, error = found.bits_per_token()
        rows.append(Measurement(NAME, value, UNIT, "test", name, error, None, note))
    return rows


def measure_tokens(
    model: DiscreteDiffusion, train: PackedRows, test: PackedRows, options: TokenRowEvaluation, name: str
) -> list[Measurement]:
    """The same of a model of a tokenizer's tokens: bits per token and perplexity of test rows, by the bound, and by the
    frequencies of the training rows' tokens."""
    tokens = some_rows(test, options.rows)
    found = likelihood.bound(model, tokens.to(device_of(model)), options.draws, batch=options.batch)
    costs = unigram_nats(train, tokens, model.config.vocabulary)
    rows = _token_rows(found.nats.cpu(), tokens, name, found.name, options.draws)
    rows += _token_rows(costs, tokens, "unigram", "one added to each count", None)
    return [*rows, size_row(model, name)]


def _token_rows(nats: Tensor, tokens: Tensor, model: str, note: str, draws: int | None) -> list[Measurement]:
    mean, error = averaged(nats / tokens.shape[1])
    bits, size = 1 / math.log(2), math.exp(mean)
    return [
        Measurement("bits_per_token", mean * bits, "bits/token", "test", model, error * bits, draws, note),
        Measurement("perplexity", size, "", "test", model, size * error, draws, note),
    ]


# --- rows that several evaluations share --------------------------------------------------------------------------


def some_rows(split: TokenRows | PackedRows, count: int) -> Int[Tensor, "b n"]:
    """At most ``count`` rows of a split, evenly spread; all for 0."""
    some = split.some(count)
    return some.batch(np.arange(len(some)))["tokens"]


def averaged(values: Float[Tensor, " b"]) -> tuple[float, float]:
    """The mean, and its standard error."""
    values = values.double()
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def bound_row(found: LikelihoodBound, model: str, name: str = NAME) -> Measurement:
    """A bound as a measurement."""
    value, error = found.bits_per_token()
    return Measurement(name, value, UNIT, "test", model, error, found.draws, found.name)


def size_row(model: nn.Module, name: str) -> Measurement:
    """The number of a model's parameters."""
    return Measurement("parameters", sum(p.numel() for p in model.parameters()), model=name)


def unigram_nats(train: TokenRows | PackedRows, tokens: Int[Tensor, "b n"], vocabulary: int) -> Float[Tensor, " b"]:
    """−log p of rows by the frequencies of the training rows' tokens, one added to each count."""
    counts = np.bincount(train.arrays["tokens"].ravel(), minlength=vocabulary) + 1.0
    return torch.from_numpy(-np.log(counts / counts.sum()))[tokens].sum(1)
