"""Options of a verb that each system defines: a dataclass that the registry names, as an option a field."""

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from docstring_parser import parse as parse_docstring

from tenfold import api
from tenfold.recipes import COMPONENTS, RECIPES, SYSTEMS
from tenfold.settings.command import CommandParser

# Options whose field cannot, or should not, have the option's name.
OPTION_OF = {"classes": "class"}


def systems_with(part: str) -> list[str]:
    """The systems, and parts of them, that have a part, "sampling" say."""
    return [name for name, system in {**SYSTEMS, **COMPONENTS}.items() if getattr(system, part)]


def add_options(parser: CommandParser, system: str, part: str) -> None:
    """The options of a system, with its docstring as help; names already there are left alone."""
    options = api.part(system, part)
    hints = get_type_hints(options)
    helps = {p.arg_name: p.description for p in parse_docstring(options.__doc__ or "").params}
    for f in fields(options):
        option = _option(f.name)
        if option not in parser._option_string_actions:
            parser.add_option(option, hints[f.name], f.default, help=helps.get(f.name))


def bare_options(part: str) -> set[str]:
    """The options of all systems that may stand without a value."""
    hints = [get_type_hints(api.part(system, part)) for system in systems_with(part)]
    return {_option(name) for own in hints for name, hint in own.items() if hint is bool}


def bare_settings() -> set[str]:
    """The settings of all recipes that may stand without a value, ``--objective.flip`` say."""
    found: set[str] = set()

    def collect(settings: Any, prefix: str) -> None:
        for name, hint in get_type_hints(type(settings)).items():
            value = getattr(settings, name)
            if hint is bool:
                found.add(f"--{prefix}{name}")
            elif is_dataclass(value):
                collect(value, f"{prefix}{name}.")
                if hasattr(value, "system"):  # a stage of a recipe, whose settings also stand alone
                    collect(value, "")

    for recipe in {type(recipe): recipe for _, recipe in RECIPES.values()}.values():
        collect(recipe, "")
    return found


def changes(system: str, part: str, given: Any) -> dict[str, Any]:
    """The fields of a system's options as a line gave them."""
    return {f.name: given[OPTION_OF.get(f.name, f.name)] for f in fields(api.part(system, part))}


def _option(field: str) -> str:
    return f"--{OPTION_OF.get(field, field.replace('_', '-'))}"
