"""A target from a line of text: ``0.8 * (eights & threes)``, ``1.3 * a - 0.3 * b``, ``a | b``, ``a.within(-1, 1)``,
``guidance(u, c, 2.0)``. The text is parsed and walked; nothing of it is ever run as Python."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tenfold.energy.composition.algebra import Composable, Composition, composed, guidance
from tenfold.energy.composition.rewards import RewardPath
from tenfold.errors import UsageError, suggest

_LONGEST = 2000
_DEEPEST = 100
_NUMBERS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FORMS = "&, |, +, -, *, numbers, parentheses, name.within(low, high) and guidance(unconditional, conditional, weight)"


def parse_target(text: str, models: Mapping[str, Any]) -> Composition:
    """The composition that a line describes.

    Args:
        text: such as ``0.8 * (eights & threes)``. As in Python, ``*`` binds closer than ``+`` and ``-``, then ``&``,
            then ``|``.
        models: energies, scores and rewards by name.

    Raises:
        UsageError: no such name, with the nearest one; text that is no such expression; what cannot be composed.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"a target of {len(text)} characters is too long; at most {_LONGEST} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise UsageError(f"the target {text!r} is no expression; it may hold {_FORMS}") from None
    found = _Walk(text, models).value(tree)
    if isinstance(found, float | RewardPath):
        raise UsageError(f"the target {text!r} names no model; choose among {', '.join(sorted(models))}")
    return composed(found)


class _Walk:
    """The walk over one tree."""

    def __init__(self, text: str, models: Mapping[str, Any]) -> None:
        self.text, self.models = text, models

    def value(self, node: ast.AST, depth: int = 0) -> Any:
        """A number, a reward or something composable."""
        if depth > _DEEPEST:
            raise UsageError(f"the target {self.text[:40]!r}... is nested too deep; at most {_DEEPEST} levels are read")
        inner = lambda part: self.value(part, depth + 1)  # noqa: E731
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float() as number):
                try:
                    return float(number)
                except OverflowError:
                    raise UsageError(f"a number of the target {self.text[:40]!r}... is too large") from None
            case ast.Name(id=name):
                return self.named(name)
            case ast.UnaryOp(op=ast.USub(), operand=part):
                return -1.0 * inner(part)
            case ast.UnaryOp(op=ast.UAdd(), operand=part):
                return inner(part)
            case ast.BinOp(left=left, op=op, right=right):
                return self.joined(node, op, inner(left), inner(right))
            case ast.Call(func=ast.Attribute(value=part, attr="within"), args=[low, high], keywords=[]):
                model, bounds = inner(part), (inner(low), inner(high))
                if isinstance(model, Composable) and all(isinstance(bound, float) for bound in bounds):
                    return model.within(*bounds)
            case ast.Call(func=ast.Name(id="guidance"), args=[one, other, weight], keywords=[]):
                parts, factor = (inner(one), inner(other)), inner(weight)
                if isinstance(factor, float) and all(isinstance(part, Composable) for part in parts):
                    return guidance(*parts, factor)
        raise self.refused(node)

    def named(self, name: str) -> Any:
        """A model or a reward."""
        if name not in self.models:
            raise UsageError(f"the target names {name!r}{suggest(name, sorted(self.models))}")
        found = self.models[name]
        return found if isinstance(found, RewardPath) else composed(found)

    def joined(self, node: ast.AST, op: ast.operator, left: Any, right: Any) -> Any:
        """What an operator makes of two values."""
        numbers = isinstance(left, float) + isinstance(right, float)
        rewards = isinstance(left, RewardPath) + isinstance(right, RewardPath)
        if numbers == 2 and type(op) in _NUMBERS and not (isinstance(op, ast.Div) and right == 0):
            return _NUMBERS[type(op)](left, right)
        if numbers == 1 and isinstance(op, ast.Mult):
            return left * right
        if numbers == 1 and isinstance(op, ast.Div) and isinstance(right, float) and right:
            return (1 / right) * left
        if not numbers and rewards < 2 and isinstance(op, ast.Add):
            return left + right if not isinstance(left, RewardPath) else right + left
        if not numbers and not isinstance(left, RewardPath) and isinstance(op, ast.Sub):
            return left - right
        if not numbers and not rewards and isinstance(op, ast.BitAnd | ast.BitOr):
            return left & right if isinstance(op, ast.BitAnd) else left | right
        raise self.refused(node)

    def refused(self, node: ast.AST) -> UsageError:
        """The sentence about what is no part of a target."""
        part = ast.get_source_segment(self.text.strip(), node) or self.text
        return UsageError(f"{part[:60]!r} is no target; a target may hold {_FORMS}")
