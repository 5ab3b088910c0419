"""Checks that settings share."""

from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

from tenfold.errors import UsageError
from tenfold.settings.values import read, shown


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def typed(settings: Any, group: str = "", /, **types: Any) -> None:
    """Read every field of a frozen settings dataclass as its type, or as that in ``types``: whole numbers of any
    library become Python's, and what does not fit is refused by the name that it has on the command line.

    ``group`` is what stands before the names in messages, "train" say."""
    kind: Any = type(settings)
    hints = _hints(kind) | types
    for field in fields(settings):
        value = read(hints[field.name], getattr(settings, field.name), f"{group}{'.' if group else ''}{field.name}")
        object.__setattr__(settings, field.name, value)


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
