"""One scorer for every rule in both directions: what a model says of each option given the question, and of the
question given each option, from one pass over each of the two texts.

Source: arXiv:2502.18435, sections on forward scores and on paradigms 1 to 3. All in nats.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.ordering.choices import rules
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.layout import TextParts, parts_of
from tenfold.ordering.choices.texts import Read, ScoredText, read_texts, text_of
from tenfold.ordering.options import BACKWARD, FORWARD, ChoiceScoring
from tenfold.settings.arguments import read_arguments
from tenfold.text.language_model import LanguageModel, beginning, split_tokens

_AT_ONCE = 2**13  # tokens of items that wait to be read together


class Forward(NamedTuple):
    """Of the options of an item, given its question: (options,) each.

    ``total`` is log p(a | q), ``stopped`` that of a and the stop token after it (NaN where the model has none),
    ``alone`` log p(a) from nothing; ``tokens`` of the option, and whether all of them are the likeliest, ``greedy``."""

    total: Float64[np.ndarray, " options"]
    stopped: Float64[np.ndarray, " options"]
    alone: Float64[np.ndarray, " options"]
    tokens: Int64[np.ndarray, " options"]
    greedy: Bool[np.ndarray, " options"]


class Backward(NamedTuple):
    """Of the question given each option of an item: (options,) each.

    ``question`` is log p(q | a), ``answer`` log p(a) of the part that is read first, ``question_tokens`` and ``tokens``
    how many were scored."""

    question: Float64[np.ndarray, " options"]
    answer: Float64[np.ndarray, " options"]
    question_tokens: Int64[np.ndarray, " options"]
    tokens: Int64[np.ndarray, " options"]


class Reading(NamedTuple):
    """A text as a model reads it: what is given, and what is scored after it, both in the model's order."""

    given: list[int]
    scored: list[int]
    joined: bool


def readings(model: LanguageModel, item: ChoiceItem, template: str, *, answer_last: bool) -> list[Reading]:
    """The text of every option, in tokens. Whatever its order, a model is given what it reads first."""
    scored_last = model.order == "l2r"
    found = []
    for option in item.choices:
        parts: TextParts = parts_of(item, option, template, answer_last=answer_last, scored_last=scored_last)
        first, second, joined = split_tokens(model, parts.first, parts.second)
        if scored_last:
            found.append(Reading(first, second, joined))
        else:
            found.append(Reading(second[::-1], first[::-1], joined))
    return found


@dataclass
class Losses:
    """What could not be read as it stands: questions that were ``cut``, and options read apart from the question."""

    cut: int = 0
    apart: int = 0

    def tell(self, name: str) -> None:
        """Note both."""
        if self.cut:
            progress.note(f"{name}: {self.cut} questions are longer than the model reads; their beginning is left out")
        if self.apart:
            progress.note(
                f"{name}: in {self.apart} texts a token spans question and answer; the two were encoded one by one"
            )


@read_arguments
def forward_scores(
    model: LanguageModel, item: ChoiceItem, template: str, losses: Losses, *, stop: bool = True, alone: bool = True
) -> Forward:
    """log p(a | q) of every option: the question is read once for all options that share its tokens.

    Where the whole is longer than the model reads, the oldest tokens of the question go: never those of an option."""
    texts = _forward_texts(model, item, template, losses, stop=stop, alone=alone)
    return texts.scores(read_texts(model, texts.needed()))


class _ForwardTexts(NamedTuple):
    """What ``Forward`` is made of: options after the question, with the stop token where ``stopped``, and by
    themselves (none where they are not asked for)."""

    asked: list[ScoredText]
    alone: list[ScoredText]
    tokens: list[int]
    stopped: bool

    def needed(self) -> list[ScoredText]:
        return [*self.asked, *self.alone]

    def scores(self, read: Read) -> Forward:
        rows = [read[text] for text in self.asked]
        total = np.array([row.log_p[:size].sum() for row, size in zip(rows, self.tokens, strict=True)])
        none = np.full(len(rows), np.nan)
        return Forward(
            total,
            np.array([row.log_p.sum() for row in rows]) if self.stopped else none,
            np.array([read[text].log_p.sum() for text in self.alone]) if self.alone else none.copy(),
            np.array(self.tokens),
            np.array([bool(row.greedy[:size].all()) for row, size in zip(rows, self.tokens, strict=True)]),
        )


def _forward_texts(
    model: LanguageModel, item: ChoiceItem, template: str, losses: Losses, *, stop: bool, alone: bool
) -> _ForwardTexts:
    found = readings(model, item, template, answer_last=model.order == "l2r")
    losses.apart += sum(not reading.joined for reading in found)
    end = [model.stop] if stop and model.stop is not None else []
    most = max(len(reading.scored) for reading in found) + len(end)
    room = model.longest - len(model.begin) - most
    if room < 1:
        raise UsageError(f"an option of {most} tokens leaves no room in the {model.longest} of {model.name}")
    losses.cut += any(len(reading.given) > room for reading in found)
    return _ForwardTexts(
        [text_of([*model.begin, *_kept(model, r.given, room)], [*r.scored, *end]) for r in found],
        [text_of(beginning(model), reading.scored) for reading in found] if alone else [],
        [len(reading.scored) for reading in found],
        bool(end),
    )


@read_arguments
def backward_scores(model: LanguageModel, item: ChoiceItem, template: str, losses: Losses) -> Backward:
    """log p(q | a) and log p(a) of every option, from one pass over [BOS] a q in the model's order.

    There is no shared beginning. Where a text is longer than the model reads, the oldest tokens of the question go, as
    many of every option's: never those of an option."""
    texts = _backward_texts(model, item, template, losses)
    return texts.scores(read_texts(model, texts.needed()))


class _BackwardTexts(NamedTuple):
    """What ``Backward`` is made of: each option with the question behind it, and the options' tokens."""

    asked: list[ScoredText]
    tokens: list[int]

    def needed(self) -> list[ScoredText]:
        return self.asked

    def scores(self, read: Read) -> Backward:
        rows = [(read[text].log_p, size) for text, size in zip(self.asked, self.tokens, strict=True)]
        return Backward(
            np.array([log_p[n:].sum() for log_p, n in rows]),
            np.array([log_p[:n].sum() for log_p, n in rows]),
            np.array([len(log_p) - n for log_p, n in rows]),
            np.array(self.tokens),
        )


def _backward_texts(model: LanguageModel, item: ChoiceItem, template: str, losses: Losses) -> _BackwardTexts:
    found = readings(model, item, template, answer_last=model.order == "r2l")
    losses.apart += sum(not reading.joined for reading in found)
    stem = beginning(model)
    room = model.longest - len(stem) - max(len(reading.given) for reading in found)
    if room < 1:
        raise UsageError(f"the longest option leaves no room for a question in the {model.longest} of {model.name}")
    losses.cut += any(len(reading.scored) > room for reading in found)
    return _BackwardTexts(
        [text_of(stem, [*r.given, *_kept(model, r.scored, room)]) for r in found], [len(r.given) for r in found]
    )


def _kept(model: LanguageModel, question: list[int], room: int) -> list[int]:
    """The newest ``room`` tokens of a question: of a model that reads right to left those that it reads first."""
    return question[-room:] if model.order == "l2r" else question[:room]


@dataclass(frozen=True)
class ChoiceScores:
    """Every sum of every option of every item, from which each rule takes what it needs.

    Attributes:
        items: as they were scored.
        model: its name.
        order: in which it reads.
        scoring: how.
        forward: one an item; empty where no rule asks for them.
        backward: one an item; empty where no rule asks for them.
    """

    items: Sequence[ChoiceItem]
    model: str
    order: str
    scoring: ChoiceScoring
    forward: Sequence[Forward]
    backward: Sequence[Backward]

    @property
    def answers(self) -> Int64[np.ndarray, " items"]:
        """The right option of each item."""
        return np.array([item.answer for item in self.items], np.int64)

    def by_rule(self) -> dict[str, Float64[np.ndarray, "items options"]]:
        """The scores of every rule that was asked for, filled up with −∞; "stop" is left out where the model has no
        stop token."""
        choices = [item.choices for item in self.items]
        found: dict[str, Any] = {}
        if self.forward:
            total = rules.ragged([f.total.tolist() for f in self.forward])
            found = rules.rule_scores(
                total,
                rules.lengths([f.tokens.tolist() for f in self.forward]),
                rules.text_lengths(choices, "characters"),
                rules.text_lengths(choices, "bytes"),
                rules.ragged([f.alone.tolist() for f in self.forward]) if "pmi" in self.scoring.rules else None,
            )
            if not np.isnan(self.forward[0].stopped).any():
                found["stop"] = rules.ragged([f.stopped.tolist() for f in self.forward])
        if self.backward:
            question = rules.ragged([b.question.tolist() for b in self.backward])
            answer = rules.ragged([b.answer.tolist() for b in self.backward])
            sizes = [b.question_tokens + (b.tokens if self.scoring.norm == "pair" else 0) for b in self.backward]
            found["paradigm-1"] = rules.paradigm_1(question, answer, rules.lengths([s.tolist() for s in sizes]))
            found["paradigm-2"] = rules.paradigm_2(question, answer)
            found["paradigm-3"] = rules.paradigm_3(question)
        return {name: found[name] for name in self.scoring.rules if name in found}

    def log(self) -> Iterator[dict[str, Any]]:
        """A record for each option of each item: all sums, counts and scores, and whether a rule picks it."""
        tables = self.by_rule()
        picks = {name: rules.pick(scores) for name, scores in tables.items()}
        for i, item in enumerate(self.items):
            for j, option in enumerate(item.choices):
                record: dict[str, Any] = {"item": i, "option": j, "text": option, "right": j == item.answer}
                record |= {"characters": len(option), "bytes": len(option.encode())}
                for kind, table in (("forward", self.forward), ("backward", self.backward)):
                    if table:
                        record[kind] = {name: values[j].item() for name, values in table[i]._asdict().items()}
                record["scores"] = {name: float(scores[i, j]) for name, scores in tables.items()}
                record["picked_by"] = [name for name in tables if picks[name][i] == j]
                yield record


@read_arguments
def score_choices(
    model: LanguageModel, items: Sequence[ChoiceItem], scoring: ChoiceScoring | None = None
) -> ChoiceScores:
    """Score items under every rule at once.

    For a model that reads left to right, forward rules take log p(a | q) from the natural text, and paradigms 1 to 3
    log p(q | a) and log p(a) from the reverse text. A model that reads right to left finds the first in the reverse
    text and the others in the natural one.

    Args:
        model: any ``LanguageModel``.
        items: one or more.
        scoring: the rules and the texts; all rules by default.

    Raises UsageError for no items, an option that does not fit into the model, and texts without tokens; a rule of the
    stop token for a model without one."""
    scoring = scoring or ChoiceScoring()
    if not len(items):
        raise UsageError("items are none; give at least one")
    if scoring.rules == ("stop",) and model.stop is None:
        raise UsageError(f"{model.name} has no stop token; choose another rule than stop")
    wanted = set(scoring.rules)
    ahead, back = bool(wanted & set(FORWARD)), bool(wanted & set(BACKWARD))
    answer_last = scoring.natural if model.order == "l2r" else scoring.reverse
    answer_first = scoring.reverse if model.order == "l2r" else scoring.natural
    forward: list[Forward] = []
    backward: list[Backward] = []
    ahead_texts: list[_ForwardTexts] = []
    back_texts: list[_BackwardTexts] = []
    waiting = 0
    losses = Losses()

    def flush() -> None:
        needed: list[ScoredText] = [text for one in ahead_texts for text in one.needed()]
        needed += [text for one in back_texts for text in one.needed()]
        read = read_texts(model, needed)
        forward.extend(one.scores(read) for one in ahead_texts)
        backward.extend(one.scores(read) for one in back_texts)
        ahead_texts.clear()
        back_texts.clear()

    for item in progress.track(items, "scoring", "items"):
        if ahead:
            one = _forward_texts(model, item, answer_last, losses, stop="stop" in wanted, alone="pmi" in wanted)
            ahead_texts.append(one)
            waiting += sum(len(text.row) for text in one.needed())
        if back:
            back_texts.append(_backward_texts(model, item, answer_first, losses))
            waiting += sum(len(text.row) for text in back_texts[-1].needed())
        if waiting >= _AT_ONCE:
            flush()
            waiting = 0
    if waiting:
        flush()
    losses.tell(model.name)
    if "stop" in wanted and model.stop is None:
        progress.note(f"{model.name} has no stop token; the rule stop is left out")
    return ChoiceScores(items, model.name, model.order, scoring, forward, backward)
