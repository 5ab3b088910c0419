"""How far long work is: library code tells it, and whoever started the work decides whether it is seen.

    with progress.task("bits per dimension", 16, "draws") as step:
        for draw in range(16):
            ...
            step()

Nothing is shown unless a caller asks for it with ``shown``, as every command does. Bars with a rate and the
remaining time then appear on a terminal, one below the other where tasks are nested; elsewhere a line comes at most
every ten seconds, in a notebook the first after one.
All of it goes to standard error. Work that other threads begin is not shown.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_IN_NOTEBOOKS = 1.0  # where somebody looks on, and no bars are drawn
_SECONDS_BETWEEN_UPDATES = 0.1
_FRAMES_PER_SECOND = 4  # each takes the processor away from the work
_SECONDS_UNTIL_SEEN = 0.5  # what is over sooner would only flicker


class Meter:
    """Some work under way: ``task()`` counts one unit of it as done, ``task(3)`` three.

    ``detail`` is a word about its state that is shown with it. An instance without a display is silent and costs a
    function call.
    """

    def __init__(
        self, name: str, total: float | None = None, unit: str = "", done: float = 0.0, display: "Display | None" = None
    ) -> None:
        self.name, self.total, self.unit, self.done, self.detail = name, total, unit, done, ""
        self._display, self._first, self._began, self._next = display, done, time.monotonic(), 0.0

    def __call__(self, amount: float = 1) -> None:
        if self._display is None:
            return
        self.done += amount
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN_UPDATES
            self._display.update(self)

    @property
    def state(self) -> str:
        """What is done of how much, the detail, the rate, and the time that is left."""
        if not self.done and not self.total:
            return self.detail
        # A unit of seconds is a budget of time, whose rate says nothing.
        timed = self.unit == "s"
        of = "" if self.total is None else f"/{self.total:,.0f}"
        words = [f"{self.done:,.0f}{of}{' s' if timed else ''}", self.detail]
        rate = (self.done - self._first) / max(1e-9, time.monotonic() - self._began)
        if rate > 0:
            words.append("" if timed else f"{rate:.3g} {self.unit}/s" if self.unit else f"{rate:.3g}/s")
            words.append("" if self.total is None else f"eta {clock(max(0.0, self.total - self.done) / rate)}")
        return "  ".join(word for word in words if word)


class Display:
    """Shows tasks: bars on a terminal, else a line now and then. ``transient`` bars vanish at the end."""

    def __init__(self, transient: bool = True, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars = _Bars(self._console, transient) if self._console.is_terminal else None
        self._shown: dict[Meter, Any] = {}
        self._last_line = time.monotonic()
        self._pause = _SECONDS_IN_NOTEBOOKS if self._console.is_jupyter else _SECONDS_BETWEEN_LINES

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the body runs, bars are drawn."""
        if self._bars is None:
            yield
        else:
            with self._bars:
                yield

    def start(self, task: Meter) -> None:
        """Show one more task."""
        number = None
        if self._bars is not None:
            name = "  " * len(self._shown) + task.name
            number = self._bars.add_task(name, total=task.total, completed=int(task.done), state=task.state)
        self._shown[task] = number

    def update(self, task: Meter) -> None:
        """Show the state of a task."""
        if self._bars is not None:
            self._bars.update(self._shown[task], completed=task.done, total=task.total, state=task.state)
        elif time.monotonic() - self._last_line >= self._pause:
            self._last_line = time.monotonic()
            self._pause = min(2 * self._pause, _SECONDS_BETWEEN_LINES)
            self.note(" > ".join(f"{t.name} {t.state}".rstrip() for t in self._shown))

    def finish(self, task: Meter) -> None:
        """Show a task no longer; the outermost one stays until the display ends."""
        self.update(task)
        number = self._shown.pop(task)
        if self._bars is not None and self._shown:
            self._bars.remove_task(number)

    def note(self, text: str) -> None:
        """One line of text, above the bars."""
        if self._bars is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Bars(Progress):
    """The bars of a display, without those of tasks that have hardly begun."""

    def __init__(self, console: Console, transient: bool) -> None:
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
        super().__init__(
            *columns, TimeElapsedColumn(), console=console, transient=transient, refresh_per_second=_FRAMES_PER_SECOND
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        """One table of all tasks that have run for a while."""
        yield self.make_tasks_table([t for t in self.tasks if t.finished or (t.elapsed or 0.0) > _SECONDS_UNTIL_SEEN])


_DISPLAY: ContextVar[Display | None] = ContextVar("display", default=None)


@contextmanager
def shown(what: str = "", *, transient: bool = True, display: Display | None = None) -> Iterator[None]:
    """Show the tasks that begin in the body, below one that is called ``what`` if there is such a name.

    Inside of another ``shown`` it only adds that task."""
    with ExitStack() as stack:
        if _DISPLAY.get() is None:
            display = display or Display(transient)
            stack.callback(_DISPLAY.reset, _DISPLAY.set(display))
            stack.enter_context(display.running())
        if what:
            stack.enter_context(task(what))
        yield


@contextmanager
def task(name: str, total: float | None = None, unit: str = "", *, done: float = 0.0) -> Iterator[Meter]:
    """Work of ``total`` units (None where nobody knows), ``done`` of which were done before; the body calls what it
    is given for each. ``unit`` "s" makes it a budget of seconds.

    >>> with task("sums", 3) as step:
    ...     for _ in range(3):
    ...         step()
    """
    display = _DISPLAY.get()
    work = Meter(name, total, unit, done, display)
    if display is None:
        yield work
        return
    display.start(work)
    try:
        yield work
    finally:
        display.finish(work)


def track(items: Iterable[T], name: str, unit: str = "") -> Iterator[T]:
    """``items``, counted as they are used up; one item alone is no task.

    >>> list(track("ab", "letters"))
    ['a', 'b']
    """
    if isinstance(items, Sized) and len(items) < 2:
        yield from items
        return
    with task(name, len(items) if isinstance(items, Sized) else None, unit) as step:
        for item in items:
            yield item
            step()


def note(text: str) -> None:
    """One line on standard error about something the user should know, shown or not."""
    (_DISPLAY.get() or Display()).note(text)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
