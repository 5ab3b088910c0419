"""How sure an accuracy is, whether two rules differ beyond noise, and whether probabilities are calibrated.

Items are the sample: intervals are over which items happened to be asked, not over trainings.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import binomtest

from tenfold.errors import UsageError
from tenfold.nn.tensors import read_tensors
from tenfold.ordering.choices.rules import require_answers
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import numpy_generator

_MOST = 10**7  # resamples, or bins
_AT_ONCE = 2**22  # drawn indices that are held at a time


class MeanInterval(NamedTuple):
    """A mean over items, and its interval of 95 % by the percentiles of the bootstrap."""

    value: float
    low: float
    high: float


@read_arguments
@read_tensors()
def bootstrap(values: Float64[np.ndarray, " items"], *, seed: int = 0, resamples: int = 1000) -> MeanInterval:
    """The mean of a value per item, with the interval that holds 95 % of its means over items drawn with replacement.

    Raises UsageError for no items, values that are not finite, and fewer than 100 resamples."""
    if not len(values) or not np.isfinite(values).all():
        raise UsageError("values must be finite, one for each of at least one item")
    if not 100 <= resamples <= _MOST:
        raise UsageError(
            f"resamples is {resamples}; give at least 100, or an interval of 95 % means nothing, and at most {_MOST:,}"
        )
    count = len(values)
    rows = max(1, _AT_ONCE // count)
    means = np.concatenate(
        [
            values[
                numpy_generator(seed, "bootstrap", first).integers(0, count, (min(rows, resamples - first), count))
            ].mean(1)
            for first in range(0, resamples, rows)
        ]
    )
    low, high = np.percentile(means, (2.5, 97.5))
    return MeanInterval(float(values.mean()), float(low), float(high))


class Difference(NamedTuple):
    """The accuracy of one rule less another's on the same items.

    ``p_value`` is McNemar's exact test on the items that only one of them answers; ``beyond_noise`` says whether the
    interval of 95 % lies on one side of 0."""

    value: float
    low: float
    high: float
    only_first: int
    only_second: int
    p_value: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


@read_arguments
@read_tensors()
def compare(
    first: Bool[np.ndarray, " items"], second: Bool[np.ndarray, " items"], *, seed: int = 0, resamples: int = 1000
) -> Difference:
    """Paired: both rules meet the same resampled items (the bootstrap), and only items on which they disagree count
    (McNemar, "Note on the sampling error of the difference between correlated proportions", 1947)."""
    one, two = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = float(binomtest(one, one + two).pvalue) if one + two else 1.0
    mean = bootstrap(first.astype(np.float64) - second, seed=seed, resamples=resamples)
    return Difference(*mean, one, two, p_value)


@read_tensors()
def brier(
    probabilities: Float64[np.ndarray, "items options"], answer: Int64[np.ndarray, " items"]
) -> Float64[np.ndarray, " items"]:
    """Σ_i (p_i − [i is right])² for each item: 0 is certain and right, 2 certain and wrong. Items may be ragged.

    Raises UsageError for rows that are no probabilities, and answers that are no option."""
    _require_probabilities(probabilities, answer)
    right = np.arange(probabilities.shape[1]) == answer[:, None]
    return np.asarray(((probabilities - right) ** 2).sum(1), np.float64)


def _require_probabilities(
    probabilities: Float64[np.ndarray, "items options"], answer: Int64[np.ndarray, " items"]
) -> None:
    wrong = (probabilities < 0).any(1) | (np.abs(probabilities.sum(1) - 1) > 1e-6)
    if wrong.any():
        row = int(wrong.argmax())
        total = probabilities[row].sum()
        raise UsageError(f"row {row} of probabilities adds up to {total:g}; give a softmax over options")

    require_answers(answer, probabilities.shape[1])


class Reliability(NamedTuple):
    """Items by the probability of the option that they pick, in bins of equal width; means are NaN in empty bins."""

    edges: Float64[np.ndarray, " edges"]
    counts: Int64[np.ndarray, " bins"]
    confidence: Float64[np.ndarray, " bins"]
    accuracy: Float64[np.ndarray, " bins"]

    @property
    def error(self) -> float:
        """The expected calibration error: Σ (counts / items) |accuracy − confidence|."""
        filled = self.counts > 0
        gap = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.counts[filled] * gap).sum() / self.counts.sum())


@read_arguments
@read_tensors()
def reliability(
    probabilities: Float64[np.ndarray, "items options"], answer: Int64[np.ndarray, " items"], *, bins: int = 10
) -> Reliability:
    """How often items whose pick has a given probability are right (Guo et al., arXiv:1706.04599, equation 3).

    Bins are (edge, next edge]. Raises UsageError for fewer than one bin, for no items, rows that are no probabilities,
    and answers that are no option."""
    if not 1 <= bins <= _MOST or not len(answer):
        raise UsageError(f"bins is {bins} and there are {len(answer)} items; give at least one of both")
    _require_probabilities(probabilities, answer)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == answer
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, weights, bins) / count for weights in (confidence, right.astype(np.float64))]
    return Reliability(edges, count.astype(np.int64), *means)
