"""Training: from a recipe to a run folder, and on from where it stopped."""

from __future__ import annotations

import os
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from tenfold import progress
from tenfold.api import catalogue
from tenfold.api.runs import Run, make_task, open_run, settings_of
from tenfold.api.use import evaluate as measure
from tenfold.api.use import report
from tenfold.errors import UsageError
from tenfold.runs.machine import require_announced, require_own_precision
from tenfold.runs.recipe import Recipe
from tenfold.runs.run_folder import RunFolder
from tenfold.runs.usable import Checked
from tenfold.settings.changes import change, changed

if TYPE_CHECKING:
    from tenfold.training.task import Task


def train(
    recipe: Recipe | str,
    out: str | os.PathLike[str] | None = None,
    *,
    evaluate: bool | Literal["later"] = True,
    device: str = "auto",
    **changes: Any,
) -> Run:
    """Train a recipe into a new run folder; then measure it and write its report.

    Args:
        recipe: a recipe or its name (``tenfold list``).
        out: the run folder; ``runs/NAME-TIME`` without it.
        evaluate: whether to measure and report after training; "later": the caller does, and what evaluation would
            refuse is refused before training all the same.
        device: "auto" (the accelerator, or else the CPU), "cpu", "cuda", "cuda:1", "mps".
        changes: settings to change, by group: ``train={"steps": 100}, model={"width": 128}``.

    Raises:
        UsageError: an unknown name, a bad value, data that do not fit the model, a folder that holds a run;
            all before anything is written.
    """
    settings = change(catalogue.recipe(recipe) if isinstance(recipe, str) else recipe, changes)
    name = recipe if isinstance(recipe, str) else catalogue.name_of(recipe)
    if out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("several processes need one folder; set --out")
    folder = RunFolder(new_folder(name) if out is None else out)
    if _is_main():
        folder.refuse_existing_run()
    return _train(Run(folder, name, settings, device), evaluate, resume=False, allow_inexact=False)


def resume(
    run: Run | str | os.PathLike[str],
    *,
    allow_inexact: bool = False,
    evaluate: bool | Literal["later"] = True,
    device: str = "auto",
    **changes: Any,
) -> Run:
    """Go on with a run from its last good checkpoint, to the same weights as if it had never stopped.

    ``train={"steps": N}`` extends it (``flow={"train": {"steps": N}}`` for one of several stages). The intervals of
    logging, validation and checkpoints, ``keep_last`` and the tracker may change too; everything else is refused.
    ``allow_inexact`` permits another number of processes or threads, which is no longer bit-exact.
    """
    before = open_run(run, device)
    after = change(before.recipe, changes)
    for name, (old, new) in changed(before.recipe, after).items():
        if "train" not in name.split(".")[:-1]:  # train.steps, or a stage's: flow.train.steps
            raise UsageError(
                f"{name} of {before.path} is {old} and cannot change to {new} on resume; "
                "leave it out or start a new run"
            )
    return _train(before.changed(after), evaluate, resume=True, allow_inexact=allow_inexact)


def new_folder(name: str) -> Path:
    """``runs/NAME-TIME``, where a run goes that was given no folder."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def describe(recipe: Recipe) -> dict[str, Any]:
    """Parameters, memory and FLOPs per step of a recipe, from a model on the meta device; of each stage, where it has
    several."""
    if recipe.is_pipeline:
        return {name: describe(recipe.stage(name, "")) for name in recipe.described}
    from tenfold.training.parallel import check_batch

    make_task("", recipe)  # refuses what training would, before any data is read
    check_batch(recipe.train, int(os.environ.get("WORLD_SIZE", "1")))  # type: ignore[attr-defined]
    return catalogue.task_of(recipe).describe(recipe)


def _train(run: Run, evaluate: bool | str, resume: bool, allow_inexact: bool) -> Run:
    if run.recipe.is_pipeline:
        _train_stages(run, resume, allow_inexact, bool(evaluate))
    else:
        _train_stage(run, resume, allow_inexact, bool(evaluate))
    if evaluate is True and _is_main() and not run.is_measured:
        measure(run)
        report(run)
    return run


def _train_stage(run: Run, resume: bool, allow_inexact: bool, check: bool) -> None:
    """The loop on the run's own task, which then holds the chosen weights."""
    from tenfold.training.loop import train as loop

    task = cast("Task", run.task)
    _refuse_what_cannot_be(run)
    with progress.shown("reading the data") if _is_main() else nullcontext():
        task.train_source()
        if check and not resume and isinstance(task, Checked):
            task.check_evaluation()
    settings = settings_of(run.name, run.recipe)
    done = loop(
        task,
        run.recipe.train,  # type: ignore[attr-defined]  # what has a task has settings of training
        run.folder,
        resume=resume,
        allow_inexact=allow_inexact,
        settings=settings,
        device=run.device,
    )
    run.advanced = done.updated
    if done.main:
        run.task.to(done.device)
        run.has_weights = True


def _refuse_what_cannot_be(run: Run) -> None:
    """Raise UsageError, before any work, for a training that takes more memory than there is, by more than the dry
    run's estimate may err; and for one whose tracker is missing."""
    from tenfold.nn.memory import require
    from tenfold.training.devices import device_named
    from tenfold.training.metrics import check_tracker

    train: Any = run.recipe.train  # type: ignore[attr-defined]
    check_tracker(train.tracker)
    require_announced()
    require_own_precision(train.precision)

    try:
        told = catalogue.task_of(run.recipe).describe(run.recipe).get("total_bytes", 0)
    except UsageError:  # sizes that the data alone tell
        return
    share = told / int(os.environ.get("WORLD_SIZE", "1"))
    fix = "lower train.batch_size, raise train.accumulate, or train with more processes (--dry-run tells the parts)"
    require(0.75 * share, device_named(run.device), f"training {run.name} (a process, at the least)", fix)


def _train_stages(run: Run, resume: bool, allow_inexact: bool, check: bool) -> None:
    """Train what is not finished yet of each stage, in order; interrupted, the run is resumed as any other."""
    from tenfold.training.interrupt import Interrupted

    settings = settings_of(run.name, run.recipe)
    for stage in run.stages:
        _refuse_what_cannot_be(stage)
    if _is_main():
        if resume:
            run.folder.write_config(settings)
        else:
            run.folder.start(settings)
    for stage in run.stages:
        started = stage.folder.holds_run()
        if started and stage.folder.model.is_dir() and _alike(open_run(stage.path).recipe, stage.recipe, run.path):
            continue
        progress.note(f"{run.path}: {stage.path.name}")
        try:
            _train_stage(stage, resume=started, allow_inexact=allow_inexact, check=check)
        except UsageError:
            if _is_main() and not resume and not any(one.folder.holds_run() for one in run.stages):
                run.folder.forget_start()
            raise
        except Interrupted as stop:  # says how to resume: the whole run, not the stage
            raise Interrupted(str(stop).replace(str(stage.path), str(run.path))) from None
        run.advanced |= stage.advanced


def _alike(before: Recipe, after: Recipe, root: Path) -> bool:
    """Whether a stage's recipes differ at most in where the run lies, which changes when its folder is moved."""
    moved = (
        isinstance(new, str) and new.startswith(str(root)) and str(old).endswith(new.removeprefix(str(root)))
        for old, new in changed(before, after).values()
    )
    return all(moved)


def _is_main() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
