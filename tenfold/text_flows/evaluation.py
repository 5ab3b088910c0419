"""What is measured of held-out text: the flow by its bounds, its decoder, and models that count."""

import math

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits
from tenfold.data.text.token_rows import TokenRows
from tenfold.runs.measurement import Measurement
from tenfold.text.bounds import LikelihoodBound
from tenfold.text.ngrams import BackOff, Unigram, best_order
from tenfold.text_flows.bounds import log_weights, weighted
from tenfold.text_flows.networks.model import TextFlow
from tenfold.text_flows.options import TextFlowEvaluation
from tenfold.training.streams import Draws
from tenfold.training.task import device_of

NAME, UNIT = "bits_per_char", "bits/char"


def measure(
    model: TextFlow, data: CharacterSplits, options: TextFlowEvaluation, name: str, frozen: int = 0
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split. All bits per character of the flow are upper bounds. ``frozen``
    couplings were trained before: what those behind them gain is measured text by text."""
    tokens = chosen_rows(data.test, options.rows).to(device_of(model))
    values = log_weights(model, tokens, options.draws, batch=options.batch)
    counts = torch.full((len(tokens),), tokens.shape[1])
    error = values.std(0) / math.sqrt(options.draws)
    rows = [
        _bits(LikelihoodBound(-values.mean(0), error, counts, options.draws, "≤: ELBO"), name),
        _bits(weighted(values, tokens), name, "bits_per_char_weighted"),
        Measurement("decoder_accuracy", *_accuracy(model, tokens), "", "test", name, note="argmax p(x | z), z ~ q"),
        Measurement("parameters", sum(p.numel() for p in model.parameters()), model=name),
    ]
    if frozen:
        rows.append(_gain(model, frozen, tokens, values, options, name))
    return rows + (_counting(data, tokens.cpu()) if options.baselines else [])


def chosen_rows(split: TokenRows, count: int) -> Int[Tensor, "b n"]:
    """At most ``count`` rows of a split, evenly spread; all for 0."""
    some = split.some(count)
    return some.batch(np.arange(len(some)))["tokens"]


def _bits(found: LikelihoodBound, model: str, name: str = NAME) -> Measurement:
    value, error = found.bits_per_token()
    note = found.name if found.name.startswith("≤") else f"≤: {found.name}"
    return Measurement(name, value, UNIT, "test", model, error, found.draws, note)


def _gain(
    model: TextFlow, frozen: int, tokens: Tensor, values: Tensor, options: TextFlowEvaluation, name: str
) -> Measurement:
    """How far the couplings behind the ``frozen`` first ones lower the ELBO. Each text has the same latents in both, so
    that the standard error is that of the difference."""
    before = log_weights(model.beginning(frozen), tokens, options.draws, batch=options.batch)
    lower = values.mean(0) - before.mean(0)
    counts = torch.full((len(tokens),), tokens.shape[1])
    value, error = LikelihoodBound(lower, lower, counts, options.draws, "").bits_per_token()
    note = f"ELBO of the first {frozen} less that of all {len(model.chain)}, the same latents"
    return Measurement("gain_of_further_flows", value, UNIT, "test", name, error, options.draws, note)


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
    rows = []
    for name, (model, note) in models.items():
        bits = torch.tensor([float(model.cost(line).sum()) for line in test.numpy()], dtype=torch.float64)
        counts = torch.full((len(bits),), test.shape[1])
        value, error = LikelihoodBound(bits * math.log(2), bits, counts, 1, note).bits_per_token()
        rows.append(Measurement(NAME, value, UNIT, "test", name, error, None, note))
    return rows
