"""The verbs as Python functions: train, resume, evaluate, sample, analyse, score, report, load, convert.

Everything heavy is imported inside the functions, so that importing this module stays quick.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold import progress, recipes
from tenfold.errors import UsageError, suggest
from tenfold.files import write_yaml
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder
from tenfold.runs.scores import Scores, check_target
from tenfold.settings import reading
from tenfold.settings.parser import as_dict, change, changed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Run:
    """A run on disk: its folder, the recipe's name, and the settings it was trained with."""

    folder: RunFolder
    name: str
    recipe: Any

    @property
    def path(self) -> Path:
        """Where the run lives."""
        return self.folder.path

    @property
    def measurements(self) -> list[Measurement]:
        """The rows of ``evaluation.json``; empty before ``evaluate``."""
        return self.folder.read_evaluation() if self.folder.evaluation.exists() else []


def settings_of(name: str, recipe: Any) -> dict[str, Any]:
    """What ``config.yaml`` holds: the recipe's name and all its settings. ``train --config`` reads it."""
    return {"recipe": name, **as_dict(recipe)}


def read_settings(settings: Mapping[str, Any]) -> tuple[str, Any]:
    """The name and the recipe of ``settings_of``'s dictionary."""
    values = dict(settings)
    name = values.pop("recipe", None)
    if not isinstance(name, str):
        raise UsageError("the configuration names no recipe; add a line such as 'recipe: tarflow-digits'")
    # A stage of a larger run is called by its system.
    base = recipes.recipe(name) if name in recipes.RECIPES else recipes.plain(name)
    return name, change(base, values)


def open_run(run: Run | str | os.PathLike[str]) -> Run:
    """The run in a folder; raises UsageError where there is none."""
    if isinstance(run, Run):
        return run
    folder = RunFolder(run)
    folder.require_run()
    name, recipe = read_settings(folder.load_config())
    return Run(folder, name, recipe)


def stages_of(run: Run) -> list[Run]:
    """The stages of a run whose recipe has several, in order, each a run of its own in a folder below; else the run
    itself.

    A recipe of several stages has ``stages``, their names, ``main``, the one that samples and scores, and
    ``stage(name, folder)``, the stage's own recipe with the earlier stages' results filled in; ``described`` names
    the stages whose size is known before any is trained."""
    if not _is_pipeline(run.recipe):
        return [run]
    recipes_ = [(name, run.recipe.stage(name, str(run.path))) for name in run.recipe.stages]
    return [Run(RunFolder(run.path / name), recipe.system, recipe) for name, recipe in recipes_]


def _is_pipeline(recipe: Any) -> bool:
    return getattr(recipe, "stages", ("",)) != ("",)


def main_stage(run: Run) -> Run:
    """The stage that samples and scores, of a run of several; else the run itself."""
    return stages_of(run)[run.recipe.stages.index(run.recipe.main)] if _is_pipeline(run.recipe) else run


def new_folder(name: str) -> Path:
    """``runs/NAME-TIME``, where a run goes that was given no folder."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def make_task(name: str, recipe: Any) -> Any:
    """The task (model, data, objective) of a recipe."""
    return part(recipe.system, "task")(recipe, name)


def describe(recipe: Any) -> dict[str, Any]:
    """Parameters, memory and FLOPs per step of a recipe, from a model on the meta device; of each stage, where it has
    several."""
    if _is_pipeline(recipe):
        return {name: describe(recipe.stage(name, "")) for name in recipe.described}
    found: dict[str, Any] = part(recipe.system, "task").describe(recipe)
    return found


def train(
    recipe: Any,
    out: str | os.PathLike[str] | None = None,
    *,
    evaluate: bool = True,
    **changes: Any,
) -> Run:
    """Train a recipe into a new run folder; then measure it and write its report.

    Args:
        recipe: a recipe or its name (``tenfold list``).
        out: the run folder; ``runs/NAME-TIME`` without it.
        evaluate: whether to measure and report after training.
        changes: settings to change, by group: ``train={"steps": 100}, model={"width": 128}``.

    Raises:
        UsageError: an unknown name, a bad value, data that do not fit the model, a folder that holds a run;
            all before anything is written.
    """
    settings = change(recipes.recipe(recipe) if isinstance(recipe, str) else recipe, changes)
    name = recipe if isinstance(recipe, str) else recipes.name_of(recipe)
    if out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("several processes need one folder; set --out")
    folder = RunFolder(new_folder(name) if out is None else out)
    if _is_main():
        folder.refuse_existing_run()
    return _train(Run(folder, name, settings), evaluate, resume=False, allow_inexact=False)


def resume(
    run: Run | str | os.PathLike[str], *, allow_inexact: bool = False, evaluate: bool = True, **changes: Any
) -> Run:
    """Go on with a run from its last good checkpoint, to the same weights as if it had never stopped.

    ``train={"steps": N}`` extends it (``flow={"train": {"steps": N}}`` for one of several stages). The intervals of
    logging, validation and checkpoints, ``keep_last`` and the tracker may change too; everything else is refused.
    ``allow_inexact`` permits another number of processes or threads, which is no longer bit-exact.
    """
    before = open_run(run)
    after = change(before.recipe, changes)
    for name, (old, new) in changed(before.recipe, after).items():
        if "train" not in name.split(".")[:-1]:  # train.steps, or a stage's: flow.train.steps
            raise UsageError(
                f"{name} of {before.path} is {old} and cannot change to {new} on resume; "
                "leave it out or start a new run"
            )
    return _train(replace(before, recipe=after), evaluate, resume=True, allow_inexact=allow_inexact)


def _train(run: Run, evaluate_too: bool, resume: bool, allow_inexact: bool) -> Run:
    from tenfold.training.loop import train as loop

    if _is_pipeline(run.recipe):
        _train_stages(run, resume, allow_inexact)
    else:
        task = make_task(run.name, run.recipe)
        with progress.shown("reading the data") if _is_main() else nullcontext():
            task.train_source()
        settings = settings_of(run.name, run.recipe)
        loop(task, run.recipe.train, run.folder, resume=resume, allow_inexact=allow_inexact, settings=settings)
    if evaluate_too and _is_main():
        evaluate(run)
        report(run)
    return run


def _train_stages(run: Run, resume: bool, allow_inexact: bool) -> None:
    """Train what is not finished yet of each stage, in order; interrupted, the run is resumed as any other."""
    from tenfold.training.interrupt import Interrupted

    settings = settings_of(run.name, run.recipe)
    if _is_main():
        if resume:
            write_yaml(run.folder.config, settings)
        else:
            run.folder.start(settings)
    for stage in stages_of(run):
        started = stage.folder.holds_run()
        if started and stage.folder.model.is_dir() and _alike(open_run(stage.path).recipe, stage.recipe, run.path):
            continue
        progress.note(f"{run.path}: {stage.path.name}")
        try:
            _train(stage, False, resume=started, allow_inexact=allow_inexact)
        except Interrupted as stop:  # says how to resume: the whole run, not the stage
            raise Interrupted(str(stop).replace(str(stage.path), str(run.path))) from None


def _alike(before: Any, after: Any, root: Path) -> bool:
    """Whether a stage's recipes differ at most in where the run lies, which changes when its folder is moved."""
    moved = (
        isinstance(new, str) and new.startswith(str(root)) and str(old).endswith(new.removeprefix(str(root)))
        for old, new in changed(before, after).values()
    )
    return all(moved)


def _is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def trained_task(run: Run | str | os.PathLike[str]) -> Any:
    """The task of a run with its trained weights."""
    run = open_run(run)
    for stage in stages_of(run):
        if not stage.folder.model.is_dir():
            raise UsageError(
                f"{stage.path} has no trained model yet; finish it with 'tenfold train --resume {run.path}'"
            )
    main = main_stage(run)
    task = make_task(run.name, main.recipe)
    task.load(main.folder.model)
    return task


def evaluate(run: Run | str | os.PathLike[str], **changes: Any) -> list[Measurement]:
    """Measure a run's model, and the baselines, into ``evaluation.json``; returns the rows.

    ``changes`` are fields of the recipe's evaluation settings, ``draws=32`` say."""
    run = open_run(run)
    trained_task(run)  # says what is missing, before any work
    measured = []
    for stage in _main_first(run):
        if changes and stage.path == main_stage(run).path:
            stage = replace(stage, recipe=change(stage.recipe, {"evaluation": changes}))
        measured.append(_measured(stage))
    rows = _told_once(measured)
    if _is_pipeline(run.recipe):
        run.folder.write_evaluation(rows)
    return rows


def _main_first(run: Run) -> list[Run]:
    """The stages with that which the run is about before the others."""
    return sorted(stages_of(run), key=lambda stage: stage.path != main_stage(run).path)


def _told_once(stages: list[list[Measurement]]) -> list[Measurement]:
    """The rows of stages, the main one's first. Later stages measure some things again, under names of their own and
    to rounding: those are left out."""
    kept = list(stages[0])
    for rows in stages[1:]:
        kept += [row for row in rows if not any(_same_measurement(row, other) for other in kept)]
    return kept


def _same_measurement(row: Measurement, other: Measurement) -> bool:
    same = (row.name, row.split, row.unit) == (other.name, other.split, other.unit)
    return same and math.isclose(row.value, other.value, rel_tol=1e-3)


def _measured(run: Run) -> list[Measurement]:
    task = trained_task(run)
    with run.folder.lock():
        rows = task.evaluate(training_seconds(run))
        rows = [row if row.model else replace(row, model=run.name) for row in rows]
        run.folder.write_evaluation(rows)
    return rows


def training_seconds(run: Run) -> float:
    """Wall-clock seconds that a run has trained; 0 where it does not say."""
    last = [r["seconds"] for r in run.folder.read_metrics() if isinstance(r.get("seconds"), int | float)]
    return float(last[-1]) if last else 0.0


def report(run: Run | str | os.PathLike[str]) -> Path:
    """Draw a run's figures and write ``report.html``; returns its path."""
    from tenfold.reports import write_report

    run = open_run(run)
    for stage in stages_of(run):
        task = trained_task(stage)
        with stage.folder.lock():
            task.figures(stage.folder.figures)
            page = Path(write_report(stage.path))
    if _is_pipeline(run.recipe):
        page = joint_report(_main_first(run), run.folder.report, run.name)
    return page


def joint_report(runs: list[Run], page: str | os.PathLike[str], title: str = "tenfold") -> Path:
    """Write one self-contained HTML page about several runs; their figures must exist (``report``)."""
    from tenfold.reports import write_joint_report

    return Path(write_joint_report([run.path for run in runs], Path(page), title))


def system_of(source: str | os.PathLike[str]) -> str:
    """The system of a run folder, a model folder or a hub id."""
    if _is_run(source):
        return str(main_stage(open_run(source)).recipe.system)
    if Path(source).is_dir() and not (Path(source) / "config.json").exists():
        raise UsageError(f"{source} is neither a run nor a model folder: it has no config.yaml and no config.json")
    return str(_model_config(source)["model_type"])


def sample(
    source: Run | str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    options: Any = None,
    **changes: Any,
) -> list[Path]:
    """Draw samples and write them (a picture, the numbers, a record of how they were made).

    Args:
        source: a run, a model folder, or a hub id.
        folder: where the files go; ``samples/`` of the run, or of the working directory.
        options: the system's sampling options (``FlowSampling`` for flows); its defaults without.
        changes: fields of the options: ``num=64, classes=3, guidance=1.5``.

    Raises:
        UsageError: options that do not fit the model, before any work.
    """
    system = system_of(source.path if isinstance(source, Run) else source)
    options = change(options or part(system, "sampling")(), changes)
    task, run = _task_of(source)
    target = Path(folder or (Path("samples") if run is None else run.path / "samples"))
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; samples need a folder, choose another --out")
    written: list[Path] = task.sample(options, target)
    return written


def analyse(
    source: Run | str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    options: Any = None,
    **changes: Any,
) -> tuple[Path, list[Measurement]]:
    """Look at how a model works, a masked language model's decoding order say: figures, ``data.json``,
    ``evaluation.json`` and ``report.html``; returns the page and the measurements.

    Args:
        source: a run, a model folder, or a hub id.
        folder: a new folder; ``analysis/`` of the run, or of the working directory.
        options: the system's options of analysis; its defaults without.
        changes: fields of the options.

    Raises:
        UsageError: options that do not fit the model or the data, and a folder that holds an analysis already.
    """
    from tenfold.figures import write_captions
    from tenfold.files import write_json
    from tenfold.reports import write_report
    from tenfold.runs.run_folder import provenance

    system = system_of(source.path if isinstance(source, Run) else source)
    options = change(options or part(system, "analysis")(), changes)
    run = open_run(source) if isinstance(source, Run) or _is_run(source) else None
    target = RunFolder(folder or (Path("analysis") if run is None else run.path / "analysis"))
    if target.path.exists() and (not target.path.is_dir() or any(target.path.iterdir())):
        raise UsageError(f"{target.path} exists already and is not an empty folder; choose another --out")
    task, _ = _task_of(source)
    facts = provenance()
    target.figures.mkdir(parents=True, exist_ok=True)
    try:
        found = task.analyse(options, target.figures)
    except UsageError:
        shutil.rmtree(target.path)  # nothing was measured
        raise
    target.start({"name": task.name, "system": system, **found.settings})
    target.write_evaluation(found.rows)
    target.write_provenance(**facts)
    write_captions(target.figures, found.captions)
    write_json(target.path / "data.json", found.data)
    return Path(write_report(target.path)), found.rows


def score(
    source: Run | str | os.PathLike[str],
    inputs: Any,
    out: str | os.PathLike[str] | None = None,
    options: Any = None,
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
        changes: fields of the options: ``classes=3, draws=64``.

    Raises:
        UsageError: inputs and options that do not fit the model, before any work.
    """
    target = None if out is None else Path(out)
    if target is not None:
        check_target(target)
    task, _ = _task_of(source)
    options = change(options or part(task.recipe.system, "score")(), changes)
    found: Scores = task.score(options, inputs, None if target is None else target.with_suffix(".png"))
    if target is None:
        return found
    found.write(target)
    return replace(found, files=(target, *found.files))


def load(source: Run | str | os.PathLike[str]) -> nn.Module:
    """The trained model of a run, a model folder or a hub id, ready for ``log_prob``, ``sample``, ..."""
    from tenfold import hub

    if isinstance(source, Run) or _is_run(source):
        run = open_run(source)
        trained_task(run)
        folder: str | os.PathLike[str] = main_stage(run).folder.model
    else:
        folder = source
    kind = part(_model_config(folder)["model_type"], "model")
    # Some kinds have a layout of their own, which other libraries read too.
    read = getattr(kind, "from_pretrained", None)
    model: nn.Module = hub.from_pretrained(kind, folder) if read is None else read(folder)
    return model.eval()


def convert(system: str, checkpoint: str | os.PathLike[str], out: str | os.PathLike[str], **options: Any) -> nn.Module:
    """Read a published checkpoint, check every tensor, and write a model folder; returns the model.

    ``options`` go to the system's reader (``channels`` and ``height`` for TarFlow, ``scale_factor`` for an
    autoencoder, the fields of ``PublishedGeometry`` for STARFlow), besides ``sigma``, the Gaussian noise that the model
    was trained with, which is noted for ``sample --denoise`` of a flow, and for whoever uses a decoder.
    """
    from tenfold import hub

    known = {**recipes.SYSTEMS, **recipes.COMPONENTS}
    readers = [name for name, s in known.items() if s.published]
    if system not in readers:
        raise UsageError(f"no published checkpoints can be read for {system!r}{suggest(system, readers)}")
    if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise UsageError(f"{out} already exists and is not an empty folder; choose another OUT_DIR")
    sigma = options.pop("sigma", None)
    if sigma is not None and not sigma > 0:
        raise UsageError(f"sigma is {sigma}; give the standard deviation of the training noise, above 0")
    model: nn.Module = reading.read(part(system, "published"), checkpoint, options, system)
    extra: dict[str, Any] = {"name": Path(checkpoint).stem}
    if sigma is not None and known[system].sampling:
        with_kind = hasattr(recipes.plain(system).objective, "noise")
        extra["recipe"] = {"objective": {"sigma": sigma, **({"noise": "gaussian"} if with_kind else {})}}
    elif sigma is not None:
        extra["sigma"] = sigma
    own: Any = getattr(model, "save_pretrained", None)
    if own is None:
        hub.save_pretrained(model, Path(out), extra)
    else:
        own(Path(out), extra)
    return model


def part(system: str, name: str) -> Any:
    """What a part of a system, "task" or "sampling" say, refers to; UsageError where it is not there."""
    known = {**recipes.SYSTEMS, **recipes.COMPONENTS}
    if system not in known:
        raise UsageError(f"there is no system {system!r}{suggest(system, known)}")
    where = getattr(known[system], name)
    if not where and known[system].state != "ready":
        raise UsageError(f"{system} has no {name}: it is {known[system].state}")
    if not where:
        others = ", ".join(other for other, parts in known.items() if getattr(parts, name))
        raise UsageError(f"{system} has no {name}; what has one: {others}")
    module, _, attribute = where.partition(":")
    return getattr(import_module(module), attribute)


def _is_run(source: Any) -> bool:
    if Path(source).parts[:1] == ("runs",) and not Path(source).exists():  # no hub id: nobody is called "runs"
        raise UsageError(f"{source} does not exist; a run is made with 'tenfold train RECIPE --out {source}'")
    return Path(source).is_dir() and RunFolder(source).holds_run()


def _model_config(source: str | os.PathLike[str]) -> dict[str, Any]:
    from tenfold import hub

    return hub.read_config(source)


def _task_of(source: Run | str | os.PathLike[str]) -> tuple[Any, Run | None]:
    """The task of a run, with the run, or of a model folder or a hub id."""
    if isinstance(source, Run) or _is_run(source):
        run = open_run(source)
        return trained_task(run), run
    return _task_of_model(source), None


def _task_of_model(source: str | os.PathLike[str]) -> Any:
    """A task around a model folder: the system's plainest recipe with the folder's geometry, and what else of the
    recipe it was trained with the folder says ("recipe")."""
    config = _model_config(source)
    base = recipes.plain(config["model_type"])
    changes: dict[str, Any] = {**config.get("recipe", {}), "model": config["config"]}
    task = make_task(config.get("name", config["model_type"]), change(base, changes))
    task.load(source)
    return task
