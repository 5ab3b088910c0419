"""Rewards of texts that hold programs: their form, the tests that they pass, and weighted sums of any rewards.

A reward of texts is a function ``reward(texts, tasks)``: for each text, with what is known of its task, a finite
number; a text without one is an error."""

import ast
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, runtime_checkable

from tenfold.errors import UsageError
from tenfold.sandbox.judging import Submission
from tenfold.sandbox.pool import Sandbox
from tenfold.settings.arguments import read_all_arguments, read_arguments

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
_SHAPE = re.compile(r"(?:(?!```).)*```python\n(?:(?!```).)*```\n", re.DOTALL)


@runtime_checkable
class TextReward(Protocol):
    """Any function of texts and of what is known of their tasks."""

    def __call__(self, texts: Sequence[str], tasks: Sequence[Mapping[str, Any]], /) -> Sequence[float]: ...


@read_arguments
def fenced_program(text: str) -> str:
    """The first block of Python in a text; "" without one.

    >>> fenced_program("Here:\\n```python\\nx = 1\\n```\\n")
    'x = 1\\n'
    """
    found = _BLOCK.search(text)
    return found[1] if found else ""


@read_arguments
def parses(program: str) -> bool:
    """Whether a text is Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


@read_arguments
def format_reward(text: str) -> float:
    """1 for a text that ends in its only block of Python, which parses; 0.5 where that is no Python; else 0
    (arXiv 2506.20639, appendix B, before weighting)."""
    if not _SHAPE.fullmatch(text):
        return 0.0
    return 1.0 if parses(fenced_program(text)) else 0.5


@read_all_arguments
class TestReward:
    """The share of a task's tests that a program passes, each in a jail of its own; 1 or 0 with ``whole``.

    A task has "tests" (a list of Python sources, an assert each say), and perhaps "functions" and "context" (see
    ``tenfold.sandbox.Submission``). A test that times out costs that test.

    Args:
        sandbox: where programs run.
        whole: 1 only where all tests pass.
        fenced: the program is a text's fenced block, and texts that are not of the right form count 0 without being
            run; else the whole text is the program.
    """

    __test__ = False  # for pytest

    def __init__(self, sandbox: Sandbox, whole: bool = False, fenced: bool = True) -> None:
        if not hasattr(sandbox, "judge"):
            raise UsageError(f"the sandbox is {type(sandbox).__name__}; give a tenfold.sandbox.Sandbox")
        self.sandbox, self.whole, self.fenced = sandbox, whole, fenced

    def __call__(self, texts: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> list[float]:
        """A number in [0, 1] for each text. Raises UsageError for a task without tests, and texts without a task."""
        if len(texts) != len(tasks):
            raise UsageError(f"there are {len(texts)} texts and {len(tasks)} tasks; give a task for each text")
        places: list[tuple[int, int]] = []
        cases: list[Submission] = []
        for text, task in zip(texts, tasks, strict=True):
            tests = task.get("tests")
            if not isinstance(tests, list | tuple) or not tests or not all(isinstance(test, str) for test in tests):
                raise UsageError('a task has no "tests"; give a list of Python sources, an assert each say')
            first, program = len(cases), text
            if self.fenced:
                program = fenced_program(text) if format_reward(text) == 1.0 else ""
            if not self.fenced or program:
                functions, context = task.get("functions", ()), task.get("context", "")
                if isinstance(functions, str):
                    raise UsageError(f'a task\'s "functions" are the text {functions!r}; give a list of names')
                cases += [Submission(program, test, functions, context) for test in tests]
            places.append((first, len(cases)))
        passed = [verdict.passed for verdict in self.sandbox.judge(cases)]
        shares = [sum(passed[first:last]) / (last - first) if last > first else 0.0 for first, last in places]
        return [float(share == 1.0) for share in shares] if self.whole else shares


class WeightedReward:
    """Σ_i w_i R_i of named rewards of texts. Published for code: {"tests": (2.0, …), "format": (0.5, …)}."""

    def __init__(self, parts: Mapping[str, tuple[float, TextReward]]) -> None:
        if not parts:
            raise UsageError("a weighted reward has no parts; give at least one")
        for name, (weight, reward) in parts.items():
            if not isinstance(weight, Real) or isinstance(weight, bool) or not math.isfinite(weight):
                raise UsageError(f"the weight of the reward {name!r} is {weight!r}; give a finite number")
            if not callable(reward):
                raise UsageError(f"the reward {name!r} is {type(reward).__name__}; give a function of texts and tasks")
        self.parts = dict(parts)

    def __call__(self, texts: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> list[float]:
        """The sum for each text. Raises UsageError for a part that leaves a text without a finite number."""
        return self.total(self.each(texts, tasks))

    def each(self, texts: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Every part by its name, without its weight. Raises as the sum does."""
        return {name: checked_rewards(of(texts, tasks), len(texts), name) for name, (_, of) in self.parts.items()}

    def total(self, each: Mapping[str, Sequence[float]]) -> list[float]:
        """The weighted sum of ``each`` part."""
        weighted = ([self.parts[name][0] * value for value in values] for name, values in each.items())
        return [sum(values) for values in zip(*weighted, strict=True)]


def checked_rewards(found: object, count: int, name: str) -> list[float]:
    """Rewards, of any library of numbers, as floats. Raises UsageError where one is missing, no number, NaN or
    infinite."""
    if hasattr(found, "tolist"):  # an array or a tensor
        found = found.tolist()
    if not isinstance(found, list | tuple):
        raise UsageError(f"the reward {name!r} gave {type(found).__name__}; give a list of {count} numbers")
    if len(found) != count:
        raise UsageError(f"the reward {name!r} gave {len(found)} numbers for {count} texts; give one for each")
    made = []
    for place, value in enumerate(found):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise UsageError(f"the reward {name!r} gave {value!r} for text {place}; every text needs a finite number")
        made.append(float(value))
    return made


def form_only(texts: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> list[float]:
    """``format_reward`` as a reward of texts."""
    return [format_reward(text) for text in texts]
