"""Runs and model folders as the verbs open them: once, with one task, whose weights are read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tenfold.api import catalogue
from tenfold.api.foreign import refuse_file, refuse_foreign
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.runs.recipe import Recipe
from tenfold.runs.run_folder import RunFolder
from tenfold.runs.usable import Usable
from tenfold.settings.changes import as_dict, change


class Opened:
    """A recipe by its name, on a device, with its one task. ``Run`` and ``Model`` say where its ``weights`` are."""

    weights: str | Path

    def __init__(self, name: str, recipe: Recipe, device: str, dtype: str) -> None:
        self.name, self.recipe, self.device, self.dtype = name, recipe, device, dtype
        self.has_weights = False

    @property
    def system(self) -> str:
        """The system that samples and scores."""
        return self.recipe.system

    def place(self, device: str, dtype: str = "auto") -> None:
        """Use this device and floating type for weights that are not read yet."""
        self.device, self.dtype = device, dtype

    @cached_property
    def task(self) -> Usable:
        """The task of the recipe: made once, its weights not read yet."""
        return make_task(self.name, self.recipe)

    def trained(self) -> Usable:
        """The task with its trained weights, on the device; they are read at most once."""
        if not self.has_weights:
            from tenfold.training.devices import device_named, dtype_named

            device, dtype = device_named(self.device), dtype_named(self.dtype)
            self.task.load(self.weights)
            self.task.to(device, dtype)
            self.has_weights = True
        return self.task


class Model(Opened):
    """A model folder or a hub id: the system's plainest recipe with the folder's geometry, and what else of the recipe
    it was trained with the folder says."""

    outputs = Path()

    def __init__(self, source: str | os.PathLike[str], device: str = "auto", dtype: str = "auto") -> None:
        from tenfold import hub

        refuse_foreign(source, hub.resolve(source))
        config = hub.read_config(source)
        kind = str(config["model_type"])
        changes = {**config.get("recipe", {}), "model": config["config"]}
        super().__init__(str(config.get("name", kind)), change(catalogue.plain(kind), changes), device, dtype)
        self.weights, self.kind = os.fspath(source), kind

    @property
    def system(self) -> str:
        """What ``config.json`` says."""
        return self.kind


class Run(Opened):
    """A run on disk: its folder, the recipe's name, and the settings it was trained with."""

    def __init__(
        self, folder: RunFolder, name: str, recipe: Recipe, device: str = "auto", dtype: str = "auto", part_of: str = ""
    ) -> None:
        super().__init__(name, recipe, device, dtype)
        self.folder, self.whole = folder, part_of or str(folder.path)
        self.advanced = False  # whether this process trained it further

    @property
    def path(self) -> Path:
        """Where the run lives."""
        return self.folder.path

    @property
    def outputs(self) -> Path:
        """The run's folder."""
        return self.path

    @property
    def measurements(self) -> list[Measurement]:
        """The rows of ``evaluation.json``; empty before ``evaluate``."""
        return self.folder.read_evaluation() if self.folder.evaluation.exists() else []

    @property
    def is_measured(self) -> bool:
        """Whether it was measured and reported on already, and not trained since."""
        return not self.advanced and self.folder.evaluation.exists() and self.folder.report.exists()

    @cached_property
    def stages(self) -> tuple[Run, ...]:
        """The stages in order, each a run of its own in a folder below; of a plain recipe, the run itself."""
        if not self.recipe.is_pipeline:
            return (self,)
        recipes = {name: self.recipe.stage(name, str(self.path)) for name in self.recipe.stages}
        return tuple(
            Run(RunFolder(self.path / name), recipe.system, recipe, self.device, self.dtype, self.whole)
            for name, recipe in recipes.items()
        )

    @property
    def main(self) -> Run:
        """The stage that samples and scores."""
        return self.stages[self.recipe.stages.index(self.recipe.main)]

    @property
    def main_first(self) -> list[Run]:
        """The stages, that which the run is about before the others."""
        return sorted(self.stages, key=lambda stage: stage is not self.main)

    @cached_property
    def task(self) -> Usable:
        """The main stage's task, under the run's name."""
        return make_task(self.name, self.recipe) if self.main is self else self.main.task

    @property
    def weights(self) -> Path:  # type: ignore[override]
        """The main stage's model folder, when all stages are trained."""
        for stage in self.stages:
            if not stage.folder.model.is_dir():
                raise UsageError(
                    f"{stage.path} has no trained model yet; finish it with 'tenfold train --resume {self.whole}'"
                )
        return self.main.folder.model

    def trained(self) -> Usable:
        """The main stage's task with its trained weights; they are read at most once."""
        _ = self.weights
        return super().trained() if self.main is self else self.main.trained()

    def place(self, device: str, dtype: str = "auto") -> None:
        """The same for every stage."""
        super().place(device, dtype)
        for stage in self.stages:
            if stage is not self:
                stage.place(device, dtype)

    def changed(self, recipe: Recipe) -> Run:
        """The same run with other settings, none of it opened yet; itself where nothing differs."""
        if recipe == self.recipe:
            return self
        return Run(self.folder, self.name, recipe, self.device, self.dtype, self.whole)


def make_task(name: str, recipe: Recipe) -> Usable:
    """The task (model, data, objective) of a recipe."""
    return catalogue.task_of(recipe)(recipe, name)


def settings_of(name: str, recipe: Recipe) -> dict[str, Any]:
    """What ``config.yaml`` holds: the recipe's name and all its settings. ``train --config`` reads it."""
    return {"recipe": name, **as_dict(recipe)}


def read_settings(settings: Mapping[str, Any]) -> tuple[str, Recipe]:
    """The name and the recipe of ``settings_of``'s dictionary."""
    values = dict(settings)
    name = values.pop("recipe", None)
    if not isinstance(name, str):
        raise UsageError("the configuration names no recipe; add a line such as 'recipe: tarflow-digits'")
    # A stage of a larger run is called by its system.
    base = catalogue.recipe(name) if name in catalogue.recipes() else catalogue.plain(name)
    return name, change(base, values)


def open_run(run: Run | str | os.PathLike[str], device: str = "auto", dtype: str = "auto") -> Run:
    """The run in a folder; raises UsageError where there is none."""
    if isinstance(run, Run):
        return run
    folder = RunFolder(run)
    folder.require_run()
    return Run(folder, *read_settings(folder.load_config()), device, dtype)


def open_source(source: Run | Model | str | os.PathLike[str], device: str = "auto", dtype: str = "auto") -> Run | Model:
    """A run, a model folder or a hub id.

    Raises UsageError for what is none of them."""
    if isinstance(source, Run | Model):
        return source
    path = Path(source)
    if path.parts[:1] == ("runs",) and not path.exists():  # no hub id: nobody is called "runs"
        raise UsageError(f"{source} does not exist; a run is made with 'tenfold train RECIPE --out {source}'")
    if path.is_dir() and RunFolder(path).holds_run():
        return open_run(path, device, dtype)
    if path.is_file():
        refuse_file(path)
    if path.is_dir():
        refuse_foreign(path, path)
    if path.is_dir() and not (path / "config.json").exists():
        raise UsageError(f"{source} is neither a run nor a model folder: it has no config.yaml and no config.json")
    return Model(source, device, dtype)
