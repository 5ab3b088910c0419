"""What isolates programs on this machine, found out by a program in a jail that tries to break out."""

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from tenfold.errors import TenfoldError
from tenfold.sandbox.bubblewrap import ENVIRONMENT
from tenfold.sandbox.cgroups import swept
from tenfold.sandbox.inside import guest, wire
from tenfold.sandbox.jail import Gone, Jail, Late, TooLong
from tenfold.sandbox.limits import Limits

_TRIES = """
import ctypes, os, resource, signal, socket

C = ctypes.CDLL(None, use_errno=True)

def refused(work):
    try:
        work()
    except OSError:
        return True
    return False

def called(number, *arguments):
    if C.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def children(most):
    made = []
    try:
        for _ in range(most):
            child = os.fork()
            if child == 0:
                signal.pause()
            made.append(child)
    except OSError:
        pass
    for child in made:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(made)

def fill(path, size):
    with open(path, "wb") as file:
        file.write(bytes(size))

def tries(processes, memory, disk):
    found = {}
    found["user"] = os.geteuid() != 0 or refused(lambda: os.setuid(0) or called(165, b"none", b"/tmp", b"tmpfs", 0, 0))
    found["processes"] = os.getpid() < 5 and not os.path.exists("/proc/self")
    found["files"] = refused(lambda: os.listdir("/home")) and refused(lambda: fill("/usr/lib/tenfold", 1)) and refused(
        lambda: fill("/tenfold", 1))
    found["network"] = refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    found["system calls"] = C.prctl(21, 0, 0, 0, 0) == 2
    found["privileges"] = C.prctl(39, 0, 0, 0, 0) == 1
    found["environment"] = sorted(os.environ) == %(environment)r and refused(lambda: os.fstat(7))
    found["process limit"] = children(processes + 8) <= processes
    try:
        bytearray(memory)
        found["memory limit"] = False
    except MemoryError:
        found["memory limit"] = True
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    found["disk limit"] = refused(lambda: [fill(f"/tmp/{k}", disk // 2 + 4096) for k in range(3)])
    return found
"""


_TOGETHER = """
import os, signal, time

def together(size):
    for _ in range(3):
        if os.fork() == 0:
            held = b"1" * size
            time.sleep(2)
            os._exit(0)
    return os.waitpid(-1, 0)[1] == signal.SIGKILL
"""


@dataclass(frozen=True)
class SandboxLayer:
    """One layer of the isolation: what it is for, whether it holds here, and whether nothing runs without it."""

    name: str
    what: str
    holds: bool
    required: bool = True


_LAYERS = {
    "user": "an unprivileged user",
    "processes": "a namespace of processes without /proc, which ends with its first process",
    "files": "read-only system files, no home directory",
    "network": "no network",
    "system calls": "a filter of system calls (seccomp)",
    "privileges": "no new privileges (setuid)",
    "environment": "no environment, no descriptors",
    "process limit": "a limit of processes",
    "memory limit": "a limit of memory of each process",
    "disk limit": "a limit of the private temporary directory",
}


@cache
def layers() -> tuple[SandboxLayer, ...]:
    """Every layer, tried in a jail; all but the memory of all processes together are required.

    Raises TenfoldError where no jail can be made."""
    limits = Limits(seconds=20.0)
    sizes = [limits.processes, limits.memory << 20, limits.disk << 20]
    found = _called(_TRIES % {"environment": sorted([*ENVIRONMENT, "PWD"])}, "tries", sizes, limits)
    required = [SandboxLayer(name, what, found.get(name) is True) for name, what in _LAYERS.items()]
    what = "a limit of the memory of all processes together, by a control group; not required"
    holds = bool(swept()) and _called(_TOGETHER, "together", [48 << 20], Limits(seconds=20.0, together=96)) is True
    return (*required, SandboxLayer("control group", what, holds, required=False))


def _called(program: str, function: str, given: list[int], limits: Limits) -> Any:
    """What a function of a program in a jail returns."""
    jail, end = Jail(guest, limits), time.monotonic() + limits.seconds
    try:
        jail.begin(program, end)
        jail.receive(end)
        jail.send(wire.encode([function, given, {}]), end)
        answer: Any = wire.decode(jail.receive(end))
    except (Late, Gone, TooLong):
        raise TenfoldError(f"the sandbox's jail does not work on this machine: {jail.complaint()}") from None
    finally:
        jail.close()
    if "value" not in answer:
        raise TenfoldError(f"the sandbox's jail does not work on this machine: {answer['error']}: {answer['text']}")
    return answer["value"]


def require_layers() -> None:
    """Raises TenfoldError unless every layer that is required holds."""
    missing = [layer.what for layer in layers() if layer.required and not layer.holds]
    if missing:
        raise TenfoldError(
            f"the sandbox runs no untrusted program here, because it lacks {'; '.join(missing)}; run it on a Linux "
            "machine that allows namespaces"
        )
