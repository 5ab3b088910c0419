"""How much memory there is, so that what does not fit is refused in a sentence before it is begun."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch

from tenfold.errors import UsageError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def free_bytes(device: torch.device) -> int:
    """Bytes that can still be taken on a device: of the CPU what the system, a container's limit and the process' own
    limit leave; 2^62 where nothing tells."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_free()) if device.type == "cpu" else 1 << 62


def _free() -> Iterator[int]:
    yield 1 << 62
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource is not None else -1
        if limit >= 0:
            yield max(0, limit - used)
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        group = Path("/sys/fs/cgroup")
        taken = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        yield max(0, int((group / "memory.max").read_text()) - taken + cached)
    except (OSError, ValueError, IndexError, StopIteration):
        return


def require(size: float, device: torch.device, what: str, fix: str) -> None:
    """Raise UsageError where ``what`` takes more than there is; ``fix`` tells what to do."""
    if size > (free := free_bytes(device)):
        raise UsageError(
            f"{what} would take about {size / 2**30:.1f} GiB of memory, but {free / 2**30:.1f} GiB are free; {fix}"
        )
