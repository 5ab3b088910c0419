"""What the sweep of all tasks over a second device does not do: an analysis, losses by noise, a language model as the
teacher, and what is read after the task was moved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenfold.data.text.texts import TextScoring
from tenfold.discrete_diffusion import (
    DiffusionAnalysis,
    DiffusionSampling,
    TokenDistilRecipe,
    TokenDistilTask,
)
from tenfold.training.streams import Draws
from tests.devices.second import second
from tests.devices.tasks import CASES, write_sources
from tests.discrete_diffusion.test_token_distil import recipe  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("sources")
    write_sources(path)
    return path


def tensors(part: Any, seen: set[int] | None = None) -> list[Tensor]:
    """Every tensor that hangs on an object of ours."""
    seen = set() if seen is None else seen
    if id(part) in seen:
        return []
    seen.add(id(part))
    if isinstance(part, Tensor):
        return [part]
    if isinstance(part, nn.Module):
        return [*part.parameters(), *part.buffers()]
    if isinstance(part, list | tuple):
        return [t for item in part for t in tensors(item, seen)]
    if isinstance(part, dict):
        return [t for item in part.values() for t in tensors(item, seen)]
    ours = type(part).__module__.startswith("tenfold")
    return tensors(vars(part), seen) if ours and hasattr(part, "__dict__") else []


@pytest.mark.parametrize("name", ["reward", "preference", "groups", "ratio", "distil"])
def test_what_is_read_already_and_what_is_read_later_move(place: Path, name: str) -> None:
    parts = ("model", "reference", "teacher", "reward", "pool", "tilt", "pairs")
    early, late = (CASES[name].task(place) for _ in range(2))
    for part in parts:
        getattr(early, part, None)
    early.to("meta")
    late.to("meta")
    for part in parts[:4]:
        getattr(late, part, None)
    for task in (early, late):
        found = tensors(vars(task))
        assert len(found) > 10
        assert all(tensor.device.type == "meta" for tensor in found)


def test_precision(place: Path, tmp_path: Path) -> None:
    """Weights in half the bits draw and score; rewards and pools keep their types."""
    task = CASES["reward"].task(place)
    pool = task.pool
    task.to("cpu", torch.bfloat16)
    assert {p.dtype for p in [*task.model.parameters(), *task.reference.parameters()]} == {torch.bfloat16}
    assert task.pool.rewards.dtype == pool.rewards.dtype
    assert len(task.sample(DiffusionSampling(num=2, steps=3), tmp_path)) == 2
    precise = CASES["reward"].task(place).score(TextScoring(draws=8), ["the hound at noon"]).values[0][0]
    assert task.score(TextScoring(draws=8), ["the hound at noon"]).values[0][0] == pytest.approx(precise, rel=0.02)


def test_analyses_and_losses_by_noise(place: Path, tmp_path: Path) -> None:
    options = DiffusionAnalysis(judge=str(place / "ar"), kinds=("ancestral", "first_hitting"), steps=(3,), num=4)
    points = torch.rand(6, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()

    def used(device: str | torch.device, case: str) -> tuple[list[float], np.ndarray]:
        task = CASES[case].task(place)
        task.load(place / "masked")
        task.to(device)
        (folder := tmp_path / str(device)).mkdir(exist_ok=True)
        rows = task.analyse(options, folder).rows
        return [row.value for row in rows], task.sampled_losses()[0].loss(points)

    here = used("cpu", "discrete-diffusion")
    with second() as device:
        there = used(device, "discrete-diffusion")
    assert there[0] == pytest.approx(here[0], rel=1e-4)
    np.testing.assert_allclose(there[1], here[1], rtol=1e-4)


def test_a_language_model_teaches_where_the_student_is(recipe: TokenDistilRecipe) -> None:  # noqa: F811
    def used(device: str | torch.device) -> list[float]:
        task = TokenDistilTask(replace(recipe, train=replace(recipe.train, batch_size=8)))
        task.to(device)
        index = torch.arange(8)
        batch = {"index": index, **task.train_source().batch(index.numpy())}
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        (update,) = task.step(task.modules(), batch, Draws(0, 0))
        update.loss.backward()
        return [float(update.loss), *(row.value for row in task.evaluate())]

    here = used("cpu")
    with second() as device:
        assert used(device) == pytest.approx(here, rel=1e-4)
