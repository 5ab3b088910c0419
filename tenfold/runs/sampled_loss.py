"""A loss estimate as a function of the uniform numbers that it draws: what a sampler of times or noise can improve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenfold.errors import UsageError


@dataclass(frozen=True)
class SampledLoss:
    """``loss`` maps uniform numbers in [0, 1)^dim, an array (n, dim), to n estimates with the same mean; what else is
    random in them is drawn inside. A task gives those of its trained model by ``sampled_losses()``.

    Attributes:
        name: what is estimated.
        dim: numbers an estimate needs.
        loss: the estimates, as an array (n,).
        batch: estimates that are drawn together, so that a sampler can spread their points.
        batches: of them in a mean.
        repeats: means, of which the variance is taken.
    """

    name: str
    dim: int
    loss: Callable[[Any], Any]
    batch: int
    batches: int
    repeats: int


LossesOf = Callable[[str], list[SampledLoss]]
_reader: LossesOf | None = None


def read_losses_by(reader: LossesOf) -> None:
    """Say how the losses of a trained run are found: what knows every system says it once, at the start."""
    global _reader
    _reader = reader


def losses_of(run: str) -> list[SampledLoss]:
    """The losses of the trained run in a folder. Raises UsageError for a run of a system that draws nothing."""
    if _reader is None:
        raise UsageError(f"nothing here reads trained runs such as {run}; use the command tenfold, or tenfold.api")
    return _reader(run)
