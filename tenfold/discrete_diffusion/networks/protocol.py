"""What predicts clean tokens, as bounds and samplers ask it."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from tenfold.discrete.paths import Source, View
from tenfold.discrete.schedules import Schedule


@runtime_checkable
class Denoiser(Protocol):
    """``model(noisy, time)`` gives log-probabilities (b, n, V) of ``view``; with ``rows`` (b, n) bool, of the chosen
    tokens alone, (k, V). The time may be left out where ``time_conditioned`` is False."""

    source: Source
    view: View
    time_conditioned: bool

    def __call__(self, noisy: Tensor, time: Tensor | None = None, rows: Tensor | None = None) -> Tensor: ...


@runtime_checkable
class DenoisingNetwork(Denoiser, Protocol):
    """The same with parameters, whose precision times are given in."""

    def parameters(self) -> Iterator[nn.Parameter]: ...


@runtime_checkable
class ScheduledNetwork(DenoisingNetwork, Protocol):
    """The same with the schedule of its noise."""

    schedule: Schedule
