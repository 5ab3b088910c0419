"""What work will cost, said before it starts: memory that is not there is refused, minutes are announced."""

import os
import warnings
from pathlib import Path

from tenfold.errors import UsageError

SAID_FROM = 60.0
_LITTLE = 1 << 26  # bytes that are always there: asking costs more
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available() -> int:
    """Bytes of memory that this process can still get: of the machine, and within the limits set to it."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
        import resource

        limit, pages = resource.getrlimit(resource.RLIMIT_AS)[0], int(Path("/proc/self/statm").read_text().split()[0])
        found += [] if limit == resource.RLIM_INFINITY else [limit - pages * resource.getpagesize()]
        texts = [path.read_text().strip() for path in map(Path, _LIMITS) if path.exists()]
        found += [int(text) for text in texts if text.isdigit()]
    except (OSError, ValueError, ImportError):  # no Linux: the machine's memory
        pass
    return max(0, min(found))


def require(size: float, what: str, instead: str) -> None:
    """UsageError when ``size`` bytes exceed the memory that is available; ``instead`` says what to do."""
    if size < _LITTLE:
        return
    free = available()
    if size > free:
        raise UsageError(
            f"{what} would need {size / 2**30:.3g} GiB, but {free / 2**30:.3g} GiB are available; {instead}"
        )


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
