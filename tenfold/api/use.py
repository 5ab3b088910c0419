"""What the verbs do with a trained model: evaluate, report, sample, analyse, score, load."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from tenfold import progress
from tenfold.api import catalogue
from tenfold.api.runs import Model, Run, open_run, open_source
from tenfold.errors import UsageError
from tenfold.figures import write_captions
from tenfold.files import check_writable, write_json
from tenfold.reports import write_joint_report, write_report
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.run_folder import RunFolder, provenance
from tenfold.runs.scores import Scores, check_target
from tenfold.runs.usable import Analysed, Own, Samples, Scored, Solving, Usable
from tenfold.settings.changes import change

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Kind = TypeVar("Kind", bound="nn.Module")
Source = Run | Model | str | os.PathLike[str]
"""What the verbs take: a run, a model folder, or a hub id."""


def trained_task(run: Run | str | os.PathLike[str]) -> Usable:
    """The task of a run with its trained weights."""
    return open_run(run).trained()


def evaluate(run: Run | str | os.PathLike[str], *, device: str = "auto", **changes: Any) -> list[Measurement]:
    """Measure a run's model, and the baselines, into ``evaluation.json``; returns the rows.

    ``changes`` are fields of the recipe's evaluation settings, ``draws=32`` say."""
    run = open_run(run, device)
    _ = run.weights  # says what is missing, before any work
    main = run.main
    measured = []
    for stage in run.main_first:
        if changes and stage is main:
            stage = stage.changed(change(stage.recipe, {"evaluation": changes}))
        measured.append(_measured(stage))
    rows = _told_once(measured)
    if run.recipe.is_pipeline:
        run.folder.write_evaluation(rows)
    return rows


def _measured(run: Run) -> list[Measurement]:
    task = run.trained()
    with run.folder.lock():
        rows = task.evaluate()
        rows = [row if row.model else replace(row, model=run.name) for row in rows]
        run.folder.write_evaluation(rows)
    return rows


def _told_once(stages: list[list[Measurement]]) -> list[Measurement]:
    """The rows of stages, the main one's first. Later stages measure some things again, under names of their own and
    to rounding: those are left out."""
    kept = list(stages[0])
    for rows in stages[1:]:
        kept += [row for row in rows if not any(_same_measurement(row, other) for other in kept)]
    return kept


def _same_measurement(row: Measurement, other: Measurement) -> bool:
    same = (row.name, row.split, row.unit) == (other.name, other.split, other.unit)
    return same and math.isclose(row.value, other.value, rel_tol=1e-5)


def solve(
    source: Source,
    folder: str | os.PathLike[str] | None = None,
    options: Any = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    **changes: Any,
) -> tuple[Path, list[Measurement]]:
    """Give a model a suite of problems with tests (``suite="humaneval"``): every completion with its verdict, pass@k,
    ``evaluation.json`` and ``report.html``; returns the page and the measurements.

    Args:
        source: a run, a model folder, or a hub id.
        folder: a new folder, or one in which the same call was cut off, which then goes on; without it one of the
            suite's name in the run, or in the working directory.
        options: the system's options of suites; its defaults without.
        device: as for ``sample``.
        dtype: as for ``sample``.
        changes: fields of the options.

    Raises:
        UsageError: a system without suites, options or problems that do not fit, a folder that holds something else.
    """
    opened = open_source(source, device, dtype)
    options = change(options or catalogue.options_of(opened.system, "evaluate")(), changes)
    target = RunFolder(folder or opened.outputs / options.suite)
    begun = (target.path / "suite.json").is_file() and not target.evaluation.exists()
    if not begun:
        target = _new_results(target.path)
    task = opened.trained()
    with target.lock():
        return _reported(
            lambda figures: cast(Solving, task).solve(options, figures.parent), target, task.name, opened.system, begun
        )


def holds_outcome(folder: Run | str | os.PathLike[str]) -> bool:
    """Whether a folder is of a worked example or of a verb of ``perform``: it has measurements and figures, but no
    model that could be measured or drawn again."""
    if isinstance(folder, Run):
        return False
    written = RunFolder(folder)
    return written.config.is_file() and written.evaluation.is_file() and "recipe" not in written.load_config()


def report(run: Run | str | os.PathLike[str], *, device: str = "auto") -> Path:
    """Draw a run's figures and write ``report.html``; returns its path. Of a folder that a worked example or an
    analysis wrote, the page is made of the figures that are there."""
    if not isinstance(run, Run) and holds_outcome(run):
        return Path(write_report(run))
    run = open_run(run, device)
    page = run.folder.report
    for stage in run.stages:
        task = stage.trained()
        with stage.folder.lock():
            task.figures(stage.folder.figures)
            page = Path(write_report(stage.path))
    return joint_report(run.main_first, run.folder.report, run.name) if run.recipe.is_pipeline else page


def joint_report(
    runs: Sequence[Run | str | os.PathLike[str]], page: str | os.PathLike[str], title: str = "tenfold"
) -> Path:
    """Write one self-contained HTML page about several runs; their figures must exist (``report``)."""
    return Path(write_joint_report([run.path if isinstance(run, Run) else run for run in runs], Path(page), title))


def sample(
    source: Source,
    folder: str | os.PathLike[str] | None = None,
    options: Any = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    **changes: Any,
) -> list[Path]:
    """Draw samples and write them (a picture, the numbers, a record of how they were made).

    Args:
        source: a run, a model folder, or a hub id.
        folder: where the files go; ``samples/`` of the run, or of the working directory, or ``samples-2/`` and so on
            where that holds an earlier drawing. A folder that is named is used again, and a note says so.
        options: the system's sampling options (``FlowSampling`` for flows); its defaults without.
        device: "auto" (the accelerator, or else the CPU), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the weights: "auto" (as they are stored), "float32", "bfloat16", "float16", "float64".
        changes: fields of the options: ``num=64, classes=3, guidance=1.5``.

    Raises:
        UsageError: options that do not fit the model, before any work.
    """
    opened = open_source(source, device, dtype)
    options = change(options or catalogue.options_of(opened.system, "sample")(), changes)
    target = _samples_folder(folder, opened.outputs, goes_on=bool(getattr(options, "input", "")))
    check_writable(target, "samples", folder=True)
    return cast(Samples, opened.trained()).sample(options, target)


def _samples_folder(named: str | os.PathLike[str] | None, outputs: Path, goes_on: bool) -> Path:
    """Where samples go; a file of prompts goes on where it stopped, everything else begins anew."""
    target = Path(named or outputs / "samples")
    if goes_on:
        return target
    if named is None:
        places = (target, *(target.with_name(f"samples-{number}") for number in range(2, 10_000)))
        return next(place for place in places if not (place / "samples.json").exists())
    if (target / "samples.json").exists():
        progress.note(f"{target} holds samples of an earlier run, which these replace")
    return target


def analyse(
    source: Source,
    folder: str | os.PathLike[str] | None = None,
    options: Any = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    **changes: Any,
) -> tuple[Path, list[Measurement]]:
    """Look at how a model works, a masked language model's decoding order say: figures, ``data.json``,
    ``evaluation.json`` and ``report.html``; returns the page and the measurements.

    Args:
        source: a run, a model folder, or a hub id.
        folder: a new folder; ``analysis/`` of the run, or of the working directory.
        options: the system's options of analysis; its defaults without.
        device: as for ``sample``.
        dtype: as for ``sample``.
        changes: fields of the options.

    Raises:
        UsageError: options that do not fit the model or the data, and a folder that holds an analysis already.
    """
    opened = open_source(source, device, dtype)
    options = change(options or catalogue.options_of(opened.system, "analyse")(), changes)
    target = _new_results(folder or opened.outputs / "analysis")
    task = opened.trained()
    return _reported(lambda figures: cast(Analysed, task).analyse(options, figures), target, task.name, opened.system)


def perform(
    verb: str,
    source: Source,
    inputs: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    options: Any = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    **changes: Any,
) -> tuple[Path, list[Measurement]]:
    """A verb of a system's own on its trained model; the page that it wrote and its measurements.

    Args:
        verb: one of ``System.verbs``.
        source: a run, a model folder, or a hub id.
        inputs: what the verb reads.
        folder: a new folder; one of the verb's name in the run, or in the working directory.
        options: the verb's options; its defaults without.
        device: as for ``sample``.
        dtype: as for ``sample``.
        changes: fields of the options.

    Raises:
        UsageError: a system without that verb, options or inputs that do not fit, a folder that is in use.
    """
    opened = open_source(source, device, dtype)
    options = change(options or catalogue.options_of(opened.system, verb)(), changes)
    target = _new_results(folder or opened.outputs / verb)
    task = opened.trained()
    own: Own = getattr(task, verb)
    return _reported(lambda figures: own(options, inputs, figures), target, task.name, opened.system)


def _new_results(folder: str | os.PathLike[str]) -> RunFolder:
    target = RunFolder(folder)
    if target.path.exists() and (not target.path.is_dir() or any(target.path.iterdir())):
        raise UsageError(f"{target.path} exists already and is not an empty folder; choose another --out")
    check_writable(target.path, "results", folder=True)
    return target


def _reported(
    work: Callable[[Path], Outcome], target: RunFolder, name: str, system: str, begun: bool = False
) -> tuple[Path, list[Measurement]]:
    """What some work found, as a folder with a report; nothing is left of work that was refused, unless it was begun
    before."""
    facts = provenance()
    target.figures.mkdir(parents=True, exist_ok=True)
    try:
        found = work(target.figures)
    except UsageError:
        if not begun:
            shutil.rmtree(target.path)  # nothing was measured
        raise
    target.start({"name": name, "system": system, **found.settings})
    target.write_evaluation(found.rows)
    target.write_provenance(**facts)
    write_captions(target.figures, found.captions)
    write_json(target.path / "data.json", found.data)
    return Path(write_report(target.path)), found.rows


def score(
    source: Source,
    inputs: str | os.PathLike[str] | Sequence[str] | np.ndarray,
    out: str | os.PathLike[str] | None = None,
    options: Any = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    **changes: Any,
) -> Scores:
    """Log-likelihoods of data, from the least to the most likely.

    Args:
        source: a run, a model folder, or a hub id.
        inputs: for flows on images an image file, a folder of them, a .npy or .npz file, or an array; integers are
            levels of pixels, floats are in the model's own scale. For models of text a file, a folder of files, or
            a list of strings.
        out: a .csv or .json file for the scores, with a picture beside it.
        options: the system's scoring options (``FlowScoring`` for flows, ``TextScoring`` for text), its defaults
            without.
        device: as for ``sample``.
        dtype: as for ``sample``.
        changes: fields of the options: ``classes=3, draws=64``.

    Raises:
        UsageError: inputs and options that do not fit the model, before any work.
    """
    target = None if out is None else Path(out)
    if target is not None:
        check_target(target)
    opened = open_source(source, device, dtype)
    options = change(options or catalogue.options_of(opened.system, "score")(), changes)
    picture = None if target is None else target.with_suffix(".png")
    found = cast(Scored, opened.trained()).score(options, inputs, picture)
    if target is None:
        return found
    found.write(target)
    return replace(found, files=(target, *found.files))


@overload
def load(source: Source, kind: type[Kind], *, device: str = "auto", dtype: str = "auto") -> Kind: ...


@overload
def load(source: Source, kind: None = None, *, device: str = "auto", dtype: str = "auto") -> Any: ...


def load(
    source: Source, kind: type[nn.Module] | None = None, *, device: str = "auto", dtype: str = "auto"
) -> nn.Module:
    """The trained model of a run, a model folder or a hub id, ready for ``log_prob``, ``sample``, ...

    Args:
        source: a run, a model folder, or a hub id.
        kind: the class that is expected, ``tenfold.TarFlow`` say: type checkers then know what comes back, and another
            model is refused before its weights are read. Without it whatever is there comes back.
        device: "auto" (the accelerator, or else the CPU), "cpu", "cuda", "cuda:1", "mps".
        dtype: of the weights: "auto" (as they are stored), "float32", "bfloat16", "float16", "float64".

    Raises:
        UsageError: no model there, another kind of model, weights that do not fit.
    """
    from tenfold import hub
    from tenfold.training.devices import device_named, dtype_named

    where, precision = device_named(device), dtype_named(dtype)
    opened = open_source(source)
    found = catalogue.model_of(hub.read_config(opened.weights)["model_type"])
    if kind is not None and not (isinstance(kind, type) and issubclass(found, kind)):
        asked = getattr(kind, "__name__", repr(kind))
        raise UsageError(f"{opened.weights} holds a {found.__name__}, but {asked} is asked for; load it as what it is")
    # Some kinds have a layout of their own, which other libraries read too.
    read = getattr(found, "from_pretrained", None)
    model: nn.Module = hub.from_pretrained(found, opened.weights) if read is None else read(opened.weights)
    return model.to(device=where, dtype=precision).eval()
