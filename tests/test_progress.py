"""Progress: silent by default, bars on a terminal, a line now and then elsewhere."""

import io
import threading
from types import SimpleNamespace

import pytest
from rich.console import Console

from tenfold import progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which only moves when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def terminal() -> tuple[progress.Display, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    return progress.Display(console=console), out


def test_nothing_is_shown_unless_someone_asks(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress.task("sums", 3) as step:
        clock[0] = 100.0
        step()
    assert list(progress.track(range(3), "numbers")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_lines_come_at_most_every_ten_seconds(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress.shown("evaluating"), progress.task("draws", 1000, "draws") as step:
        for number in range(60):
            clock[0] = 0.5 * (number + 1)
            step(5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "evaluating > draws 100/1,000  10 draws/s  eta 1:30",
        "evaluating > draws 200/1,000  10 draws/s  eta 1:20",
        "evaluating > draws 300/1,000  10 draws/s  eta 1:10",
    ]


def test_quick_work_prints_no_line(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress.shown("evaluating"):
        for _ in progress.track(range(5), "draws"):
            clock[0] += 1.9
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_lines_come_sooner(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    """Nobody draws bars there, and somebody looks on: after 1, 3, 7 and 15 seconds, then every ten."""
    console = Console(file=io.StringIO(), force_jupyter=True)
    with progress.shown(display=progress.Display(console=console)), progress.task("draws", 100, "draws") as step:
        for number in range(40):
            clock[0] = float(number)
            step()
    seconds = [int(line.split()[1].split("/")[0]) - 1 for line in capsys.readouterr().err.splitlines()]
    assert seconds == [1, 3, 7, 15, 25, 35]


def test_the_rate_counts_from_where_this_process_began(clock: list[float]) -> None:
    work = progress.Meter("training", 100, "steps", done=50, display=progress.Display())
    work.detail = "loss 1"
    clock[0] = 5.0
    work.done += 10
    assert work.state == "60/100  loss 1  2 steps/s  eta 0:20"


@pytest.mark.parametrize(
    ("total", "unit", "state"),
    [
        (None, "", "20  4/s"),
        (None, "rows", "20  4 rows/s"),
        (80, "s", "20/80 s  eta 0:15"),
        (20, "", "20/20  4/s  eta 0:00"),
    ],
)
def test_what_is_said_about_other_totals(clock: list[float], total: float | None, unit: str, state: str) -> None:
    work = progress.Meter("work", total, unit, display=progress.Display())
    assert work.state == ("" if total is None else f"0/{total}" + (" s" if unit == "s" else ""))
    clock[0] = 5.0
    work.done = 20
    assert work.state == state


def test_bars_on_a_terminal_are_nested_and_have_rate_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS_UNTIL_SEEN", -1.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_UPDATES", 0.0)
    display, out = terminal()
    with progress.shown("evaluating", display=display), progress.task("draws", 4, "draws") as step:
        step()
        display._bars.refresh()
        progress.note("a note [with] brackets")
    text = out.getvalue()
    assert "evaluating" in text
    assert "  draws" in text
    assert "1/4  " in text
    assert "draws/s  eta 0:0" in text
    assert "a note [with] brackets" in text


def test_what_is_over_at_once_does_not_flicker() -> None:
    display, out = terminal()
    with progress.shown("evaluating", display=display):
        for _ in progress.track(range(3), "draws"):
            display._bars.refresh()
    assert "draws" not in out.getvalue()


def test_an_error_ends_its_tasks() -> None:
    display = progress.Display()

    def fail() -> None:
        with progress.shown("a", display=display), progress.task("b"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert display._shown == {}
    with progress.task("c") as step:
        assert step._display is None


def test_shown_inside_of_shown_adds_a_task(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with progress.shown("all"), progress.shown("part"), progress.shown(), progress.task("bit", 2) as step:
        clock[0] = 20.0
        step()
    assert capsys.readouterr().err.splitlines()[0] == "all > part > bit 1/2  0.05/s  eta 0:20"


def test_other_threads_are_not_shown() -> None:
    seen = []

    def work() -> None:
        with progress.task("elsewhere") as step:
            seen.append(step._display)

    with progress.shown("here"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [None]


def test_notes_without_a_display(capsys: pytest.CaptureFixture[str]) -> None:
    progress.note("something to know")
    assert capsys.readouterr() == ("", "something to know\n")
