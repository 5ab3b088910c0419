"""One value of a type hint, whichever way it came: typed from Python, JSON and YAML, or as text from a command line.

Numbers may be of any library, and text of a number is a number, so that ``1e3`` means the same everywhere. Nothing is
rounded, wrapped or taken for true: what does not fit is refused in one sentence.
"""

import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from math import inf, isfinite, nan
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from tenfold.errors import UsageError, suggest

T = TypeVar("T")

TRUTH = {"true": True, "yes": True, "false": False, "no": False}

_NOT_FINITE = {".nan": nan, ".inf": inf, "-.inf": -inf}  # as YAML writes them
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "none"}
_REFUSED = (TypeError, ValueError, KeyError, ArithmeticError, RecursionError, yaml.YAMLError)


def read(hint: Any, value: object, name: str, *, text: bool = False) -> Any:
    """``value`` as a value of the type ``hint``.

    Args:
        hint: int, float, str, bool, None, Literal, tuples, lists, unions of them, or a dataclass (from a mapping).
        value: what was given, of any library of numbers and arrays.
        name: what the message calls it.
        text: whether the value is a word of a command line, where ``none`` is None and 8 a number before it is text.

    Raises:
        UsageError: the value does not fit; NaN and infinities are no numbers.

    >>> read(tuple[int, ...], "1,8,8", "shape"), read(int, "1e3", "steps"), read(float | None, "none", "clip")
    ((1, 8, 8), 1000, None)
    """
    try:
        return _read(hint, value, name, text)
    except UsageError:
        raise
    except _REFUSED:
        kind, inner = get_origin(hint), get_args(hint)
        options = inner if kind in (Union, UnionType) else (hint,)
        choices = [str(c) for one in options if get_origin(one) is Literal for c in get_args(one)]
        end = nearest(shown(value), choices, "") if choices else ""
        if isinstance(value, str) and (hint is int or (kind in (Union, UnionType) and int in inner)):
            end = ", 1e12 or 2^20 say"
        number = _NOT_FINITE.get(value, value) if isinstance(value, str) else value
        if isinstance(number, float) and not isfinite(number):  # a number, by the name of its setting
            what = f"{name.removeprefix('--').replace('-', '_')} is {number}"
        else:
            what = f"{name} is {shown(value)!r}"
        raise UsageError(f"{what}; expected {expected(hint)}{end}") from None


def build(kind: Any, values: object, source: str) -> Any:
    """The dataclass ``kind`` from a JSON object, nested ones and tuples included; messages begin with ``source``.

    Raises:
        UsageError: unknown and missing fields, listed; values that do not fit.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"{source} is {shown(values)!r}; expected its settings by name")
    known, hints = {f.name: f for f in fields(kind)}, get_type_hints(kind)
    if unknown := sorted(map(shown, set(values) - set(known))):
        raise UsageError(f"{source} has unknown field(s) {', '.join(unknown)}; {kind.__name__} has {', '.join(known)}")
    required = {name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if absent := sorted(required - set(values)):
        raise UsageError(f"{source} lacks the field(s) {', '.join(absent)} of {kind.__name__}")
    arguments = {name: read(hints[name], value, f"{source}: {name}") for name, value in values.items()}
    try:
        return kind(**arguments)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{source} does not fit {kind.__name__}: {error}") from None


def write(value: object) -> str:
    """A value as it is written on a command line; ``read(..., text=True)`` of it is the value.

    >>> write((1, 8, 8)), write(None), write(("a b", "c"))
    ('1,8,8', 'none', '"a b",c')
    """
    if isinstance(value, list | tuple):
        return ",".join(_quoted(v) if isinstance(v, str) else write(v) for v in value) or "[]"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _quoted(word: str) -> str:
    return word if word.isalnum() else yaml.safe_dump(word, default_style='"', width=inf).strip()


def expected(hint: Any) -> str:
    """A type in words.

    >>> expected(tuple[int, ...]), expected(float | None)
    ('a list of whole numbers such as 1,2', 'a number or none')
    """
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Literal:
        return f"one of {', '.join(str(choice) or repr('') for choice in inner)}"
    if kind in (Union, UnionType):
        return " or ".join(map(expected, inner))
    if kind in (tuple, list):
        item = inner[0] if inner else str
        several = {int: "whole numbers", float: "numbers", str: "words"}.get(item, f"values, each {expected(item)},")
        count = len(inner) if kind is tuple and Ellipsis not in inner else 0
        example = write(tuple("abcde" if item is str else "12345")[: count or 2])
        return f"{count or 'a list of'} {several} such as {example}" if item in _WORDS else f"a list of {several}"[:-1]
    return _WORDS.get(kind, "its settings by name" if is_dataclass(kind) else str(getattr(kind, "__name__", hint)))


def nearest(name: str, names: Iterable[str], otherwise: str = "; --help lists them") -> str:
    """``suggest``, but a place to look when nothing is near (a list of a hundred settings helps nobody)."""
    known = list(names)
    sentence = suggest(name, known)
    if "did you mean" in sentence:
        return sentence
    leaf = name.rpartition(".")[2].lstrip("-")
    alike = next((n for n in known if n.rpartition(".")[2].lstrip("-") == leaf), None)
    return f"; did you mean {alike!r}?" if alike else otherwise


def shown(value: object) -> str:
    """A value in a message, in one line and not too long."""
    try:
        text = (",".join(map(str, value)) if isinstance(value, list | tuple) else str(value))[:200]
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    except (ValueError, RecursionError):  # a number of many thousand digits
        return f"a very long {type(value).__name__}"


def _read(hint: Any, value: Any, name: str, text: bool) -> Any:
    if hasattr(value, "tolist"):  # numbers and arrays of NumPy and PyTorch
        value = value.tolist()
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return _one_of(inner, value, name, text)
    if kind is Literal:
        same = [c for c in inner if (type(c) is type(value) and c == value) or (type(value) is str and str(c) == value)]
        return same[0] if same else _refuse(value)
    if kind in (tuple, list):
        return _several(kind, inner, value, name, text)
    if kind is int:
        return _whole(value)
    if kind is float:
        number = float(value) if isinstance(value, str | Real | Decimal) and not isinstance(value, bool) else nan
        return number if isfinite(number) else _refuse(value)
    if kind is bool:
        return value if isinstance(value, bool) else TRUTH[value.lower()] if isinstance(value, str) else _refuse(value)
    if kind is str:
        return os.fspath(value) if isinstance(value, str | os.PathLike) else _refuse(value)
    if kind is NoneType:
        return None if value is None or str(value).lower() in ("none", "null") else _refuse(value)
    if kind in (Any, object) or isinstance(value, kind):
        return value
    return build(kind, value, name) if is_dataclass(kind) else _refuse(value)


def _refuse(value: object) -> Any:
    raise TypeError(value)


def _one_of(options: tuple[Any, ...], value: Any, name: str, text: bool) -> Any:
    if not text and type(value) in options:
        options = (type(value),)
    problem: Exception = TypeError(value)
    for option in sorted(options, key=lambda o: (o is str, o is not NoneType)):
        try:
            return _read(option, value, name, text)
        except _REFUSED as error:
            problem = error if isinstance(error, UsageError) else problem  # a dataclass's own sentence
    raise problem


def _several(kind: type, inner: tuple[Any, ...], value: Any, name: str, text: bool) -> Any:
    if isinstance(value, str):
        # All items as text, quotes and escapes understood: their own types say what they are.
        text, line = True, value.strip()
        value = yaml.load(line if line.startswith("[") else f"[{line.strip('()')}]", yaml.BaseLoader)
    if not isinstance(value, list | tuple):
        raise TypeError(value)
    fixed = kind is tuple and inner and Ellipsis not in inner
    kinds = inner if fixed else (*inner, object)[:1] * len(value)
    return kind(_read(k, v, name, text) for k, v in zip(kinds, value, strict=True))


def _whole(value: Any) -> int:
    """A whole number, as text also as 1e12, 2^20 or 1_000_000."""
    if isinstance(value, str):
        base, power, exponent = value.replace("_", "").replace("**", "^").partition("^")
        if power:
            return int(base) ** int(exponent) if 0 <= int(exponent) <= 400 else _refuse(value)
        number = Decimal(base.strip())
        fits = number.is_finite() and number.adjusted() <= 400 and number == number.to_integral_value()
        return int(number) if fits else _refuse(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # above, it may not be what was written
        return int(value)
    return _refuse(value) if isinstance(value, bool) else operator.index(value)
