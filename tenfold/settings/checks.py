"""Checks that settings share."""

from tenfold.errors import UsageError


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
