"""Bits per byte of held-out code: the trained model, what it started from, and models that count."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.masked_lm.analysis.holes import Hole, cut_holes, infill_exact_match, left_to_right_exact_match
from tenfold.masked_lm.data import CodeRows
from tenfold.masked_lm.likelihood import Likelihood, autoregressive_nll, mdm_nll
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedEvaluation
from tenfold.runs.measurement import Measurement
from tenfold.text.ngrams import BackOff, Unigram, best_order

NAME, UNIT = "bits_per_byte", "bits/byte"


def measure(
    model: MaskedLM, data: CodeRows, kind: str, options: MaskedEvaluation, name: str, start: MaskedLM | None
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split: the bound of a masked model or the likelihood of an autoregressive
    one, both of the ``start``, and the counted byte models on the same bytes."""
    name = "autoregressive" if kind == "autoregressive" else name
    count = min(options.rows or len(data.test), len(data.test))
    batch = {key: value.to(device_of(model)) for key, value in data.test.batch(np.arange(count)).items()}
    sizes = data.sizes(data.test)[:count]
    rows = [_row(likelihood(model, batch, kind, options), sizes, name, kind)]
    holes = cut_holes(data.test.arrays["tokens"].tolist(), options.holes, data.test.arrays["tokens"].shape[1])
    rows += _filled(model, holes, kind, name, options.batch)
    if start is not None:
        start = start.to(device_of(model))
        rows.append(_row(likelihood(start, batch, "masked", options), sizes, "start", "masked"))
        if start.logit_shift:
            rows.append(_row(likelihood(start, batch, "autoregressive", options), sizes, "start", "autoregressive"))
            rows += _filled(start, holes, "autoregressive", "start", options.batch)
    parameters = sum(p.numel() for p in model.parameters())
    rows.append(Measurement("parameters", parameters, model=name))
    return rows + (baselines(data, count) if options.baselines else [])


def device_of(model: MaskedLM) -> torch.device:
    """Where the model's weights are."""
    return next(model.parameters()).device


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
    share = read(model, holes, batch=batch).share
    error = math.sqrt(share * (1 - share) / len(holes))
    note = "from left to right" if kind == "autoregressive" else "filled from both sides"
    return [Measurement("hole_accuracy", share, "", "test", name, error, len(holes), note)]


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
