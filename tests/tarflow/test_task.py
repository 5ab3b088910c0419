"""The task as the verbs use it: what is made and when, and where it lies."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold.tarflow import FlowSampling, FlowScoring, FlowTask, TarFlowRecipe
from tenfold.tarflow.recipes import RECIPES

SMALL = {"width": 16, "head_size": 8, "blocks": 2, "layers": 1}


def task(**model: object) -> FlowTask:
    recipe = RECIPES["tarflow-digits-noise"].recipe
    assert isinstance(recipe, TarFlowRecipe)
    evaluation = replace(recipe.evaluation, calibrate=0)
    return FlowTask(replace(recipe, model=replace(recipe.model, **SMALL, **model), evaluation=evaluation))


def values(folder: Path) -> np.ndarray:
    with np.load(folder / "samples.npz") as arrays:
        return arrays["values"]


def test_a_task_reads_and_makes_nothing_before_it_must() -> None:
    assert not {"flow", "splits"} & set(vars(task()))
    before = torch.get_rng_state()
    assert task().flow.config.width == 16
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("first", ["to", "load"])
def test_weights_take_the_type_that_was_asked_for(tmp_path: Path, first: str) -> None:
    task().export(tmp_path / "model")
    made = task()
    for act in (first, {"to": "load", "load": "to"}[first]):
        made.to("cpu", torch.float64) if act == "to" else made.load(tmp_path / "model")
    assert {p.dtype for p in made.flow.parameters()} == {torch.float64}
    assert made.flow.var.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_samples_and_scores_in_other_types(tmp_path: Path, dtype: torch.dtype) -> None:
    sampling = FlowSampling(num=3, classes=2, guidance=1.0, denoise=True)
    pixels = np.arange(128, dtype=np.int64).reshape(2, 1, 8, 8) % 17
    plain, other = task(), task()
    other.to("cpu", dtype)
    for name, made in (("plain", plain), ("other", other)):
        made.sample(sampling, tmp_path / name)
    tolerance = 1e-4 if dtype == torch.float64 else 0.2
    # Generators draw other numbers in other types, so that samples are compared by their spread.
    assert values(tmp_path / "other").std() == pytest.approx(values(tmp_path / "plain").std(), rel=0.2)
    found = [made.score(FlowScoring(draws=2), pixels).values for made in (plain, other)]
    assert np.array(found[1]) == pytest.approx(np.array(found[0]), rel=tolerance)
