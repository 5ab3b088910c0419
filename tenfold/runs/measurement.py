"""One measured value, as every report, table and ``evaluation.json`` holds it; and the units."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tenfold.errors import UsageError


@dataclass(frozen=True)
class Measurement:
    """A row of ``evaluation.json``.

    ``value`` is in ``unit``; ``standard_error`` (same unit) and ``draws`` say how a Monte-Carlo value was
    averaged; ``model`` names the trained model or the baseline that the row is about.
    """

    name: str
    value: float
    unit: str = ""
    split: str = ""
    model: str = ""
    standard_error: float | None = None
    draws: int | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary without the empty optional fields, and without an error that is no number."""
        known = {k: v for k, v in asdict(self).items() if v is not None and v != ""}
        if self.standard_error is not None and not math.isfinite(self.standard_error):
            del known["standard_error"]
        return known

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "Measurement":
        """The row that ``to_dict`` gave; a value that JSON could not hold is NaN. TypeError for what is no row."""
        value = row.get("value")
        return cls(**{**row, "value": math.nan if value is None else value})


def nats_to_bits(nats: float) -> float:
    """Nats to bits: divide by ln 2."""
    return nats / math.log(2.0)


def bits_per_dim(log_prob_nats: float, dimensions: int) -> float:
    """−log2 p(x) per dimension from a **summed** log-probability in nats.

    >>> round(bits_per_dim(-64 * math.log(2.0), 64), 6)
    1.0
    """
    return -nats_to_bits(log_prob_nats) / dimensions


def bits_per_character(log_prob_nats: float, characters: int) -> float:
    """−log2 p(text) per character from a summed log-probability in nats."""
    return bits_per_dim(log_prob_nats, characters)


def perplexity(log_prob_nats: float, tokens: int) -> float:
    """exp of the mean negative log-probability per token."""
    return math.exp(-log_prob_nats / tokens)


def interval(mean: float, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of the mean of ``count`` independent numbers in [0, 1]: that of a share, and so wide for other
    numbers, whose variance is at most mean (1 − mean). It has a width at 0 and 1 too.

    >>> [round(end, 3) for end in interval(0.0, 164)]
    [0.0, 0.023]

    Raises UsageError for a mean outside [0, 1] and a count below 1."""
    if not -1e-9 <= mean <= 1 + 1e-9 or not count >= 1:
        raise UsageError(f"the mean is {mean} of {count} numbers; give one in [0, 1], of at least 1")
    mean = min(1.0, max(0.0, mean))
    spread = z * math.sqrt(mean * (1 - mean) / count + (z / (2 * count)) ** 2)
    middle, scale = mean + z * z / (2 * count), 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
