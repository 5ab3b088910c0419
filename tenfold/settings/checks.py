"""Settings as dataclasses that are checked wherever they are made, and the checks that they share."""

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, TypeVar, dataclass_transform, get_type_hints

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
        strange = [name for name in names if not _finite(getattr(self, name))]
        for name in names:
            if name not in strange:
                object.__setattr__(self, name, read(hints[name], getattr(self, name), name))
        if own is not None:
            own(self)
        elif hasattr(super(kind, self), "__post_init__"):
            super(kind, self).__post_init__()
        for name in strange:
            read(hints[name], getattr(self, name), name)

    kind.__post_init__ = checked  # type: ignore[attr-defined]
    return dataclass(frozen=True)(kind)


def _finite(value: object) -> bool:
    return not isinstance(value, float) or isfinite(value)


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
