"""What work will cost, said before it starts: memory that is not there is refused, minutes are announced, and days are
refused unless they are allowed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.runs.machine import require_memory
from tenfold.settings.arguments import read_arguments

SAID_FROM = 30.0  # seconds
MOMENT = 0.2  # seconds of work that the time of the whole is estimated from
LITTLE = 1 << 26  # bytes that are always there: asking costs more
SMALLER = "choose a smaller box, fewer times or a smaller batch"
FEW = 16  # times as much work as a short measurement is not worth one
now = time.perf_counter
_DAYS: ContextVar[float] = ContextVar("days", default=1.0)


@read_arguments
@contextmanager
def patience(days: float) -> Iterator[None]:
    """Within the body, work of up to ``days`` days is begun; one day is what is begun without asking.

    >>> with patience(30):
    ...     pass

    Raises UsageError unless ``days`` is above 0."""
    if not days > 0:
        raise UsageError(f"days is {days}; expected a number above 0")
    before = _DAYS.set(days)
    try:
        yield
    finally:
        _DAYS.reset(before)


def require(size: float, what: str, instead: str = SMALLER) -> None:
    """UsageError when ``size`` bytes exceed the memory that is available; ``instead`` says what to do."""
    if size >= LITTLE:
        require_memory(size, what, instead)


def say(seconds: float, what: str, cheaper: str) -> bool:
    """Announce work of half a minute or more, and tell whether that was done; ``cheaper`` says what is quicker, and its
    error.

    Raises UsageError for work of more days than ``patience`` allows."""
    if seconds > _DAYS.get() * 86400:
        raise UsageError(
            f"{what} will take about {seconds / 86400:.3g} days; {cheaper}, or allow that with --days N (in Python: "
            "with tenfold.shifts.patience(days))"
        )
    if seconds <= SAID_FROM:
        return False
    time = (
        f"{seconds:.0f} s"
        if seconds < 180
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.3g} h"
    )
    progress.note(f"{what} will take about {time}; {cheaper}")
    return True


def hopeless(count: float, what: str, cheaper: str) -> None:
    """Refuse, before it begins, work of so many steps that it would take days at a nanosecond each."""
    if count * 1e-9 > _DAYS.get() * 86400:
        say(count * 1e-9, what, cheaper)


def foresee(
    part: Callable[[int], object], size: int, power: float, what: str, cheaper: str, small: int = 256, count: float = 1
) -> None:
    """Say what ``count`` computations of ``size`` take that grow with its ``power``, from one of size ``small``, which
    ``part`` does."""
    if size > small and size**power * count > FEW * small**power:
        began = now()
        part(small)
        say((now() - began) * (size / small) ** power * count, what, cheaper)


class Watch:
    """Says once, after a moment of work, how long the rest of it will take.

    >>> watch = Watch("adding two numbers", "adding one is quicker, and off by the other")
    >>> watch(1, 2)
    """

    def __init__(self, what: str, cheaper: str) -> None:
        self._what, self._cheaper, self._began, self._said = what, cheaper, now(), False

    def __call__(self, done: float, whole: float = 1.0) -> None:
        """``done`` of about ``whole`` units of the work are done."""
        if not self._said and done > 0 and (spent := now() - self._began) > MOMENT:
            self._said = say(spent * max(whole / done - 1, 0.0), self._what, self._cheaper)
