"""Arguments of public functions, read as settings are: whole numbers of any library, no NaN, nothing rounded; and
objects of the house, which are what their annotations say."""

import inspect
import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from tenfold.errors import UsageError
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
    return {name: hint for name, hint in hints.items() if all(_plain(kind) for kind in _alternatives(hint))}


def _plain(hint: Any) -> bool:
    """Whether a type is a number, a truth value, text, a choice, or a tuple of such."""
    if get_origin(hint) is tuple:
        return all(inner is Ellipsis or _plain(inner) for inner in get_args(hint))
    return hint in _PLAIN or get_origin(hint) is Literal


class HouseHint(NamedTuple):
    """What an annotation says of objects of the house: their classes, whether None will do, and whether it asks for a
    list of them."""

    kinds: tuple[type, ...]
    optional: bool
    listed: bool

    def require(self, value: object, name: str) -> None:
        """Raises UsageError, which begins with ``name``, for what is no such object, or no list of such."""
        if not self.listed:
            require_kind(value, name, self.kinds, optional=self.optional)
        elif not (value is None and self.optional):
            if not isinstance(value, Sequence) or isinstance(value, str | bytes):
                names = "paths" if str in self.kinds else " or ".join(kind.__name__ for kind in self.kinds)
                raise UsageError(f"{name} is no list but {type(value).__name__}; give a list of {names}")
            for i, one in enumerate(value):
                require_kind(one, f"{name}[{i}]", self.kinds)


def house_arguments(function: Callable[..., Any]) -> dict[str, HouseHint]:
    """The parameters that are objects of the house's classes, of models say, or lists of such; and paths.

    >>> from tenfold.errors import TenfoldError
    >>> def f(error: TenfoldError | None, n: int, x: TenfoldError | dict): ...
    >>> house_arguments(f)
    {'error': HouseHint(kinds=(<class 'tenfold.errors.TenfoldError'>,), optional=True, listed=False)}
    """
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = _alternatives(parameter.annotation)
        ours = tuple(kind for kind in kinds if kind is not NoneType)
        listed = len(ours) == 1 and get_origin(ours[0]) in (Sequence, list)
        if listed:
            ours = _alternatives(get_args(ours[0])[0])
        if any(map(_is_path, ours)) and all(kind is str or _is_path(kind) for kind in ours):
            found[name] = HouseHint((str, os.PathLike), NoneType in kinds, listed)
        elif ours and all(_of_the_house(kind) for kind in ours):
            found[name] = HouseHint(ours, NoneType in kinds, listed)
    return found


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_path(hint: Any) -> bool:
    return hint is Path or hint is os.PathLike or get_origin(hint) is os.PathLike


def _of_the_house(hint: Any) -> bool:
    """Whether instances can be told: classes of the package, and of its protocols those that are looked at."""
    told = inspect.isclass(hint) and get_origin(hint) is None and hint.__module__.startswith("tenfold.")
    return told and (not getattr(hint, "_is_protocol", False) or getattr(hint, "_is_runtime_protocol", False))


def require_kind(value: object, name: str, kinds: tuple[type, ...], *, optional: bool = False) -> None:
    """Raises UsageError, which begins with ``name``, where a value is of none of the classes. A network counts as the
    one that a wrapper (compiled, or of several processes) holds."""
    if (value is None and optional) or isinstance(value, kinds):
        return
    inner = getattr(value, "_orig_mod", getattr(value, "module", None))
    if inner is not None and isinstance(inner, kinds):
        return
    given = value.__name__ if inspect.isclass(value) else type(value).__name__
    names = " or ".join(kind.__name__ for kind in kinds)
    wanted = "a path as text or Path" if str in kinds else f"an object of {names}"
    raise UsageError(f"{name} is {'the class ' if inspect.isclass(value) else 'of type '}{given}; give {wanted}")


def read_arguments(function: F) -> F:
    """A border: every plain argument is read by ``values.read``, so that NumPy's whole numbers neither wrap nor lack a
    method, and what does not fit is one sentence before any work. An argument of a class of the house is of it,
    and a list holds such.

    >>> import numpy
    >>> @read_arguments
    ... def power(base: int, exponent: int = 2) -> int:
    ...     return base**exponent
    >>> power(numpy.int64(10), numpy.uint8(30))
    1000000000000000000000000000000
    """
    hints = plain_arguments(function)
    places = [(i, name, hints[name]) for i, name in enumerate(inspect.signature(function).parameters) if name in hints]

    names, houses = list(inspect.signature(function).parameters), house_arguments(function)
    objects = [(names.index(name), name, hint) for name, hint in houses.items()]

    @wraps(function)
    def inside(*args: Any, **options: Any) -> Any:
        given = list(args)
        for i, name, house in objects:
            if i < len(given):
                house.require(given[i], name)
            elif name in options:
                house.require(options[name], name)
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
        if (
            (name == "__init__" or not name.startswith("_"))
            and inspect.isfunction(inner)
            and (plain_arguments(inner) or house_arguments(inner))
        ):
            made = read_arguments(inner)
            setattr(kind, name, classmethod(made) if isinstance(method, classmethod) else made)
    return kind
