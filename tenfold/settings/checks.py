"""Settings as dataclasses that are checked wherever they are made, and the checks that they share."""

from dataclasses import dataclass, field, fields
from math import isfinite
from types import UnionType
from typing import Any, TypeVar, Union, cast, dataclass_transform, get_args, get_origin, get_type_hints

from tenfold.errors import UsageError
from tenfold.settings.values import read, shown

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def settings(kind: type[T]) -> type[T]:
    """A frozen dataclass whose values are read as its annotations say whoever makes it: a user in Python, a file or a
    command line. What does not fit is a UsageError, before the class's own ``__post_init__``.

    >>> @settings
    ... class Sizes:
    ...     steps: int = 10
    >>> Sizes(steps=8.0).steps
    8
    """
    own: Any = kind.__dict__.get("__post_init__")
    hints: dict[str, Any] = {}

    def checked(self: Any) -> None:
        if not hints:
            hints.update(get_type_hints(kind))
        # Fields of a class that inherits from this one are read there. Of NaN the class's own sentence says more.
        names = [f.name for f in fields(self) if f.name in hints]
        strange = [name for name in names if _is_nan(hints[name], getattr(self, name))]
        for name in names:
            if name not in strange:
                object.__setattr__(self, name, read(hints[name], getattr(self, name), name))
        try:
            if own is not None:
                own(self)
            elif hasattr(super(kind, self), "__post_init__"):
                super(kind, self).__post_init__()
        except (ArithmeticError, ValueError) as error:
            if not strange or isinstance(error, UsageError):
                raise
        for name in strange:
            read(hints[name], getattr(self, name), name)

    kind.__post_init__ = checked  # type: ignore[attr-defined]
    made: Any = dataclass(frozen=True)(kind)
    # Anything may be given, and is then read: whoever checks annotations leaves that to ``checked``.
    made.__init__.__annotations__ = dict.fromkeys(made.__init__.__annotations__, Any)
    return cast(type[T], made)


def _is_nan(hint: Any, value: object) -> bool:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return float in kinds and isinstance(value, float) and not isfinite(value)


def at_least(settings: object, group: str, /, **least: int | float) -> None:
    """Raise UsageError, naming the setting, where a field of ``settings`` is below its bound (or NaN).

    ``group`` is what stands before the names in messages, "train" say; "" for nothing.

    >>> from types import SimpleNamespace
    >>> at_least(SimpleNamespace(draws=2), "evaluation", draws=1)
    """
    for name, bound in least.items():
        value = getattr(settings, name)
        if not value >= bound:
            raise UsageError(f"{group}{'.' if group else ''}{name} is {value}; give at least {bound}")


def check_format(number: object, newest: int, source: str) -> None:
    """Raise UsageError unless this version knows the format with that number; messages begin with ``source``."""
    if type(number) is not int or not 1 <= number <= newest:
        raise UsageError(f"{source} is of format {shown(number)}, this tenfold reads {newest}; install a newer one")
