"""Both directions at once: options ranked by a weighted sum of forward and backward scores, the weights fitted on some
items and tried on the others.

Source: noisy-channel ranking as arXiv:2507.01335 and arXiv:2502.18435 discuss it; all in nats.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int

from tenfold.errors import UsageError
from tenfold.nn.tensors import read_tensors
from tenfold.ordering.choices import comparison, rules
from tenfold.ordering.choices.comparison import Difference, MeanInterval
from tenfold.ordering.choices.scoring import ChoiceScores
from tenfold.runs.measurement import Measurement
from tenfold.settings.arguments import read_arguments
from tenfold.settings.checks import settings
from tenfold.training.streams import numpy_generator

_BACKWARD = (0.0, 1.0, *np.linspace(0.1, 0.9, 9).round(1).tolist())
_POWERS = (0.0, 1.0, 0.5)
_PRIORS = (0.0, 1.0, -1.0, 0.5, -0.5)


@settings
class RerankWeights:
    """s = (1 − w) log p(a | q) / N^α + w log p(q | a) / M^β + v log p(a), N and M the tokens of option and question.

    Every plain rule of tokens is one of these: the sum (w = α = v = 0), the mean (α = 1), paradigm 3 (w = 1), paradigm
    2 (w = v = 1), and, where both texts give an option the same log p(a), PMI (w = 0, v = −1).

    Attributes:
        backward: w, from 0 to 1.
        answer_power: α, 0 or more.
        question_power: β, 0 or more.
        prior: v.
    """

    backward: float = 0.0
    answer_power: float = 0.0
    question_power: float = 0.0
    prior: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.backward <= 1:
            raise UsageError(f"backward is {self.backward}; give a share from 0 (forward alone) to 1 (backward alone)")
        for name in ("answer_power", "question_power"):
            if not 0 <= getattr(self, name) <= 100:
                raise UsageError(f"{name} is {getattr(self, name)}; give a power from 0 (no length) to 100")
        if not abs(self.prior) <= 100:
            raise UsageError(f"prior is {self.prior}; give a number from -100 to 100")


@read_arguments
@read_tensors(infinite=("forward", "backward", "prior"))
def bidirectional(
    forward: Float64[np.ndarray, "*items options"],
    backward: Float64[np.ndarray, "*items options"],
    prior: Float64[np.ndarray, "*items options"],
    answer_tokens: Int[np.ndarray, "*items options"],
    question_tokens: Int[np.ndarray, "*items options"],
    weights: RerankWeights,
) -> Float64[np.ndarray, "*items options"]:
    """The score s of ``RerankWeights`` by log p(a | q), log p(q | a) and log p(a); options that an item lacks are −∞ in
    all three and stay so.

    Raises UsageError for a length below 1."""
    rules.require_lengths(answer_tokens)
    rules.require_lengths(question_tokens)
    missing = np.isneginf(forward)
    ahead, back, alone = (np.where(missing, 0.0, table) for table in (forward, backward, prior))
    score = (1 - weights.backward) * ahead / answer_tokens.astype(np.float64) ** weights.answer_power
    score += weights.backward * back / question_tokens.astype(np.float64) ** weights.question_power
    return np.where(missing, -np.inf, score + weights.prior * alone)


class Reranked(NamedTuple):
    """Weights, the accuracy on the items that fitted them (which flatters them), and that on the others, which no fit
    saw; ``differences`` are from each plain rule on the same other items."""

    weights: RerankWeights
    fitted: MeanInterval
    tested: MeanInterval
    fitted_items: int
    tested_items: int
    differences: Mapping[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "weights": vars(self.weights),
            "fitted": {**self.fitted._asdict(), "items": self.fitted_items},
            "tested": {**self.tested._asdict(), "items": self.tested_items},
            "differences": {
                name: {**found._asdict(), "beyond_noise": found.beyond_noise}
                for name, found in self.differences.items()
            },
        }

    def measurement(self) -> Measurement:
        """A row of ``evaluation.json``, of the items that no fit saw; the standard error is over items."""
        value, low, high = self.tested
        told = f"weights fitted on {self.fitted_items} others; 95 % interval {low:.4f} to {high:.4f}"
        error = float(np.sqrt(value * (1 - value) / self.tested_items))
        return Measurement("accuracy", value, "", "held out", "re-ranked", error, note=told)


@read_arguments
def rerank(
    scores: ChoiceScores,
    backward: ChoiceScores | None = None,
    *,
    share: float = 0.5,
    seed: int = 0,
    resamples: int = 1000,
) -> Reranked:
    """Fit the weights on a share of the items, and measure them on the rest.

    The weights are those of a grid that answer most items rightly; of equals the first, plain rules before mixtures.

    Args:
        scores: with forward sums; and with backward ones, where ``backward`` is left out.
        backward: the same items under another model, one that reads right to left say: its log p(q | a) and log p(a).
        share: of the items that fit; which they are depends on the seed alone.
        seed: of the split and the bootstrap.
        resamples: of the bootstrap.

    Raises UsageError for scores without one of the directions, of other items, and a share that leaves no item to fit
    or to try."""
    other = scores if backward is None else backward
    if not scores.forward or not other.backward:
        raise UsageError("re-ranking needs both directions; ask for a forward rule and for a paradigm")
    if list(other.items) != list(scores.items):
        raise UsageError("the two models scored other items; score the same ones in the same order")
    count = len(scores.items)
    size = round(share * count) if 0 < share < 1 else 0  # NaN too
    if not 1 <= size < count:
        raise UsageError(
            f"a share of {share} of {count} items leaves none to fit the weights, or none to try them; give a number "
            "between 0 and 1, and more items"
        )
    fits = np.zeros(count, bool)
    fits[numpy_generator(seed, "rerank-split").permutation(count)[:size]] = True
    total = rules.ragged([one.total.tolist() for one in scores.forward])
    question = rules.ragged([one.question.tolist() for one in other.backward])
    prior = rules.ragged([one.answer.tolist() for one in other.backward])
    sizes = rules.lengths([one.tokens.tolist() for one in scores.forward])
    asked = rules.lengths([one.question_tokens.tolist() for one in other.backward])
    answers = scores.answers

    def hits(weights: RerankWeights, which: Bool[np.ndarray, " items"]) -> Bool[np.ndarray, " some"]:
        ranked = bidirectional(total[which], question[which], prior[which], sizes[which], asked[which], weights)
        return rules.correct(ranked, answers[which])

    # Combinations that no weight tells apart are tried once: α without a forward part, β without a backward one.
    grid = [
        RerankWeights(w, a, b, v)
        for v, w, a, b in itertools.product(_PRIORS, _BACKWARD, _POWERS, _POWERS)
        if not (w == 0 and b) and not (w == 1 and a)
    ]
    best = max(grid, key=lambda weights: int(hits(weights, fits).sum()))
    right = hits(best, ~fits)
    plain = scores.by_rule() if backward is None else {**scores.by_rule(), **_backward_rules(other)}
    differences = {
        name: comparison.compare(right, rules.correct(table[~fits], answers[~fits]), seed=seed, resamples=resamples)
        for name, table in plain.items()
    }
    known, unknown = (
        comparison.bootstrap(found.astype(np.float64), seed=seed, resamples=resamples)
        for found in (hits(best, fits), right)
    )
    return Reranked(best, known, unknown, size, count - size, differences)


def _backward_rules(scores: ChoiceScores) -> dict[str, Float64[np.ndarray, "items options"]]:
    return {name: table for name, table in scores.by_rule().items() if name.startswith("paradigm")}
