"""Options that verbs share: devices, and the switches of recipes."""

from dataclasses import fields

from tenfold.api import catalogue
from tenfold.settings.changes import hints_of
from tenfold.settings.command import CommandParser
from tenfold.settings.options import options_of


def add_device(parser: CommandParser, dtype: bool = False) -> None:
    """``--device``, and with ``dtype`` the floating type of the weights."""
    parser.add_option("--device", str, "auto", "auto (the accelerator, or else the CPU), cpu, cuda, cuda:1 or mps")
    if dtype:
        parser.add_option("--dtype", str, "auto", "of the weights: auto, float32, bfloat16, float16 or float64")


def bare_options(verb: str) -> set[str]:
    """The options of a verb, of any system, that may stand without a value."""
    kinds = [catalogue.options_of(system, verb) for system in catalogue.systems_with(verb)]
    return {f"--{name}" for kind in kinds for name, option in options_of(kind).items() if option.hint is bool}


def bare_settings() -> set[str]:
    """The settings of all recipes that may stand without a value, ``--objective.flip`` say."""
    found: set[str] = set()
    for recipe in {type(named.recipe): named.recipe for named in catalogue.recipes().values()}.values():
        # The settings of a recipe's stage also stand alone.
        stages = [getattr(recipe, f.name) for f in fields(recipe) if hasattr(getattr(recipe, f.name), "system")]  # type: ignore[arg-type]
        found |= {f"--{name}" for one in (recipe, *stages) for name, hint in hints_of(one).items() if hint is bool}
    return found
