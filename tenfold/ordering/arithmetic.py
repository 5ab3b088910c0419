"""The study of arithmetic: strings whose entropies are known in each direction, exactly.

Operands of a fixed number of digits are uniform; the result follows. Written forward, the string is `m * n = p`,
reversed `p = m * n`, all with leading zeros and their most significant digit first. The joint entropy is the same
in every order, but where it sits is not: H(p | m, n) = 0, while H(m, n | p) = ln N − H(p) > 0.

The figure 1.49 that arXiv:2502.18435 gives for H(m, n | p) with four digits is ln(N / distinct results), the log of the
mean number of pairs for each result; the entropy weights results by how often they occur, and is 1.8742.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from tenfold.errors import UsageError
from tenfold.nn.tensors import read_tensors
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.runs.machine import require_memory
from tenfold.settings.arguments import read_arguments
from tenfold.settings.checks import at_least, settings
from tenfold.settings.values import read
from tenfold.training.streams import numpy_generator

Layout = Literal["forward", "reverse"]
Direction = Literal["l2r", "r2l"]
_AT_ONCE = 2**22  # results whose logarithms are taken at a time


@settings
class Arithmetic:
    """Two operands of ``digits`` digits from ``lowest`` (0 or more) up, and their product ("*") or sum ("+")."""

    digits: int = 2
    operation: Literal["*", "+"] = "*"
    lowest: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", digits=1, lowest=0)
        if self.lowest >= 10**self.digits:
            raise UsageError(f"lowest is {self.lowest}; give a number of at most {self.digits} digits")

    @property
    def result_digits(self) -> int:
        """How many digits a result is written with."""
        return 2 * self.digits if self.operation == "*" else self.digits + 1

    @property
    def length(self) -> int:
        """The digits of a string: both operands and the result."""
        return 2 * self.digits + self.result_digits

    @property
    def pairs(self) -> int:
        """How many ordered pairs of operands there are, all equally likely."""
        return (10**self.digits - self.lowest) ** 2

    @read_tensors()
    def result(self, first: Int64[np.ndarray, "*n"], second: Int64[np.ndarray, "*n"]) -> Int64[np.ndarray, "*n"]:
        """The product or the sum."""
        return first * second if self.operation == "*" else first + second

    @read_arguments
    def text(self, first: int, second: int, layout: str = "forward") -> tuple[str, str]:
        """Question and answer, their digits set apart by blanks.

        >>> Arithmetic(4).text(1928, 82)
        ('1 9 2 8 * 0 0 8 2 =', '0 0 1 5 8 0 9 6')
        """
        read(Layout, layout, "layout")
        operands = " ".join(f"{first:0{self.digits}d}{self.operation}{second:0{self.digits}d}")
        value = first * second if self.operation == "*" else first + second
        result = " ".join(f"{value:0{self.result_digits}d}")
        return (f"{operands} =", result) if layout == "forward" else (f"{result} =", operands)


@read_arguments
def operand_entropy(task: Arithmetic) -> float:
    """H(m, n | result) in nats: (1/N) Σ_p c_p ln c_p, c_p the pairs whose result is p.

    Raises UsageError where the table of results is beyond the memory at hand."""
    size, operands = 10**task.result_digits, range(task.lowest, 10**task.digits)
    require_memory(5 * size, f"counting {size:,} results", "ask for fewer digits")
    counts = np.zeros(size, np.int32)
    for first in operands:
        if first == 0 and task.operation == "*":
            counts[0] += len(operands)
        else:  # the results of one operand lie at equal distances, each once
            step = first if task.operation == "*" else 1
            start = first * task.lowest if task.operation == "*" else first + task.lowest
            counts[start : start + step * len(operands) : step] += 1
    total = 0.0
    for start in range(0, size, _AT_ONCE):
        part = counts[start : start + _AT_ONCE]
        repeated = part[part > 1].astype(np.float64)
        total += float((repeated * np.log(repeated)).sum())
    return total / task.pairs


@read_arguments
def mean_pairs(task: Arithmetic) -> float:
    """ln(N / distinct results), in nats: the paper's "theoretical" figure, which is no conditional entropy."""
    require_memory(16 * task.pairs, f"listing {task.pairs:,} pairs", "ask for fewer digits")
    operands = np.arange(task.lowest, 10**task.digits)
    distinct = np.unique(task.result(*np.broadcast_arrays(operands[:, None], operands[None])))
    return float(np.log(task.pairs / len(distinct)))


@read_arguments
def position_entropies(task: Arithmetic, layout: str, direction: str) -> Float64[np.ndarray, " length"]:
    """H(x_j | digits that were emitted before), in nats, for the digits of a string in the order of their emission.

    Args:
        task: the operands and the operation.
        layout: "forward" (m, n, p) or "reverse" (p, m, n); the operator and "=" are certain and left out.
        direction: "l2r", or "r2l", which emits the last digit first.

    Each list adds up to ln N. H(o_1 … o_j) = ln N − (1/N) Σ c ln c over the groups of strings that share their first
    j emitted digits. Raises UsageError for unknown names, and more strings than memory or 64 bits hold."""
    read(Layout, layout, "layout")
    read(Direction, direction, "direction")
    if task.length > 18:
        raise UsageError(f"digits is {task.digits}: strings of {task.length} digits; at most 18 can be enumerated")
    require_memory(40 * task.pairs, f"listing {task.pairs:,} strings", "ask for fewer digits")
    emitted = _emitted(task, layout, direction)
    emitted.sort()
    joint = np.array([_prefix_entropy(emitted // 10 ** (task.length - j)) for j in range(task.length + 1)])
    return np.diff(joint)


def _emitted(task: Arithmetic, layout: str, direction: str) -> Int64[np.ndarray, " pairs"]:
    """Every string as one number, whose most significant digit is emitted first: a prefix is a group's code."""
    operands = np.arange(task.lowest, 10**task.digits)
    first, second = (a.ravel() for a in np.meshgrid(operands, operands, indexing="ij"))
    parts = [(first, task.digits), (second, task.digits)]
    result = (task.result(first, second), task.result_digits)
    parts = [*parts, result] if layout == "forward" else [result, *parts]
    if direction == "r2l":
        parts = [(_mirrored(number, digits), digits) for number, digits in reversed(parts)]
    code = np.zeros(task.pairs, np.int64)
    for number, digits in parts:
        code = code * 10**digits + number
    return code


def _mirrored(number: Int64[np.ndarray, " n"], digits: int) -> Int64[np.ndarray, " n"]:
    mirrored = np.zeros_like(number)
    for _ in range(digits):
        number, last = np.divmod(number, 10)
        mirrored = mirrored * 10 + last
    return mirrored


def _prefix_entropy(codes: Int64[np.ndarray, " n"]) -> float:
    """The entropy of sorted codes, all entries equally likely."""
    borders = np.flatnonzero(np.diff(codes)) + 1
    counts = np.diff(np.concatenate([[0], borders, [len(codes)]])).astype(np.float64)
    return float(np.log(len(codes)) - (counts * np.log(counts)).sum() / len(codes))


@read_arguments
@read_tensors()
def arithmetic_items(
    task: Arithmetic,
    pairs: Int64[np.ndarray, "items 2"],
    *,
    layout: str = "forward",
    distractors: str = "clean",
    seed: int = 0,
) -> list[ChoiceItem]:
    """Items of four options; each wrong one differs from the answer in one digit, and the four differ from each other.

    Args:
        task: the operands and the operation.
        pairs: operands (m, n), one item each; an item's draws depend on seed and operands alone.
        layout: "forward" asks for the result, "reverse" for the operands.
        distractors: "any" takes whatever digit is changed, as the paper's study; "clean" no option that answers the
            question as well (the operands of the same product).
        seed: of the changed digits and the order of options.

    Raises UsageError for unknown names, operands that the task does not have, and a pair without three wrong options
    (0 * 0 where they are to be clean)."""
    read(Layout, layout, "layout")
    read(Literal["any", "clean"], distractors, "distractors")
    strange = pairs[((pairs < task.lowest) | (pairs >= 10**task.digits)).any(1)]
    if len(strange):
        raise UsageError(f"pairs hold {strange[0].tolist()}; expected {task.lowest} to {10**task.digits - 1}")
    return [_item(task, int(m), int(n), layout, distractors == "clean", seed) for m, n in pairs]


def _item(task: Arithmetic, first: int, second: int, layout: str, clean: bool, seed: int) -> ChoiceItem:
    question, answer = task.text(first, second, layout)
    draws = numpy_generator(seed, "distractors", layout, first, second)
    places = [i for i, symbol in enumerate(answer) if symbol.isdigit()]
    changed = [f"{answer[:i]}{digit}{answer[i + 1 :]}" for i in places for digit in "0123456789" if digit != answer[i]]
    # In a forward question any other result is wrong; other operands may have the same result.
    if clean and layout == "reverse":
        changed = [option for option in changed if _question_of(task, option) != question]
    if len(changed) < 3:
        raise UsageError(f"{answer!r} has {len(changed)} wrong options of one changed digit; leave the pair out")
    # Uniform without replacement is what drawing a place, then a digit, and again where options repeat, comes to.
    wrong = [changed[i] for i in draws.permutation(len(changed))[:3]]
    options = [answer, *wrong]
    shuffled = [options[i] for i in draws.permutation(4)]
    return ChoiceItem(question, tuple(shuffled), shuffled.index(answer), group=layout)


def _question_of(task: Arithmetic, operands: str) -> str:
    first, second = operands.replace(" ", "").split(task.operation)
    return task.text(int(first), int(second), "reverse")[0]
