"""Saying how much memory and time something needs before it starts."""

from tenfold.errors import UsageError
from tenfold.progress import clock, note
from tenfold.runs.machine import free_memory as available
from tenfold.runs.machine import require_memory


def require(size: float, what: str) -> None:
    """UsageError when ``size`` bytes exceed the memory that is available."""
    require_memory(size, what, "choose a smaller box, fewer times or a smaller batch", available())


def foresee(seconds: float, what: str, instead: str) -> None:
    """Say what work of minutes costs, and what is cheaper ``instead``; UsageError for more than a day of it."""
    if seconds > 86400:
        raise UsageError(f"{what} would take about {seconds / 86400:.3g} days; {instead}")
    if seconds > 60:
        note(f"{what} takes about {clock(seconds)}; {instead}")
