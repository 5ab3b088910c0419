"""What a model finds hard about items in each direction: how uncertain it is of an answer given its question, and of a
question given its answer, and by how much it is surprised beyond that, token by token.

Source: arXiv:2502.18435, its conditional entropy and computability; calibration is in ``measuring``. In nats.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from tenfold.errors import UsageError
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.choices.scoring import Reading, readings
from tenfold.ordering.entropies import Rollouts, read_together, reader_entropy
from tenfold.ordering.options import ChoiceScoring
from tenfold.runs.measurement import Measurement
from tenfold.settings.arguments import read_arguments
from tenfold.text.causal import CausalReader
from tenfold.text.language_model import beginning


class Excess(NamedTuple):
    """By the position of a token in what is predicted: the mean over items of −log p, of the model's entropy before it
    was seen, and of their difference with its standard error; ``items`` that are as long. All (length,), in nats.

    The difference is 0 in the mean for a model that knows how little it knows, and positive where it is surer than
    it should be. The entropy of the texts themselves is unknown outside of made tasks, so this is no excess over that.
    """

    surprise: Float64[np.ndarray, " length"]
    entropy: Float64[np.ndarray, " length"]
    excess: Float64[np.ndarray, " length"]
    error: Float64[np.ndarray, " length"]
    items: Int64[np.ndarray, " length"]


class DirectionEntropy(NamedTuple):
    """One direction: "answer given question" or "question given answer"."""

    what: str
    rollouts: Rollouts
    excess: Excess

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it; NaN, of positions that too few items have, is left out as null."""
        (value, error), (path, path_error) = map(Rollouts.mean, self.rollouts)
        return {
            "what": self.what,
            "entropy": value,
            "standard_error": _number(error),
            "entropy_along_paths": path,
            "standard_error_along_paths": _number(path_error),
            "positions": {name: [_number(float(x)) for x in table] for name, table in self.excess._asdict().items()},
        }

    def measurements(self, name: str) -> list[Measurement]:
        """Rows of ``evaluation.json``; standard errors are over items."""
        kind = "answer" if self.what.startswith("answer") else "question"
        rows = [
            Measurement(f"{kind}_entropy{suffix}", value, "nats", "", name, _number(error), note=f"{self.what}; {note}")
            for suffix, (value, error), note in (
                ("", Rollouts.mean(self.rollouts.surprise), "of roll-outs, summed over their tokens"),
                ("_along_paths", Rollouts.mean(self.rollouts.path), "the model's entropy at every step of roll-outs"),
            )
        ]
        for place, (value, error) in enumerate(zip(self.excess.excess, self.excess.error, strict=True)):
            if np.isfinite(value):
                told = f"−log p less the model's entropy; {self.excess.items[place]} items"
                rows.append(
                    Measurement(
                        f"{kind}_excess_{place + 1:02d}", float(value), "nats", "", name, _number(error), note=told
                    )
                )
        return rows


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@read_arguments
def direction_entropies(
    model: CausalReader,
    items: Sequence[ChoiceItem],
    scoring: ChoiceScoring | None = None,
    *,
    rollouts: int = 1,
    length: int = 10,
    seed: int = 0,
) -> list[DirectionEntropy]:
    """Of the right option given its question, and of the question given the right option: the entropy of ``length``
    tokens of continuation, the end of the text suppressed, and the excess of the real tokens.

    Args:
        model: a causal network, of either order.
        items: one or more.
        scoring: the two texts, as ``score_choices`` takes them.
        rollouts: continuations of each item.
        length: tokens of a continuation, and positions of the excess.
        seed: of the roll-outs.

    Raises UsageError for no items, another kind of model, no roll-outs or tokens, and texts that do not fit."""
    if not len(items):
        raise UsageError("items are none; give at least one")
    if length < 1 or rollouts < 1:
        raise UsageError(f"length is {length} and rollouts is {rollouts}; give at least 1 of both")
    scoring = scoring or ChoiceScoring()
    natural = model.order == "l2r"
    found = []
    for what, template, answer_last in (
        ("answer given question", scoring.natural if natural else scoring.reverse, natural),
        ("question given answer", scoring.reverse if natural else scoring.natural, not natural),
    ):
        texts = [readings(model, item, template, answer_last=answer_last)[item.answer] for item in items]
        contexts = [[*beginning(model), *text.given] for text in texts]
        rolled = reader_entropy(model, contexts, length=length, rollouts=rollouts, seed=seed, suppress=model.stop)
        found.append(DirectionEntropy(what, rolled, _excess(model, contexts, texts, length)))
    return found


def _excess(model: CausalReader, contexts: list[list[int]], texts: list[Reading], length: int) -> Excess:
    surprise, entropy = (np.full((len(texts), length), np.nan) for _ in range(2))
    scored = [text.scored[:length] for text in texts]
    most = max(map(len, scored))
    for some, read in read_together(model, contexts, room=most):
        for step in range(most):
            log_p = read.next_log_p()
            # A text that has ended goes on with token 0, where nothing is looked at.
            token = np.array([scored[i][step] if step < len(scored[i]) else 0 for i in some])
            lives = np.array([step < len(scored[i]) for i in some])
            rows = np.array(some)[lives]
            surprise[rows, step] = -log_p[lives, token[lives]]
            entropy[rows, step] = -(np.exp(log_p[lives]) * log_p[lives]).sum(1)
            if step + 1 < most:
                read.follow(token)
    counts = np.isfinite(surprise).sum(0)
    gap = surprise - entropy
    error = np.array([_spread(column) for column in gap.T]) / np.sqrt(np.maximum(counts, 1))
    means = (np.array([_mean(column) for column in table.T]) for table in (surprise, entropy, gap))
    return Excess(next(means), next(means), next(means), error, counts.astype(np.int64))


def _spread(column: Float64[np.ndarray, " items"]) -> float:
    real = column[np.isfinite(column)]
    return float(real.std(ddof=1)) if len(real) > 1 else float("nan")


def _mean(column: Float64[np.ndarray, " items"]) -> float:
    real = column[np.isfinite(column)]
    return float(real.mean()) if len(real) else float("nan")
