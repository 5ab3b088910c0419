"""Recipes small enough for tests (8x8 digits, 4x4 latents), and what the tests do with their tasks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenfold.data.images.config import ImageDataConfig
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.runs.run_folder import RunFolder
from tenfold.starflow.autoencoder.config import (
    AutoencoderEvaluation,
    AutoencoderObjective,
    DecoderObjective,
    ReconstructionConfig,
)
from tenfold.starflow.autoencoder.recipes import AutoencoderRecipe, DecoderRecipe
from tenfold.training.loop import train
from tenfold.training.streams import Draws
from tenfold.training.task import Update
from tests.training.toys import configuration

MODEL = AutoencoderConfig(widths=(8, 16), norm_groups=4, mid_attention=False)
DATA = ImageDataConfig(source="digits", levels=17, validation=20, test=60)
PAIR = ReconstructionConfig(
    adversarial_weight=0.1, adversarial_start=2, discriminator_width=8, discriminator_layers=2, discriminator_rate=0.5
)
TRAIN = configuration(steps=6, threads=1, log_every=2, validate_every=0, checkpoint_every=0)


def autoencoder_recipe(**changes: Any) -> AutoencoderRecipe:
    """An adversarial autoencoder's; ``changes`` by group, ``train={"steps": 3}`` say."""
    objective = AutoencoderObjective(scale_images=64)
    return _changed(AutoencoderRecipe(MODEL, DATA, PAIR, objective, TRAIN), changes)


def decoder_recipe(start: Any, **changes: Any) -> DecoderRecipe:
    """An adversarial decoder's, starting from an autoencoder."""
    objective = DecoderObjective(start=str(start), sigma=0.4)
    return _changed(DecoderRecipe(DATA, PAIR, objective, TRAIN, AutoencoderEvaluation()), changes)


def _changed(recipe: Any, changes: dict[str, dict[str, Any]]) -> Any:
    return replace(recipe, **{name: replace(getattr(recipe, name), **values) for name, values in changes.items()})


class Bomb(Exception):
    """Stands for a crash."""


def run(folder: Path, task: Any, **options: Any) -> None:
    train(
        task, task.recipe.train, RunFolder(folder), show=False, settings={"train": vars(task.recipe.train)}, **options
    )


def failing(task: Any, step: int) -> Any:
    """The task, crashing between or after the updates of a step."""
    real = task.step

    def crashing(modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
        for update in real(modules, batch, draws):
            yield update
            if draws.step == step:
                raise Bomb

    task.step = crashing
    return task


def batch_of(task: Any, rows: list[int]) -> dict[str, torch.Tensor]:
    return {**task.splits.train.batch(np.array(rows)), "index": torch.tensor(rows)}


def updates_of(task: Any, batch: Mapping[str, torch.Tensor], step: int) -> list[Update]:
    return list(task.step(task.modules(), batch, Draws(0, step)))
