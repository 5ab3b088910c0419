"""Options of a verb that each system defines: a dataclass that the registry names, as an option a field."""

from dataclasses import fields

from tenfold import api
from tenfold.recipes import COMPONENTS, RECIPES, SYSTEMS
from tenfold.settings.changes import hints_of
from tenfold.settings.options import options_of


def systems_with(part: str) -> list[str]:
    """The systems, and parts of them, that have a part, "sampling" say."""
    return [name for name, system in {**SYSTEMS, **COMPONENTS}.items() if getattr(system, part)]


def bare_options(part: str) -> set[str]:
    """The options of all systems that may stand without a value."""
    kinds = [api.part(system, part) for system in systems_with(part)]
    return {f"--{name}" for kind in kinds for name, option in options_of(kind).items() if option.hint is bool}


def bare_settings() -> set[str]:
    """The settings of all recipes that may stand without a value, ``--objective.flip`` say."""
    found: set[str] = set()
    for recipe in {type(recipe): recipe for _, recipe in RECIPES.values()}.values():
        # The settings of a recipe's stage also stand alone.
        stages = [getattr(recipe, f.name) for f in fields(recipe) if hasattr(getattr(recipe, f.name), "system")]
        found |= {f"--{name}" for one in (recipe, *stages) for name, hint in hints_of(one).items() if hint is bool}
    return found
