"""What the user sees while a run trains: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tenfold.progress import SECONDS_BETWEEN_LINES, clock


class TrainingProgress:
    """``show(step, loss)`` after each metric record; rate and ETA come from the steps of this process."""

    def __init__(self, steps: int, start: int, active: bool) -> None:
        self.steps, self.start, self.active = steps, start, active
        self._began = time.monotonic()
        self._last_line = float("-inf")
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        if active and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=steps, completed=start, detail="")

    def __enter__(self) -> "TrainingProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, step: int) -> None:
        """Move the bar to ``step`` finished updates."""
        if self._bar is not None:
            self._bar.update(self._task, completed=step)

    def show(self, step: int, loss: float) -> None:
        """Tell loss, rate and remaining time after ``step`` updates."""
        if not self.active:
            return
        rate = (step - self.start) / max(1e-9, time.monotonic() - self._began)
        left = (self.steps - step) / rate if rate > 0 else 0.0
        detail = f"loss {loss:.4g}  {rate:.3g} steps/s  eta {clock(left)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, detail=detail)
        elif step == self.steps or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"step {step}/{self.steps}  {detail}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """One line about something the user should know."""
        if not self.active:
            return
        if self._bar is not None:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)
