"""Sets written as text: "abs(y - x^2) <= 1/50 & x > 1/10 | x < 1/20"."""

import ast
import functools
import itertools
import operator
import re
from collections.abc import Callable
from typing import Any

from tenfold.errors import UsageError
from tenfold.quasiperiodic.sets.polynomials import Poly, variables
from tenfold.quasiperiodic.sets.semialgebraic import Set
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import shown

_RELATIONS: dict[type, str] = {ast.GtE: ">=", ast.LtE: "<=", ast.Gt: ">", ast.Lt: "<", ast.Eq: "=="}

_LONGEST = 10_000
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


@read_arguments
def parse_set(text: str, dim: int) -> Set:
    """A set from inequalities between polynomials in x, y, z or x1, …, xb, joined by & (and), | (or), ~ (not).

    Numbers are read exactly ("0.1" is 1/10). "^" and "**" are powers; "a <= p <= b" chains; "abs(p) <= w" is two
    inequalities and "abs(p) > w" their complement.

    >>> str(parse_set("x^2 + y^2 < 1/4", 2))
    'x^2 + y^2 - 1/4 < 0'

    Raises UsageError for text that is not such a formula."""
    # Python would bind & tighter than <=, so words take its place before parsing.
    if len(text) > _LONGEST:
        raise UsageError(f"a set of {len(text)} characters is not read; give at most {_LONGEST}, or a JSON file")
    source = text.replace("^", "**").replace("&", " and ").replace("|", " or ").replace("~", " not ")
    try:
        tree = ast.parse(source.strip(), mode="eval").body
        return _Reader(text, source.strip(), dim).set(tree)
    except UsageError:
        raise
    except (SyntaxError, ValueError):
        raise _refused(text, "it is no formula") from None
    except (RecursionError, MemoryError):
        raise _refused(text, "it is nested too deeply") from None


def _refused(text: str, why: str) -> UsageError:
    return UsageError(
        f"cannot read the set {shown(text)!r}: {why}; expected inequalities such as 'abs(y - x^2) <= 1/50 & x < 1/2'"
    )


class _Reader:
    def __init__(self, text: str, source: str, dim: int) -> None:
        self.text, self.source, self.dim = text, source, dim
        coordinates = variables(dim)
        self.names = {f"x{j + 1}": v for j, v in enumerate(coordinates)}
        if dim <= 3:
            self.names |= dict(zip("xyz", coordinates, strict=False))

    def set(self, node: ast.expr) -> Set:
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return functools.reduce(join, map(self.set, node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.set(node.operand)
        if isinstance(node, ast.Compare):
            sides = itertools.pairwise([node.left, *node.comparators])
            if any(type(relation) not in _RELATIONS for relation in node.ops):
                raise _refused(self.text, "only >=, <=, >, < and == compare")
            parts = (self.comparison(a, _RELATIONS[type(s)], b) for (a, b), s in zip(sides, node.ops, strict=True))
            return functools.reduce(operator.and_, parts)
        raise _refused(self.text, f"{ast.unparse(node)!r} is no inequality")

    def comparison(self, left: ast.expr, relation: str, right: ast.expr) -> Set:
        inner = _absolute(left)
        if inner is not None:
            p, w = self.polynomial(inner), self.polynomial(right)
            if relation == "==":
                return Set([[(p * p - w * w, "=="), (w, ">=")]])
            one, other = (p - w, relation), (p + w, _MIRRORED[relation])
            return Set([[one, other]] if relation in ("<", "<=") else [[one], [other]])
        if _absolute(right) is not None:
            return self.comparison(right, _MIRRORED[relation], left)
        return Set([[(self.polynomial(left) - self.polynomial(right), relation)]])

    def polynomial(self, node: ast.expr) -> Poly:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            written = ast.get_source_segment(self.source, node) or repr(node.value)
            return Poly.constant(self.dim, written if re.fullmatch(r"[\d_.eE+-]+", written) else node.value)
        if isinstance(node, ast.Name):
            if node.id not in self.names:
                raise _refused(self.text, f"there is no variable {node.id!r} in {self.dim} dimensions")
            return self.names[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = self.polynomial(node.operand)
            return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Pow):
                if not isinstance(node.right, ast.Constant) or not isinstance(node.right.value, int):
                    raise _refused(self.text, "a power is no whole number")
                if not 0 <= node.right.value <= 64:
                    raise _refused(self.text, f"the power {node.right.value} is outside 0 … 64")
                return self.polynomial(node.left) ** node.right.value
            operations: dict[type, Callable[[Any, Any], Poly]] = {
                ast.Add: lambda a, b: a + b, ast.Sub: lambda a, b: a - b,
                ast.Mult: lambda a, b: a * b, ast.Div: lambda a, b: a / b,
            }  # fmt: skip
            if type(node.op) in operations:
                return operations[type(node.op)](self.polynomial(node.left), self.polynomial(node.right))
        raise _refused(self.text, f"{ast.unparse(node)!r} is no polynomial")


def _absolute(node: ast.expr) -> ast.expr | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs" and len(node.args) == 1:
        return node.args[0]
    return None
