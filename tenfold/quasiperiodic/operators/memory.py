"""Saying how much memory and time something needs before it starts."""

import os

from tenfold.errors import UsageError
from tenfold.progress import clock, note


def available() -> int:
    """Bytes of memory that are free or can be freed, as the system tells; 16 GiB where it does not."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return 16 << 30


def require(size: float, what: str) -> None:
    """UsageError when ``size`` bytes exceed the memory that is available."""
    free = available()
    if size > free:
        raise UsageError(
            f"{what} would need {size / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are available; "
            "choose a smaller box, fewer times or a smaller batch"
        )


def foresee(seconds: float, what: str, instead: str) -> None:
    """Say what work of minutes costs, and what is cheaper ``instead``; UsageError for more than a day of it."""
    if seconds > 86400:
        raise UsageError(f"{what} would take about {seconds / 86400:.3g} days; {instead}")
    if seconds > 60:
        note(f"{what} takes about {clock(seconds)}; {instead}")
