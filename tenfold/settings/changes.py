"""Settings dataclasses, changed by name: ``{"train": {"steps": 10}}``, from Python, YAML and JSON alike."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from tenfold.errors import UsageError
from tenfold.settings.values import nearest, read, shown

T = TypeVar("T")


def as_dict(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain dictionaries and lists, ready for YAML and JSON."""
    return {f.name: _plain(getattr(settings, f.name)) for f in fields(settings)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_dict(value)
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def change(settings: T, changes: Mapping[Any, Any]) -> T:
    """A copy of a settings dataclass with some values changed; nested ones by nested dictionaries.

    Raises UsageError for an unknown name (with a suggestion), a value of a wrong type, or values that the
    dataclass itself refuses.

    >>> from tenfold.training.config import TrainingConfig
    >>> change(TrainingConfig(), {"steps": 10}).steps
    10
    """
    return _with(settings, checked(changes, hints_of(settings)), "")


def rebuild(settings: T, values: Mapping[str, Any]) -> T:
    """The settings dataclass made of ``values``, in which all its names, and perhaps others, are present."""
    return change(settings, {f.name: values[f.name] for f in fields(settings)})  # type: ignore[arg-type]


def changed(before: Any, after: Any, prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """The dotted names of two settings of one type whose values differ, with both values."""
    found: dict[str, tuple[Any, Any]] = {}
    for f in fields(before):
        old, new, name = getattr(before, f.name), getattr(after, f.name), f"{prefix}{f.name}"
        if is_dataclass(old):
            found |= changed(old, new, f"{name}.")
        elif old != new:
            found[name] = (old, new)
    return found


def hints_of(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted name and type of every setting of a dataclass, of nested ones too."""
    found: dict[str, Any] = {}
    hints = get_type_hints(type(settings))
    for f in fields(settings):
        value, name = getattr(settings, f.name), f"{prefix}{f.name}"
        found |= hints_of(value, f"{name}.") if is_dataclass(value) else {name: hints[f.name]}
    return found


def checked(changes: Mapping[Any, Any], hints: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested ``changes`` by dotted name, each read as the type that ``hints`` give it.

    Raises UsageError for unknown names and for values that do not fit."""
    found: dict[str, Any] = {}
    for key, given in changes.items():
        name, value = f"{prefix}{key}", as_dict(given) if is_dataclass(given) else given
        inside = [n.rpartition(".")[2] for n in hints if n.startswith(f"{name}.")]
        if name in hints:
            found[name] = read(hints[name], given, name)
        elif isinstance(value, Mapping) and (value or inside):
            found |= checked(value, hints, f"{name}.")
        elif inside:
            raise UsageError(f"{name} is {shown(value)}; expected its settings by name, {inside[0]} say")
        else:
            raise UsageError(f"there is no setting {name!r}{nearest(name, hints)}")
    return found


def _with(settings: T, new: Mapping[str, Any], prefix: str) -> T:
    """``settings`` with ``new`` values by dotted name; those that stay are checked too."""
    arguments, hints = {}, get_type_hints(type(settings))
    for f in fields(settings):  # type: ignore[arg-type]
        value, name = getattr(settings, f.name), f"{prefix}{f.name}"
        inner = is_dataclass(value) and name not in new
        arguments[f.name] = _with(value, new, f"{name}.") if inner else read(hints[f.name], new.get(name, value), name)
    try:
        return type(settings)(**arguments)
    except UsageError as error:  # a class that is used by itself too does not know where it stands
        word = str(error).partition(" ")[0]
        raise UsageError(f"{prefix if word in arguments else ''}{error}") from None
