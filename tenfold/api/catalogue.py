"""The systems, recipes, worked examples and jobs of all rooms, by name. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tenfold.errors import UsageError, suggest
from tenfold.runs.jobs import Job
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Command, Example, Named, System, Verb
from tenfold.runs.usable import TaskFactory
from tenfold.systems import ROOMS

if TYPE_CHECKING:
    from torch import nn

_NOUNS = {"sample": "sampling", "analyse": "analysis"}


@cache
def systems() -> dict[str, System]:
    """The ten systems and their parts, by name, room by room."""
    found = (system for room in ROOMS for system in import_module(f"tenfold.{room}.system").SYSTEMS)
    return {system.name: system for system in found}


def ten() -> dict[str, System]:
    """The ten systems without their parts."""
    return {name: known for name, known in systems().items() if not known.part_of}


def system(name: str) -> System:
    """A system, or a part of one. Raises UsageError, with a suggestion, for an unknown name.

    >>> system("tarflow").paper
    'arXiv:2412.06329'
    """
    if name not in systems():
        raise UsageError(f"there is no system {name!r}{suggest(name, systems())}")
    return systems()[name]


def task_of(recipe: Recipe) -> TaskFactory:
    """What makes the task of a recipe, called with it and its name."""
    found: TaskFactory = _part(recipe.system, "task", lambda system: system.task)()
    return found


def model_of(name: str) -> type[nn.Module]:
    """The class of a system's model folders."""
    found: type[nn.Module] = _part(name, "model", lambda system: system.model)()
    return found


def reader_of(name: str) -> Callable[..., Any]:
    """The reader of a system's published checkpoints.

    Raises UsageError, naming those that have one."""
    readers = [other for other, known in systems().items() if known.published]
    if name not in readers:
        raise UsageError(f"no published checkpoints can be read for {name!r}{suggest(name, readers)}")
    reader: Callable[..., Any] = systems()[name].published()  # type: ignore[misc]  # those listed have one
    return reader


def options_of(name: str, verb: str) -> type:
    """The options of a verb on a system's trained models. Raises UsageError where the system does not have it."""
    return _part(name, _NOUNS.get(verb, verb), lambda known: _options(known, verb))


def systems_with(verb: str) -> list[str]:
    """The systems, and parts of them, whose trained models have a verb."""
    return [name for name, known in systems().items() if _options(known, verb)]


def verbs() -> dict[str, Verb]:
    """The verbs of rooms' own on trained models."""
    return {verb: own for known in systems().values() for verb, own in known.verbs.items()}


def _options(known: System, verb: str) -> type | None:
    return known.verbs[verb].options if verb in known.verbs else known.options.get(verb)


def _part(name: str, what: str, of: Callable[[System], Any]) -> Any:
    found = of(system(name))
    if found is None and system(name).state != "ready":
        raise UsageError(f"{name} has no {what}: it is {_state(system(name))}")
    if found is None:
        others = ", ".join(other for other, known in systems().items() if of(known) is not None)
        raise UsageError(f"{name} has no {what}; what has one: {others}")
    return found


def _state(known: System) -> str:
    return f"a part of {known.part_of}" if known.part_of else known.state


def recipes() -> dict[str, Named]:
    """All recipes, by name."""
    return {name: recipe for known in systems().values() for name, recipe in known.recipes.items()}


def recipe(name: str) -> Recipe:
    """The recipe called ``name``, a frozen dataclass (change it with ``tenfold.settings.change``).

    Raises UsageError, with a suggestion, for an unknown name.

    >>> recipe("tarflow-digits").model.blocks
    4
    """
    if name not in recipes():
        raise UsageError(f"there is no recipe {name!r}{suggest(name, recipes())}")
    return recipes()[name].recipe


def name_of(recipe: Recipe) -> str:
    """The name under which a recipe is listed; for a changed one, the first of its kind that is listed.

    Raises UsageError for an object that is no recipe."""
    alike = [name for name, known in recipes().items() if type(known.recipe) is type(recipe)]
    if not alike:
        raise UsageError(f"{type(recipe).__name__} is no recipe; give a recipe or one of {', '.join(recipes())}")
    return next((name for name in alike if recipes()[name].recipe == recipe), alike[0])


def plain(name: str) -> Recipe:
    """A system's recipe with every setting at its default: what a bare model folder is completed with.

    Raises UsageError for a system that has none."""
    found = {other: known.plain for other, known in systems().items() if known.plain is not None}
    if name not in found and name in systems():
        raise UsageError(f"{name} has no models to use: its state is {systems()[name].state!r}")
    if name not in found:
        raise UsageError(f"there is no system {name!r} to use this model with{suggest(name, found)}")
    return found[name]


def commands() -> dict[str, Command]:
    """The verbs of rooms' own that work on no trained model."""
    return {verb: command for known in systems().values() for verb, command in known.commands.items()}


def examples(verb: str = "") -> dict[str, Example]:
    """The worked examples, or those of one verb."""
    found = {name: example for known in systems().values() for name, example in known.examples.items()}
    return {name: example for name, example in found.items() if verb in ("", example.verb)}


def system_of_example(name: str) -> str:
    """The system that a worked example belongs to."""
    return next(known.name for known in systems().values() if name in known.examples)


def jobs() -> dict[str, Job]:
    """What ``results/run.py`` can redo."""
    return {name: job for known in systems().values() for name, job in known.jobs.items()}


def rooms_of_jobs() -> dict[str, str]:
    """The folder of the room that each job of results is about."""
    return {
        name: room for room in ROOMS for known in import_module(f"tenfold.{room}.system").SYSTEMS for name in known.jobs
    }


def benchmarks() -> list[str]:
    """The modules of ``benchmarks/``, in the order of the rooms."""
    return list(dict.fromkeys(module for known in systems().values() for module in known.benchmarks))
