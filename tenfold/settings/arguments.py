"""Arguments of public functions, read as settings are: whole numbers of any library, no NaN, nothing rounded."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from tenfold.settings.values import read

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
_PLAIN = (int, float, bool, str, NoneType)


def plain_arguments(function: Callable[..., Any]) -> dict[str, Any]:
    """The parameters that are numbers, truth values, text, choices or tuples of such, with their annotations.

    >>> def f(n: int, x: float | None, table: dict): ...
    >>> plain_arguments(f)
    {'n': <class 'int'>, 'x': float | None}
    """
    hints = {name: p.annotation for name, p in inspect.signature(function).parameters.items()}
    return {
        name: hint
        for name, hint in hints.items()
        if all(_plain(kind) for kind in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)))
    }


def _plain(hint: Any) -> bool:
    """Whether a type is a number, a truth value, text, a choice, or a tuple of such."""
    if get_origin(hint) is tuple:
        return all(inner is Ellipsis or _plain(inner) for inner in get_args(hint))
    return hint in _PLAIN or get_origin(hint) is Literal


def read_arguments(function: F) -> F:
    """A border: every plain argument is read by ``values.read``, so that NumPy's whole numbers neither wrap nor lack a
    method, and what does not fit is one sentence before any work.

    >>> import numpy
    >>> @read_arguments
    ... def power(base: int, exponent: int = 2) -> int:
    ...     return base**exponent
    >>> power(numpy.int64(10), numpy.uint8(30))
    1000000000000000000000000000000
    """
    hints = plain_arguments(function)
    places = [(i, name, hints[name]) for i, name in enumerate(inspect.signature(function).parameters) if name in hints]

    @wraps(function)
    def inside(*args: Any, **options: Any) -> Any:
        given = list(args)
        for i, name, hint in places:
            if i < len(given):
                if type(given[i]) is not hint or hint is float:
                    given[i] = read(hint, given[i], name)
            elif name in options:
                options[name] = read(hint, options[name], name)
        return function(*given, **options)

    inside.reads_arguments = True  # type: ignore[attr-defined]
    return inside  # type: ignore[return-value]


def read_all_arguments(kind: C) -> C:
    """``read_arguments`` for the public methods of a class, and for making one."""
    for name, method in list(vars(kind).items()):
        inner = method.__func__ if isinstance(method, classmethod) else method
        if (name == "__init__" or not name.startswith("_")) and inspect.isfunction(inner) and plain_arguments(inner):
            made = read_arguments(inner)
            setattr(kind, name, classmethod(made) if isinstance(method, classmethod) else made)
    return kind
