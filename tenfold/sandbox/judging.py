"""Programs, their tests, and verdicts: two jailed processes, and this one that passes messages between them.

The program's process loads the program and computes; the judge's process runs the tests, whose calls of the program's
functions come here and go on to the program. Whatever the program writes is a value of a call to the judge, and nothing
else: the verdict comes on the judge's own pipe."""

import ast
import builtins
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tenfold.errors import UsageError
from tenfold.sandbox.inside import guest, judge, wire
from tenfold.sandbox.jail import Gone, Jail, JailError, Late, TooLong
from tenfold.sandbox.limits import Limits
from tenfold.settings.arguments import read_arguments
from tenfold.settings.checks import settings

Status = Literal["passed", "failed", "error", "timed out", "memory", "killed", "no verdict"]
_BEGIN = 20.0  # seconds for the judge's interpreter to start


@settings
class Submission:
    """A program and the tests that it has to pass.

    Attributes:
        program: Python source, which nobody trusts.
        tests: Python source that calls functions of the program; it passes unless it raises.
        functions: names of the program's functions that the tests call; "" for every free name of the tests.
        context: trusted source that the tests need besides (imports, helpers); it runs with the tests.
    """

    program: str
    tests: str
    functions: tuple[str, ...] = ()
    context: str = ""

    def __post_init__(self) -> None:
        for name in self.functions:
            if not name.isidentifier():
                raise UsageError(f"functions holds {name!r}; give names of functions")


@dataclass(frozen=True)
class Verdict:
    """What came of a submission.

    ``status`` is "passed", "failed" (a test raised), "error" (the program does not load), "timed out", "memory",
    "killed" (it ended, or was ended by the kernel, before the tests were over), or "no verdict" (the tests themselves
    are no Python, or ended their own process). ``text`` says more; ``seconds`` is wall-clock time."""

    status: Status
    text: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether every line of the tests ran."""
        return self.status == "passed"


@read_arguments
def free_names(tests: str, context: str = "") -> tuple[str, ...]:
    """Names that the tests read, and that neither they nor the context nor Python define: the program's functions.

    >>> free_names("assert area(Shape(2)) == max(4, x)\\nfor x in []: pass")
    ('Shape', 'area')
    """
    used: set[str] = set()
    made = set(dir(builtins))
    for source in (tests, context):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ()  # the judge says what is wrong
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                (used if isinstance(node.ctx, ast.Load) and source is tests else made).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                made.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                made.add(node.name)
    return tuple(sorted(used - made))


class Bench:
    """A worker: one judge that stays, and a fresh jail for each program."""

    def __init__(self, limits: Limits, slot: int = 0) -> None:
        self.limits, self._slot = limits, slot
        self._judge: Jail | None = None
        self._midway = False  # whether the judge is in a case

    def judge(self, submission: Submission) -> Verdict:
        """The verdict of a submission. Raises JailError where no jail can be made."""
        began = time.monotonic()
        try:
            status, text = self._judged(submission)
        finally:
            if self._midway:
                self.close()  # what the judge says next would be of this case
        return Verdict(status, text, time.monotonic() - began)

    def _judged(self, submission: Submission) -> tuple[Status, str]:
        judging = self._ready()
        program = Jail(guest, self.limits, 2 * self._slot)
        end = time.monotonic() + self.limits.seconds
        try:
            program.begin(submission.program, end)
            loaded = program.receive(end)
            if loaded != _LOADED:
                return _not_loaded(loaded)
            functions = list(submission.functions or free_names(submission.tests, submission.context))
            self._midway = True
            judging.send(wire.encode([submission.context, submission.tests, functions]), end)
            return self._relayed(program, judging, end)
        except Late:
            return "timed out", f"more than {self.limits.seconds:g} seconds"
        except TooLong:
            return "failed", f"a message longer than {self.limits.message} KiB, or none at all"
        except Gone:
            if program.overrun:
                return "memory", f"all processes together took more than {self.limits.together} MiB"
            return "killed", f"the program's process ended with exit code {program.ended(end)}"
        finally:
            program.close()

    def _relayed(self, program: Jail, judging: Jail, end: float) -> tuple[Status, str]:
        """Calls to the program and answers to the judge, until this has a verdict."""
        verdict: tuple[Status, str] = "no verdict", "the tests ended their process"
        while True:
            try:
                said: Any = wire.decode(judging.receive(end))
            except Gone:
                return "no verdict", "the tests ended the judge"
            except (ValueError, TypeError, RecursionError):
                return "no verdict", "the tests wrote to descriptors that are not their own"
            match said:
                case ["call", name, given, named]:
                    program.send(wire.encode([name, given, named]), end)
                    judging.send(program.receive(end), end)
                case ["verdict", status, str(text)] if status in get_args(Status):
                    verdict = status, text
                case ["over", _]:
                    self._midway = False
                    return verdict

    def _ready(self) -> Jail:
        if self._judge is None:
            self._judge = Jail(judge, self.limits, 2 * self._slot + 1)
            end = time.monotonic() + _BEGIN
            try:
                self._judge.begin("", end)
                self._judge.receive(end)
            except (Late, Gone, TooLong):
                self.close()
                raise JailError("the judge's interpreter does not start in its jail; see 'tenfold sandbox'") from None
        return self._judge

    def close(self) -> None:
        """End the judge."""
        if self._judge is not None:
            self._judge.close()
            self._judge, self._midway = None, False


_LOADED = wire.encode({"value": None})


def _not_loaded(answer: bytes) -> tuple[Status, str]:
    """Why a program did not load, in its own words."""
    try:
        match wire.decode(answer):
            case {"error": str(name), "text": str(text)}:
                return "memory" if name == "MemoryError" else "error", f"{name}: {text}".rstrip(": ")
    except (ValueError, TypeError, RecursionError):
        pass
    return "error", "the program wrote to descriptors that are not its own"


def check_submission(submission: object) -> Submission:
    """Raises UsageError for what is no submission."""
    if not isinstance(submission, Submission):
        raise UsageError(f"a submission is {type(submission).__name__}; make it with Submission(program, tests)")
    return submission
