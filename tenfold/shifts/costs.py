"""What work will cost, said before it starts: memory that is not there is refused, minutes are announced."""

import warnings

from tenfold.runs.machine import require_memory

SAID_FROM = 60.0
_LITTLE = 1 << 26  # bytes that are always there: asking costs more


def require(size: float, what: str, instead: str) -> None:
    """UsageError when ``size`` bytes exceed the memory that is available; ``instead`` says what to do."""
    if size >= _LITTLE:
        require_memory(size, what, instead)


def say(seconds: float, what: str, cheaper: str) -> None:
    """Warn about work of minutes, estimated by a short measurement; ``cheaper`` says what is quicker, and its error."""
    if seconds > SAID_FROM:
        time = (
            f"{seconds:.0f} s"
            if seconds < 180
            else f"{seconds / 60:.0f} min"
            if seconds < 7200
            else (f"{seconds / 3600:.3g} h")
        )
        warnings.warn(f"{what} will take about {time}; {cheaper}", stacklevel=3)
