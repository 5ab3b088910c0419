"""Reverse scores by branch and bound: the same picks from fewer tokens.

Partial sums of log-probabilities only fall. An option whose sum over the first tokens of the question is below the
finished score of another can no longer win, and is read no further. Nothing is approximate.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from tenfold.errors import UsageError
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.layout import NATURAL, REVERSE
from tenfold.ordering.choices.scoring import readings
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import read
from tenfold.text.causal import CausalReader
from tenfold.text.language_model import beginning

Paradigm = Literal["paradigm-1", "paradigm-2", "paradigm-3"]


class Pruned(NamedTuple):
    """The pick of an item, its score, and how many of the question's tokens were read over all options, of how many.

    ``bounds`` (options,) are the scores; of an option that was dropped, what its score is at most."""

    pick: int
    score: float
    bounds: Float64[np.ndarray, " options"]
    read: int
    of: int


@read_arguments
def pruned_pick(
    model: CausalReader,
    item: ChoiceItem,
    *,
    rule: str = "paradigm-3",
    template: str | None = None,
    step: int = 8,
) -> Pruned:
    """The option that a reverse rule picks, the first of equals, as ``score_choices`` does.

    Args:
        model: reads right to left, or left to right over a reverse template.
        item: its options.
        rule: "paradigm-1" (M the tokens of the pair), "paradigm-2" or "paradigm-3".
        template: None for the natural text (right to left) or the reverse one (left to right).
        step: tokens of the question that are read between two comparisons.

    Raises UsageError for a step below 1, and texts that the model cannot hold."""
    read(Paradigm, rule, "rule")
    if step < 1:
        raise UsageError(f"step is {step}; give at least 1 token")
    backward = model.order == "r2l"
    template = template or (NATURAL if backward else REVERSE)
    found = readings(model, item, template, answer_last=backward)
    question = found[0].scored
    if any(reading.scored != question for reading in found):
        raise UsageError(
            "a token spans question and answer, so the options do not share the question's tokens; score without "
            "pruning"
        )
    start, options = beginning(model), [reading.given for reading in found]
    if len(start) + max(map(len, options)) + len(question) > model.longest:
        raise UsageError(f"the item is longer than the {model.longest} tokens of {model.name}; score without pruning")
    prior = np.zeros(len(options))
    if rule != "paradigm-3":
        prior = np.array([scores.log_p.sum() for scores in model.token_scores(start, options)])
    weight = np.ones(len(options))
    if rule == "paradigm-1":
        weight = 1.0 / np.array([len(option) + len(question) for option in options])

    branch = model.continued([[*start, *option] for option in options])
    bounds, left = prior.copy(), np.arange(len(options))
    best, leader, count = -np.inf, 0, 0
    for done in range(0, len(question), step):
        some, rest = question[done : done + step], question[done + step :]
        bounds[left] += weight[left] * branch.advance(some).sum(1)
        count += len(some) * len(left)
        if not rest:
            break
        if done == 0:  # the leader is read to its end: a score that the others must reach
            place = int(bounds.argmax())
            leader = int(left[place])
            bounds[leader] += weight[leader] * branch.fork([place]).advance(rest).sum()
            best, count = bounds[leader], count + len(rest)
        open_still = (left != leader) & ((bounds[left] > best) | ((bounds[left] == best) & (left < leader)))
        rows = np.flatnonzero(open_still)
        if not len(rows):
            break
        branch.keep(rows.tolist())
        left = left[rows]
    return Pruned(int(bounds.argmax()), float(bounds.max()), bounds, count, len(question) * len(options))
