"""What a system is to the verbs. Imports nothing heavy: parts that need PyTorch are functions that import them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tenfold.runs.jobs import Job
from tenfold.runs.outcome import Outcome
from tenfold.runs.recipe import Recipe
from tenfold.runs.usable import TaskFactory


class Named(NamedTuple):
    """A recipe, and what it trains in a line for ``tenfold list``."""

    summary: str
    recipe: Recipe


class Command(NamedTuple):
    """A verb of a room's own: a line for ``tenfold --help``, and what runs it (arguments to exit code)."""

    summary: str
    run: Callable[[list[str]], int]


class Verb(NamedTuple):
    """A verb of a room's own on a trained model: a line for ``tenfold --help``, the dataclass of its options, and what
    it reads besides ("IMAGES", say; "" for nothing). The task has a method of its name, as ``usable.Own`` says."""

    summary: str
    options: type
    inputs: str = ""
    examples: str = ""


class Example(NamedTuple):
    """A worked example: the verb whose ``--example`` it is, a line about it, and a function that returns its function,
    called with (folder of figures, quick, progress) and the example's own options."""

    verb: str
    summary: str
    run: Callable[[], Callable[..., Outcome]]


@dataclass(frozen=True)
class System:
    """One of the ten systems, or a part of one that is trained, converted and measured by itself.

    Attributes:
        name: in recipes, model folders and on the command line.
        title: what it is, in a line.
        paper: where it is from.
        state: "ready", "not yet", or what is missing.
        part_of: the system that it is a part of; "" for the ten.
        task: returns the factory ``(recipe, name) -> task``, a task of training and a ``tenfold.runs.usable.Usable``.
        model: returns the class of its model folders.
        published: returns the reader of published checkpoints behind ``convert``.
        options: by verb on a trained model ("sample", "score", "analyse"), the dataclass of its options; under
            "evaluate" that of suites of problems ("suite" and what goes with it).
        verbs: further verbs on a trained model, of the room's own.
        recipes: by name.
        plain: the recipe with every setting at its default, which a bare model folder is completed with.
        commands: verbs of the room's own that work on no trained model.
        examples: worked examples by name.
        jobs: what ``results/run.py`` redoes, by name.
        benchmarks: modules of ``benchmarks/``.
    """

    name: str
    title: str
    paper: str
    state: str = "ready"
    part_of: str = ""
    task: Callable[[], TaskFactory] | None = None
    model: Callable[[], Any] | None = None
    published: Callable[[], Callable[..., Any]] | None = None
    options: Mapping[str, type] = field(default_factory=dict)
    verbs: Mapping[str, Verb] = field(default_factory=dict)
    recipes: Mapping[str, Named] = field(default_factory=dict)
    plain: Recipe | None = None
    commands: Mapping[str, Command] = field(default_factory=dict)
    examples: Mapping[str, Example] = field(default_factory=dict)
    jobs: Mapping[str, Job] = field(default_factory=dict)
    benchmarks: tuple[str, ...] = ()
