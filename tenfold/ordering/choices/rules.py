"""Rules that choose an option by its log-probabilities, left to right and right to left; all in nats.

Arrays are (..., options): one row an item. Rows with fewer options are filled up with −∞ (``ragged``), which no rule
chooses. Equal scores go to the first option. Source: arXiv:2502.18435, its forward score and paradigms 1 to 3.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Int64

from tenfold.errors import UsageError
from tenfold.nn.border import as_tensor, whole
from tenfold.nn.tensors import read_tensors

Scores = Float64[np.ndarray, "*items options"]
Counts = Int[np.ndarray, "*items options"]


def ragged(rows: Sequence[Sequence[float]], name: str = "scores") -> Float64[np.ndarray, "items options"]:
    """Rows of different lengths as one table, filled up with −∞.

    Raises UsageError for no rows, a row without two options, and numbers that are not finite.

    >>> ragged([[-1, -2], [-3, -4, -5]]).tolist()
    [[-1.0, -2.0, -inf], [-3.0, -4.0, -5.0]]
    """
    read = [_row(row, f"{name}[{i}]", np.float64) for i, row in enumerate(_rows(rows, name))]
    if not read:
        raise UsageError(f"{name} is empty; give the scores of at least one item")
    table = np.full((len(read), max(map(len, read))), -np.inf)
    for i, row in enumerate(read):
        if len(row) < 2:
            raise UsageError(f"{name}[{i}] has {len(row)} options; give at least two")
        if not np.isfinite(row).all():
            raise UsageError(f"{name}[{i}] holds NaN or an infinity; every option needs a finite log-probability")
        table[i, : len(row)] = row
    return table


def _rows(rows: Sequence[Any], name: str) -> Sequence[Any]:
    if not isinstance(rows, Sequence | np.ndarray) or isinstance(rows, str | bytes):
        raise UsageError(f"{name} is no list of rows but {type(rows).__name__}; give one row an item")
    return list(rows)


def _row(values: Any, name: str, kind: type) -> np.ndarray:
    """One item's numbers, of ``kind``."""
    if kind is np.int64:
        row = whole(values, name)
    else:
        row = as_tensor(values, name, torch.float64)
        if row.dtype == torch.bool or row.is_complex():
            raise UsageError(f"{name} has dtype {row.dtype}; give real numbers")
    if row.ndim != 1:
        raise UsageError(f"{name} has shape {tuple(row.shape)}; give a number for each option")
    return row.detach().cpu().numpy().astype(kind)


def lengths(rows: Sequence[Sequence[int]], name: str = "counts") -> Int64[np.ndarray, "items options"]:
    """Counts of the options of each item as one table, filled up with 1. Raises UsageError for counts below 1."""
    read = [_row(row, f"{name}[{i}]", np.int64) for i, row in enumerate(_rows(rows, name))]
    table = np.ones((len(read), max(map(len, read), default=0)), np.int64)
    for i, row in enumerate(read):
        table[i, : len(row)] = row
        if min(row, default=1) < 1:
            raise UsageError(f"{name}[{i}] holds {min(row)}; options have at least one token and one character")
    return table


def text_lengths(choices: Sequence[Sequence[str]], unit: str) -> Int64[np.ndarray, "items options"]:
    """Characters (code points) or UTF-8 bytes of the options, without the blank before them.

    >>> text_lengths([["né", "no"]], "bytes").tolist()
    [[3, 2]]
    """
    if unit not in ("characters", "bytes"):
        raise UsageError(f"unit is {unit!r}; expected 'characters' or 'bytes'")
    for i, row in enumerate(_rows(choices, "choices")):
        for text in _rows(row, f"choices[{i}]"):
            if not isinstance(text, str):
                raise UsageError(f"choices[{i}] holds {type(text).__name__}; give texts")
    return lengths([[len(t) if unit == "characters" else len(t.encode()) for t in row] for row in choices], unit)


@read_tensors(infinite=("total",))
def normalised(total: Scores, length: Counts) -> Scores:
    """(1/N_i) log p(a_i | q): the forward score, by tokens, characters or bytes as ``length`` counts them.

    Raises UsageError for a length below 1."""
    require_lengths(length)
    return total / length


def require_lengths(length: Counts) -> None:
    """Raises UsageError for a length below 1."""
    if length.size and length.min() < 1:
        raise UsageError(f"length holds {length.min()}; options have at least one token and one character")


@read_tensors(infinite=("total", "alone"))
def mutual_information(total: Scores, alone: Scores) -> Scores:
    """log p(a | q) − log p(a), which ranks as log p(q | a) where both are of one joint; missing options stay −∞."""
    return np.where(np.isneginf(total), -np.inf, total - np.where(np.isneginf(total), 0.0, alone))


@read_tensors(infinite=("question", "answer"))
def paradigm_1(question: Scores, answer: Scores, length: Counts) -> Scores:
    """(1/M_i) log p(q | a_i) + log p(a_i), M_i the tokens of the pair (or of the question alone).

    The first term is a mean over tokens and the second a sum, so that for long questions it ranks almost by the
    prior log p(a_i), for short and frequent options."""
    require_lengths(length)
    return question / length + answer


@read_tensors(infinite=("question", "answer"))
def paradigm_2(question: Scores, answer: Scores) -> Scores:
    """log p(q | a_i) + log p(a_i): the joint, which ranks as the forward sum of the same joint."""
    return question + answer


@read_tensors(infinite=("question",))
def paradigm_3(question: Scores) -> Scores:
    """log p(q | a_i): Bayes' rule with equal priors. Every option explains the same question: no length enters."""
    return question


@read_tensors(infinite=("scores",))
def pick(scores: Scores) -> Int64[np.ndarray, "*items"]:
    """The option with the highest score, the first of equals. Raises UsageError for NaN, and a row without a score."""
    if np.isnan(scores).any() or np.isposinf(scores).any() or np.isneginf(scores).all(-1).any():
        raise UsageError("scores hold NaN, +∞, or a row of −∞ alone; every item needs options with finite scores")
    return np.asarray(scores.argmax(-1), np.int64)


@read_tensors(infinite=("scores",))
def correct(scores: Scores, answer: Int64[np.ndarray, "*items"]) -> Bool[np.ndarray, "*items"]:
    """Whether the picked option is the right one. Raises UsageError for an answer that is no option."""
    require_answers(answer, scores.shape[-1])
    return np.asarray(pick(scores) == answer)


def require_answers(answer: Int64[np.ndarray, "*items"], options: int) -> None:
    """Raises UsageError for an answer that is no index of an option."""
    if answer.size and not 0 <= answer.min() <= answer.max() < options:
        raise UsageError(f"answer holds {answer.min()} to {answer.max()}; expected indices of {options} options")


@read_tensors(infinite=("scores",))
def probabilities(scores: Scores) -> Scores:
    """softmax over the options, 0 for those that an item lacks."""
    pick(scores)  # what is no score is refused
    shifted = np.exp(scores - scores.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@read_tensors(infinite=("scores",))
def option_entropy(scores: Scores) -> Float64[np.ndarray, "*items"]:
    """Entropy of softmax over the options, in nats: 0 where one is certain, ln n where n are equal."""
    p = probabilities(scores)
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(-1), np.float64)


@read_tensors(infinite=("total", "alone"))
def rule_scores(
    total: Scores, tokens: Counts, characters: Counts, utf8: Counts, alone: Scores | None = None
) -> dict[str, Any]:
    """The scores of an option given its question under every forward rule, by the name of its normaliser: "sum",
    "character", "byte", "token", and "pmi" where the options' log-probabilities ``alone`` are given."""
    found = {
        "sum": total,
        "character": normalised(total, characters),
        "byte": normalised(total, utf8),
        "token": normalised(total, tokens),
    }
    return found if alone is None else {**found, "pmi": mutual_information(total, alone)}
