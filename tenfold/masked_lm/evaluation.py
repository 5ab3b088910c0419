"""Bits per byte of held-out code: the trained model, what it started from, and models that count; and the
log-likelihoods of a user's texts."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.data.text.texts import Texts, TextScoring
from tenfold.errors import UsageError
from tenfold.masked_lm.analysis.holes import Hole, cut_holes, infill_exact_match, left_to_right_exact_match
from tenfold.masked_lm.data import CodeRows
from tenfold.masked_lm.likelihood import Likelihood, autoregressive_nll, mdm_nll
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedEvaluation
from tenfold.runs.measurement import Measurement
from tenfold.runs.scores import Scores
from tenfold.text.ngrams import BackOff, Unigram, best_order
from tenfold.text.scores import Rows, score_texts

NAME, UNIT = "bits_per_byte", "bits/byte"


def measure(
    model: MaskedLM, data: CodeRows, kind: str, options: MaskedEvaluation, name: str, start: MaskedLM | None
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split: the bound of a masked model or the likelihood of an autoregressive
    one, both of the ``start``, and the counted byte models on the same bytes."""
    name = "autoregressive" if kind == "autoregressive" else name
    count = min(options.rows or len(data.test), len(data.test))
    batch = {key: value.to(model.device) for key, value in data.test.batch(np.arange(count)).items()}
    sizes = data.test_sizes[:count]
    rows = [_row(likelihood(model, batch, kind, options), sizes, name, kind)]
    holes = cut_holes(data.test.arrays["tokens"].tolist(), options.holes, data.test.arrays["tokens"].shape[1])
    rows += _filled(model, holes, kind, name, options.batch)
    if start is not None:
        start = start.to(model.device)
        rows.append(_row(likelihood(start, batch, "masked", options), sizes, "start", "masked"))
        if start.logit_shift:
            rows.append(_row(likelihood(start, batch, "autoregressive", options), sizes, "start", "autoregressive"))
            rows += _filled(start, holes, "autoregressive", "start", options.batch)
    parameters = sum(p.numel() for p in model.parameters())
    rows.append(Measurement("parameters", parameters, model=name))
    return rows + (baselines(data, count) if options.baselines else [])


def likelihood(model: MaskedLM, batch: dict[str, Tensor], kind: str, options: MaskedEvaluation) -> Likelihood:
    """The bound, or the exact left-to-right likelihood, of test rows."""
    given: dict[str, Any] = {"maskable": batch["maskable"], "real": batch["real"], "batch": options.batch}
    if kind == "autoregressive":
        return autoregressive_nll(model, batch["tokens"], **given)
    return mdm_nll(model, batch["tokens"], options.draws, **given)


def _filled(model: MaskedLM, holes: list[Hole], kind: str, name: str, batch: int) -> list[Measurement]:
    """Exact match of holes filled one token a pass by the masked model, or guessed from the left."""
    if not holes:
        return []
    read = left_to_right_exact_match if kind == "autoregressive" else infill_exact_match
    note = "from left to right" if kind == "autoregressive" else "filled from both sides"
    return [read(model, holes, batch=batch).row("hole_accuracy", name, note)]


def _row(found: Likelihood, sizes: Tensor, model: str, kind: str) -> Measurement:
    value, error = found.bits_per_byte(sizes)
    if kind == "autoregressive":
        return Measurement(NAME, value, UNIT, "test", model, error, None, "from left to right, exact")
    return Measurement(NAME, value, UNIT, "test", model, error, found.draws, "masked-diffusion bound")


def baselines(data: CodeRows, count: int) -> list[Measurement]:
    """The add-one unigram and the back-off model, on the bytes of the test rows."""
    stream = data.byte_stream(data.texts.train)
    test = data.byte_rows(data.test, count)
    backoff = best_order(stream, [row for row, _ in data.byte_rows(data.validation, len(data.validation))])
    notes = {"unigram": "bytes, one added to each count", "back-off": f"bytes, order {backoff.order}, Witten-Bell"}
    models: list[tuple[str, Unigram | BackOff]] = [("unigram", Unigram(stream)), ("back-off", backoff)]
    rows = []
    for name, model in models:
        bits = torch.tensor([float(model.cost(row)[first:].sum()) for row, first in test], dtype=torch.float64)
        sizes = torch.tensor([int((row[first:] < 256).sum()) for row, first in test])
        value, error = Likelihood(bits * math.log(2), torch.zeros_like(bits), 1).bits_per_byte(sizes)
        rows.append(Measurement(NAME, value, UNIT, "test", name, error, None, notes[name]))
    return rows


def score(model: MaskedLM, texts: Texts, kind: str, options: TextScoring, length: int, name: str) -> Scores:
    """log p of texts in rows of up to ``length`` tokens; with the shift the first token is given, the token of the
    beginning where there is one.

    Raises UsageError for a model without a tokenizer, and for a text without a token to score."""
    tokenizer, begin = model.tokenizer, model.special.bos
    if tokenizer is None:
        raise UsageError(f"{name} has no tokenizer, so it cannot read texts; convert it with its tokenizer")
    given = int(model.logit_shift)
    prefix = [begin] if given and begin is not None else []

    def encode(text: str) -> list[int]:
        return [*prefix, *tokenizer.encode(text)]

    def likelihood(rows: Tensor) -> Rows:
        rows = rows.to(model.device)
        if kind == "autoregressive":
            found = autoregressive_nll(model, rows, batch=options.batch)
        else:
            same = [0] * len(rows)  # equal rows are scored alike
            found = mdm_nll(model, rows, options.draws, seed=options.seed, samples=same, batch=options.batch)
        return Rows(found.nats, found.standard_error)

    bound = f"log p is at least this: minus the masked-diffusion bound, {options.draws} draws of masks a row"
    note = "log p, exact from left to right" if kind == "autoregressive" else bound
    note += f"; rows of up to {length} tokens, which know nothing of each other"
    note += ", the first token given" if given and not prefix else ""

    def sizes(tokens: Sequence[int], text: str) -> list[int]:
        return [0] * len(prefix) + tokenizer.sizes(tokens[len(prefix) :], text)

    return score_texts(texts, encode, tokenizer.sizes, likelihood, length, "byte", name, note, given, sizes)
