"""A process in a jail, and messages to and from it until a deadline."""

import json
import marshal
import os
import platform
import select
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType

from tenfold.errors import TenfoldError
from tenfold.sandbox import syscalls
from tenfold.sandbox.bubblewrap import ENVIRONMENT, command
from tenfold.sandbox.cgroups import ControlGroup, swept
from tenfold.sandbox.inside import guest, judge, wire
from tenfold.sandbox.limits import Limits

# Modules as compiled code: the interpreter in the jail is the one that runs this.
_BOOT = """
import sys, marshal
kind = type(sys)
for name, code in {codes!r}.items():
    parts = name.split(".")
    for end in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:end]), kind(".".join(parts[:end]))).__path__ = []
    module = sys.modules[name] = kind(name)
    exec(marshal.loads(code), module.__dict__)
main = module.main
del kind, name, code, parts, end, module, marshal, sys
main()
"""
_START = 20.0  # seconds in which a jail has to stand, on a busy machine
# Users that systemd hands out while it runs services: nobody has files of theirs.
_FIRST_USER, _USERS = 61184, 4336


class JailError(TenfoldError):
    """A jail could not be made."""


class Gone(Exception):
    """The process in the jail has ended, or closed its side."""


class Late(Exception):
    """The deadline is over."""


class TooLong(Exception):
    """A message is longer than the limit, or has no length."""


@cache
def script(main: ModuleType) -> str:
    """The script of a process."""
    modules = [wire, guest] if main is guest else [wire, guest, judge]
    texts = {m.__name__: Path(str(m.__file__)).read_text(encoding="utf-8") for m in modules}
    codes = {name: marshal.dumps(compile(text, name.rpartition(".")[2], "exec")) for name, text in texts.items()}
    return _BOOT.format(codes=codes)


@cache
def seccomp_filter() -> bytes:
    """Of this machine."""
    return syscalls.program(platform.machine())


class Jail:
    """A running process in a jail of its own.

    ``slot`` tells jails apart that run at the same time: started by root, each is a user of its own, so that one's
    processes do not count against another's limit."""

    def __init__(self, main: ModuleType, limits: Limits, slot: int = 0) -> None:
        self.limits, self._rest, self._init = limits, bytearray(), -1
        self._group = _group(limits)
        filtered, told, held = _filled(seccomp_filter()), os.pipe(), os.pipe()
        try:
            self._process = subprocess.Popen(
                command(limits, script(main), filtered, told[1], held[0]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=ENVIRONMENT,
                cwd="/",
                pass_fds=(filtered, told[1], held[0]),
                start_new_session=True,
            )
        except OSError as error:
            os.close(told[0])
            os.close(held[1])
            if self._group is not None:
                self._group.remove()
            raise JailError(f"bubblewrap cannot be started: {error}") from None
        finally:
            os.close(filtered)
            os.close(told[1])
            os.close(held[0])
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        try:
            self._open(told[0])
            os.write(held[1], b"1")
        except BaseException as error:
            told_why = self.complaint()
            self.close()
            if isinstance(error, BrokenPipeError | ProcessLookupError | Gone):
                raise JailError(f"bubblewrap made no jail: {told_why}") from None
            raise
        finally:
            os.close(told[0])
            os.close(held[1])
        self._user = _FIRST_USER + (os.getpid() * 61 + slot) % _USERS if os.geteuid() == 0 else None

    def _open(self, told: int) -> None:
        """Take hold of the first process of the jail, with which all others end."""
        text, end = b"", time.monotonic() + _START
        while b"}" not in text:
            ready, _, _ = select.select([told], [], [], max(0.0, end - time.monotonic()))
            part = os.read(told, 4096) if ready else b""
            if not part:
                raise Gone
            text += part
        number = json.loads(text)["child-pid"]
        self._init = os.pidfd_open(number)
        if self._group is not None:
            self._group.take(number)  # it waits, and has no children yet

    def complaint(self) -> str:
        """What bubblewrap or the interpreter in it said; it is ended."""
        self._process.kill()
        error = self._process.communicate()[1] or b""
        return " ".join(error.decode(errors="replace").split())[:300] or "it said nothing"

    def begin(self, program: str, deadline: float) -> None:
        """The first message: limits, user and program. Raises as ``send``."""
        self.send(wire.encode([self.limits.resources, self._user, program]), deadline)

    def send(self, message: bytes, deadline: float) -> None:
        """One encoded message, until the ``deadline`` of ``time.monotonic``. Raises Late, Gone, TooLong."""
        if len(message) > self.limits.message << 10:
            raise TooLong
        data = memoryview(wire.framed(message))
        while data:
            if not select.select([], [self._in], [], max(0.0, deadline - time.monotonic()))[1]:
                raise Late
            try:
                data = data[os.write(self._in, data) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Gone from None

    def receive(self, deadline: float) -> bytes:
        """The next message, still encoded. Raises Late, Gone, TooLong."""
        header = self._exactly(wire.HEADER, deadline)
        if not header.isdigit() or int(header) > self.limits.message << 10:
            raise TooLong
        return self._exactly(int(header), deadline)

    def _exactly(self, count: int, deadline: float) -> bytes:
        while len(self._rest) < count:
            if not select.select([self._out], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise Late
            try:
                part = os.read(self._out, 1 << 16)
            except BlockingIOError:
                continue
            if not part:
                raise Gone
            self._rest += part
        found, self._rest = bytes(self._rest[:count]), self._rest[count:]
        return found

    def close(self) -> int:
        """Kill everything in the jail, wait until nothing of it is left, and return the exit code of its process."""
        if self._init >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            os.close(self._init)
            self._init = -1
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        try:
            # Bubblewrap waits for the first process of the jail, which ends after all others.
            return self._process.wait(_START)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._group is not None:
                self._group.remove()

    @property
    def overrun(self) -> bool:
        """Whether all processes of the jail together took more memory than they may."""
        return self._group is not None and self._group.overrun

    def ended(self, deadline: float) -> int | None:
        """The exit code of a process that has ended by itself; None where it still runs."""
        try:
            return self._process.wait(max(0.0, min(1.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            return None


def _group(limits: Limits) -> ControlGroup | None:
    """The control group of a jail, where there can be one."""
    places = swept()
    try:
        return ControlGroup(limits, places) if places else None
    except OSError as error:
        raise JailError(f"a control group cannot be made: {error}") from None


def _filled(data: bytes) -> int:
    """A descriptor from which ``data`` (less than a pipe holds) can be read."""
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading
