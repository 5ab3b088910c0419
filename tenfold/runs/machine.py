"""The machine: what a measurement of time depends on besides the software, and how much memory is left."""

import os
import platform
from collections.abc import Iterable, Iterator
from pathlib import Path

from tenfold.errors import UsageError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def cpu_name() -> str:
    """The processor's model, in the words of the system."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or platform.machine()


def free_memory() -> int:
    """Bytes that this process can still take: what the system, a container's limit and the process' own limit leave;
    2^62 where nothing tells."""
    return min(_limits())


def _limits() -> Iterator[int]:
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


def require_memory(size: float, what: str, fix: str, free: int | None = None) -> None:
    """Raise UsageError where ``what`` takes more bytes than are ``free``, of this process' memory by default; ``fix``
    tells what to do."""
    free = free_memory() if free is None else free
    if size > free:
        need, there = (f"{amount / 2**30:.3g} GiB" for amount in (size, free))
        raise UsageError(f"{what} would need about {need} of memory, but {there} are available; {fix}")


# What starts several processes tells them so under these names; torchrun's are what training reads.
_TOLD = {"SLURM_STEP_NUM_TASKS": "srun", "OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpiexec"}


def require_announced() -> None:
    """Raise UsageError where several processes were started which know nothing of each other, so that each would train
    the same run by itself."""
    if "WORLD_SIZE" in os.environ:
        return
    for name, program in _TOLD.items():
        count = os.environ.get(name, "1")
        if count.isdigit() and int(count) > 1:
            raise UsageError(
                f"{program} started {count} processes, which know nothing of each other; let it start one on each "
                "machine, and that 'torchrun --nnodes MACHINES --nproc-per-node PROCESSES --rdzv-backend c10d "
                "--rdzv-endpoint FIRST_MACHINE:29500 -m tenfold.cli.main train ...'"
            )


def require_own_precision(precision: str) -> None:
    """Raise UsageError where Accelerate's launcher was told of another precision than ``train.precision``."""
    told, own = os.environ.get("ACCELERATE_MIXED_PRECISION", "no"), {"fp32": "no"}.get(precision, precision)
    if told not in ("no", own):
        raise UsageError(
            f"accelerate was launched with mixed_precision {told!r}, but train.precision is {precision!r}; set "
            "train.precision (fp32 or bf16), and leave mixed_precision away"
        )


def require_weights(files: Iterable[Path], source: object) -> None:
    """Raise UsageError where the weights in ``files`` of ``source`` do not fit into memory: the network, and what it is
    filled with."""
    size = sum(file.stat().st_size for file in files)
    require_memory(2 * size, f"reading the weights of {source}", "take a smaller model, or make room for this one")
