"""The options of a verb, a dataclass, and of a reader of published checkpoints, a function; flat by name.

A reader is called with the checkpoint and keyword arguments; an argument whose type is a dataclass contributes its
fields.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, signature
from typing import Any, NamedTuple, get_args, get_type_hints

from docstring_parser import parse as parse_docstring

from tenfold.errors import UsageError, suggest
from tenfold.settings.values import read

SPELLED = {"classes": "class"}
"""Options whose field cannot, or should not, have the option's name."""


class Option(NamedTuple):
    """Type, default and meaning of an option, and the dataclass argument that it is a field of ("" for none)."""

    hint: Any
    default: Any
    help: str
    argument: str = ""


def options_of(documented: Any) -> dict[str, Option]:
    """The options of a dataclass, or of a reader, by name.

    >>> def read(path: str, channels: int = 3) -> None: ...
    >>> options_of(read)["channels"].default
    3
    """
    hints, helps = get_type_hints(documented), documentation(documented)[1]
    if is_dataclass(documented):
        return {f.name: Option(hints[f.name], _default(f), helps.get(f.name, "")) for f in fields(documented)}
    found: dict[str, Option] = {}
    for name, parameter in list(signature(documented).parameters.items())[1:]:
        if (inner := _dataclass_in(hints[name])) is not None:
            found |= {field: option._replace(argument=name) for field, option in options_of(inner).items()}
        else:
            default = None if parameter.default is Parameter.empty else parameter.default
            found[name] = Option(hints[name], default, helps.get(name, ""))
    return found


def call_reader(reader: Callable[..., Any], checkpoint: Any, given: Mapping[str, Any], system: str) -> Any:
    """``reader(checkpoint, ...)`` with the ``given`` options.

    Raises UsageError for an option that the reader does not have, and for values of another type."""
    options, hints = options_of(reader), get_type_hints(reader)
    arguments: dict[str, Any] = {}
    grouped: dict[str, dict[str, Any]] = {o.argument: {} for o in options.values() if o.argument}
    for name, value in given.items():
        if name not in options:
            end = suggest(name, options) if options else "; it has none"
            raise UsageError(f"{system} takes no option {name!r} when a checkpoint is read{end}")
        option = options[name]
        grouped.get(option.argument, arguments)[name] = read(option.hint, value, name)
    return reader(checkpoint, **arguments, **{n: _dataclass_in(hints[n])(**own) for n, own in grouped.items()})


def documentation(documented: Any) -> tuple[str, dict[str, str]]:
    """The first line of a docstring, without its full stop, and what it (or a base class' own) says about each name."""
    found = [parse_docstring(kind.__doc__ or "") for kind in getattr(documented, "__mro__", [documented])]
    helps = {p.arg_name: p.description or "" for part in reversed(found) for p in part.params}
    return (found[0].short_description or "").rstrip("."), helps


def _default(field: Any) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _dataclass_in(hint: Any) -> Any:
    """The dataclass in a type such as ``Geometry | None``."""
    return next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), None)
