"""Options that verbs share: the fields of a dataclass as an option each, devices, switches of recipes."""

from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from docstring_parser import parse as parse_docstring

from tenfold.api import catalogue
from tenfold.settings.command import CommandParser

# Options whose field cannot, or should not, have the option's name.
OPTION_OF = {"classes": "class"}


def add_device(parser: CommandParser, dtype: bool = False) -> None:
    """``--device``, and with ``dtype`` the floating type of the weights."""
    parser.add_option("--device", str, "auto", "auto (the accelerator, or else the CPU), cpu, cuda, cuda:1 or mps")
    if dtype:
        parser.add_option("--dtype", str, "auto", "of the weights: auto, float32, bfloat16, float16 or float64")


def add(parser: CommandParser, options: type) -> None:
    """The fields of an options dataclass, its docstring as help; names already there are left alone."""
    hints = get_type_hints(options)
    helps = {p.arg_name: p.description for p in parse_docstring(options.__doc__ or "").params}
    for f in fields(options):
        option = _option(f.name)
        if option not in parser._option_string_actions:
            parser.add_option(option, hints[f.name], f.default, help=helps.get(f.name))


def bare(options: type) -> set[str]:
    """The options that may stand without a value."""
    return {_option(name) for name, hint in get_type_hints(options).items() if hint is bool}


def changes(options: type, given: Any) -> dict[str, Any]:
    """The fields of an options dataclass as a line gave them."""
    return {f.name: given[OPTION_OF.get(f.name, f.name)] for f in fields(options)}


def _option(field: str) -> str:
    return f"--{OPTION_OF.get(field, field.replace('_', '-'))}"


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

    for recipe in {type(named.recipe): named.recipe for named in catalogue.recipes().values()}.values():
        collect(recipe, "")
    return found
