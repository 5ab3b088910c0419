"""What is measured of held-out text: the flow by its bounds, its decoder, and models that count."""

import math

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits
from tenfold.data.text.token_rows import PackedRows, TokenRows
from tenfold.runs.measurement import Measurement
from tenfold.text.bounds import LikelihoodBound
from tenfold.text.ngrams import BackOff, Unigram, best_order
from tenfold.text_flows.bounds import log_weights, weighted
from tenfold.text_flows.corpus import FlowSplits, FlowTokens
from tenfold.text_flows.networks.model import TextFlow
from tenfold.text_flows.options import TextFlowEvaluation
from tenfold.training.streams import Draws
from tenfold.training.task import device_of

UNITS = {True: ("bits_per_char", "bits/char"), False: ("bits_per_token", "bits/token")}
"""Name and unit of what a character or a token costs."""


def measure(
    model: TextFlow, data: FlowSplits, options: TextFlowEvaluation, name: str, frozen: int = 0
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split. All bits per character or token of the flow are upper bounds.
    ``frozen`` couplings were trained before: what those behind them gain is measured text by text."""
    what, unit = UNITS[isinstance(data, CharacterSplits)]
    tokens = chosen_rows(data.test, options.rows).to(device_of(model))
    values = log_weights(model, tokens, options.draws, batch=options.batch)
    counts = torch.full((len(tokens),), tokens.shape[1])
    error = values.std(0) / math.sqrt(options.draws)
    rows = [
        _bits(LikelihoodBound(-values.mean(0), error, counts, options.draws, "≤: ELBO"), name, what, unit),
        _bits(weighted(values, tokens), name, f"{what}_weighted", unit),
        Measurement("decoder_accuracy", *_accuracy(model, tokens), "", "test", name, note="argmax p(x | z), z ~ q"),
        Measurement("parameters", sum(p.numel() for p in model.parameters()), model=name),
    ]
    if frozen:
        rows.append(_gain(model, frozen, tokens, values, options, name, unit))
    if not options.baselines:
        return rows
    if isinstance(data, FlowTokens):
        return [*rows, _frequencies(data, tokens.cpu(), model.config.vocabulary)]
    return rows + _counting(data, tokens.cpu())


def chosen_rows(split: TokenRows | PackedRows, count: int) -> Int[Tensor, "b n"]:
    """At most ``count`` rows of a split, evenly spread; all for 0."""
    some = split.some(count)
    return some.batch(np.arange(len(some)))["tokens"]


def _bits(found: LikelihoodBound, model: str, name: str, unit: str) -> Measurement:
    value, error = found.bits_per_token()
    note = found.name if found.name.startswith("≤") else f"≤: {found.name}"
    return Measurement(name, value, unit, "test", model, error, found.draws, note)


def _gain(
    model: TextFlow, frozen: int, tokens: Tensor, values: Tensor, options: TextFlowEvaluation, name: str, unit: str
) -> Measurement:
    """How far the couplings behind the ``frozen`` first ones lower the ELBO. Each text has the same latents in both, so
    that the standard error is that of the difference."""
    before = log_weights(model.beginning(frozen), tokens, options.draws, batch=options.batch)
    lower = values.mean(0) - before.mean(0)
    counts = torch.full((len(tokens),), tokens.shape[1])
    value, error = LikelihoodBound(lower, lower, counts, options.draws, "").bits_per_token()
    note = f"ELBO of the first {frozen} less that of all {len(model.chain)}, the same latents"
    return Measurement("gain_of_further_flows", value, unit, "test", name, error, options.draws, note)


@torch.no_grad()
def _accuracy(model: TextFlow, tokens: Tensor) -> tuple[float]:
    """Share of tokens that their own latents are decoded to."""
    right = 0
    for rows in torch.arange(len(tokens)).split(64):
        here = tokens[rows.to(tokens.device)]
        noise = Draws(0, 0).normal("latents", rows.to(here.device), (here.shape[1], model.config.dim))
        right += int((model.tokens.log_probs(model.tokens.encode(here, noise)).argmax(-1) == here).sum())
    return (right / tokens.numel(),)


def _counting(data: CharacterSplits, test: Int[Tensor, "b n"]) -> list[Measurement]:
    """The add-one unigram and the back-off model of the best order, each row read by itself."""
    symbols, stream = len(data.alphabet), data.stream.astype(np.int64)
    held_out = list(data.validation.some(512).arrays["tokens"].astype(np.int64))
    best = best_order(stream, held_out, symbols=symbols)
    models: dict[str, tuple[Unigram | BackOff, str]] = {
        "unigram": (Unigram(stream, symbols), "one added to each count"),
        "back-off": (best, f"Witten-Bell, {best.order - 1} characters of context"),
    }
    rows, (what, unit) = [], UNITS[True]
    for name, (model, note) in models.items():
        bits = torch.tensor([float(model.cost(line).sum()) for line in test.numpy()], dtype=torch.float64)
        counts = torch.full((len(bits),), test.shape[1])
        value, error = LikelihoodBound(bits * math.log(2), bits, counts, 1, note).bits_per_token()
        rows.append(Measurement(what, value, unit, "test", name, error, None, note))
    return rows


def _frequencies(data: FlowTokens, test: Int[Tensor, "b n"], vocabulary: int) -> Measurement:
    """By the frequencies of the training rows' tokens."""
    counts = np.bincount(data.train.arrays["tokens"].ravel(), minlength=vocabulary) + 1.0
    bits = torch.from_numpy(-np.log2(counts / counts.sum()))[test].mean(1)
    error = float(bits.std()) / math.sqrt(len(bits))
    name, unit = UNITS[False]
    return Measurement(name, float(bits.mean()), unit, "test", "unigram", error, None, "one added to each count")
