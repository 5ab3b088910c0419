"""Checks that settings share."""

from tenfold.errors import UsageError
from tenfold.settings.values import shown


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
