"""SIGINT and SIGTERM asked politely: note the signal, let the step end, save, and say how to resume."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from tenfold.errors import TenfoldError


class Interrupted(TenfoldError):
    """The run was stopped by a signal after its state had been saved; the message says how to resume. The command
    leaves with 130 as after SIGINT, as shells have it, whichever signal it was: the same line goes on."""

    exit_code = 130


class StopSignals:
    """While entered, the first SIGINT or SIGTERM sets ``received``; a second SIGINT stops at once.

    Outside the main thread, where Python allows no handlers, nothing is changed.
    """

    def __init__(self) -> None:
        self.received = ""
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name
