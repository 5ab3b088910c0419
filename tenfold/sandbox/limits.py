"""What a program may use."""

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

MIB = 2**20


@settings
class Limits:
    """Limits of one program; each holds for whatever processes it starts.

    Attributes:
        seconds: of wall-clock time, loading and all calls together; also of CPU time of each process.
        memory: address space of each process (MiB).
        together: memory of all processes and the temporary directory together (MiB), where control groups can be made.
        processes: processes and threads together.
        files: open files of each process.
        disk: the private temporary directory (MiB), in memory; also the largest file.
        message: longest value that is told or asked for (KiB).
    """

    seconds: float = 5.0
    memory: int = 512
    together: int = 1024
    processes: int = 16
    files: int = 64
    disk: int = 16
    message: int = 1024

    def __post_init__(self) -> None:
        at_least(self, "limits", memory=64, together=64, processes=1, files=16, disk=1, message=1)
        if not self.seconds > 0:
            raise UsageError(f"limits.seconds is {self.seconds}; give a positive time")

    @property
    def resources(self) -> dict[str, int]:
        """By name of the standard library's ``resource``."""
        return {
            "RLIMIT_AS": self.memory * MIB,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_NOFILE": self.files,
            "RLIMIT_FSIZE": self.disk * MIB,
            "RLIMIT_CPU": int(self.seconds) + 2,
            "RLIMIT_STACK": 8 * MIB,
            "RLIMIT_CORE": 0,
            "RLIMIT_MSGQUEUE": 0,
            "RLIMIT_MEMLOCK": 0,
        }
