"""What ``results/run.py`` can redo, as settings: each job writes one JSON file of results that the docs show."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Training:
    """A recipe, trained with ``seeds``; ``options`` are further options of ``tenfold train``, and ``seeded`` those
    that take the seed: one a stage, of a recipe of several."""

    recipe: str
    options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = field(default=SEEDS)
    seeded: tuple[str, ...] = ("--train.seed",)

    @property
    def command(self) -> str:
        """The command that trains one seed, as the docs show it."""
        seed = [word for option in self.seeded for word in (option, "SEED")] if len(self.seeds) > 1 else []
        return shlex.join(["tenfold", "train", self.recipe, *self.options, *seed])


@dataclass(frozen=True)
class Comparison:
    """Several trainings side by side in one table, each under a name of its own; ``metrics`` names the rows that are
    compared, and ``after`` a job whose runs the trainings start from.

    ``models`` tells which model's rows are a variant's own (without it those that begin with "starflow"; of several
    models in one run, the name of each in the table), ``baselines`` whose rows are taken over from the first variant.
    With ``differences``, every two variants are compared in the first of the metrics, and a note says whether their
    difference exceeds the noise between seeds. With ``compute`` ("seconds" or "step"), a picture of the first seeds'
    validation loss in bits a ``unit`` goes into the docs.
    With ``curve`` ("STAGE/METRIC" of training), a picture of its mean over seeds against the share of the steps does.
    ``beside`` are runs of the job ``after``, by name, that stand in the table and in the picture too."""

    variants: Mapping[str, Training]
    metrics: tuple[str, ...]
    after: str = ""
    models: Mapping[str, str | Mapping[str, str]] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    differences: bool = False
    compute: str = ""
    curve: str = ""
    unit: str = "character"
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def further(self) -> tuple[str, ...]:
        """Names in the table that are no variant's: the other models of their runs."""
        several = [models for models in self.models.values() if not isinstance(models, str)]
        return tuple(name for models in several for name in models.values() if name not in self.variants)


@dataclass(frozen=True)
class Benchmark:
    """A module of ``benchmarks/`` that writes its own records."""

    room: str
    options: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command, as the docs show it."""
        return shlex.join(["python", "-m", f"benchmarks.{self.room}", *self.options])


@dataclass(frozen=True)
class Worked:
    """A worked example of ``tenfold VERB --example NAME``; its rows are kept, and a picture goes into the docs.

    ``after`` names the jobs whose runs the ``options`` speak of; ``spread`` tells what ± is over, after the words "the
    standard error"."""

    verb: str
    example: str
    picture: str = ""
    options: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    spread: str = ""

    @property
    def command(self) -> str:
        """The command, as the docs show it."""
        words = ["tenfold", self.verb, "--example", self.example, *self.options, "--out", f"runs/{self.example}"]
        return shlex.join(words)


@dataclass(frozen=True)
class Analysis:
    """``tenfold analyse`` of a run that the job ``after`` trained: its rows are kept, with the function bodies or the
    samples that it shows, and pictures go into the docs. ``spread`` tells what ± is over, after the words "the standard
    error"."""

    run: str
    options: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    after: str = ""
    spread: str = ""

    @property
    def command(self) -> str:
        """The command, as the docs show it."""
        return shlex.join(["tenfold", "analyse", f"runs/results/{self.run}", *self.options])


Job = Training | Comparison | Benchmark | Worked | Analysis
