"""The options of a reader of published checkpoints, as the command line and ``tenfold.convert`` take them.

A reader is called with the checkpoint and keyword arguments; an argument whose type is a dataclass contributes its
fields, so that options are flat by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from typing import Any, NamedTuple, get_type_hints

from docstring_parser import parse as parse_docstring

from tenfold.errors import UsageError, suggest


class Option(NamedTuple):
    """Type, default and meaning of an option, and the dataclass argument that it is a field of ("" for none)."""

    hint: Any
    default: Any
    help: str | None
    argument: str


def options_of(reader: Callable[..., Any]) -> dict[str, Option]:
    """The options of a reader by name.

    >>> def read(path: str, channels: int = 3) -> None: ...
    >>> options_of(read)["channels"].default
    3
    """
    hints, helps, found = get_type_hints(reader), _helps(reader), {}
    for name, parameter in list(signature(reader).parameters.items())[1:]:
        inner = _dataclass_of(hints[name])
        if inner is None:
            default = None if parameter.default is Parameter.empty else parameter.default
            found[name] = Option(hints[name], default, helps.get(name), "")
            continue
        inner_hints, inner_helps = get_type_hints(inner), _helps(inner)
        for f in fields(inner):
            found[f.name] = Option(inner_hints[f.name], f.default, inner_helps.get(f.name), name)
    return found


def read(reader: Callable[..., Any], checkpoint: Any, given: Mapping[str, Any], system: str) -> Any:
    """``reader(checkpoint, ...)`` with the ``given`` options.

    Raises UsageError for an option that the reader does not have."""
    options = options_of(reader)
    for name in given:
        if name not in options:
            end = suggest(name, options) if options else "; it has none"
            raise UsageError(f"{system} takes no option {name!r} when a checkpoint is read{end}")
    hints = get_type_hints(reader)
    arguments: dict[str, Any] = {name: value for name, value in given.items() if not options[name].argument}
    for argument in {option.argument for option in options.values()} - {""}:
        inner = _dataclass_of(hints[argument])
        assert inner is not None
        arguments[argument] = inner(**{n: v for n, v in given.items() if options[n].argument == argument})
    return reader(checkpoint, **arguments)


def _helps(documented: Any) -> dict[str, str | None]:
    return {p.arg_name: p.description for p in parse_docstring(documented.__doc__ or "").params}


def _dataclass_of(hint: Any) -> Any:
    """The dataclass in a type such as ``Geometry | None``."""
    return next((kind for kind in (hint, *getattr(hint, "__args__", ())) if is_dataclass(kind)), None)
