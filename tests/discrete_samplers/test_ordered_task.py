"""Masked and autoregressive samplers as the loop and the verbs see them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold.cli.main import main
from tenfold.discrete_samplers.config import LatticeFlowConfig
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.model import check_same_target, lattice_state
from tenfold.discrete_samplers.ordered.config import (
    OrderedConfig,
    OrderedEvaluation,
    OrderedObjective,
    OrderedSampling,
)
from tenfold.discrete_samplers.ordered.model import OrderedSampler
from tenfold.discrete_samplers.ordered.recipes import RECIPES, OrderedRecipe
from tenfold.discrete_samplers.ordered.task import OrderedTask
from tenfold.errors import UsageError
from tenfold.training.config import TrainingConfig
from tenfold.training.streams import Draws

TINY = (
    *("--model.height", "3", "--model.width", "3", "--model.hidden", "8", "--model.heads", "2", "--model.layers", "1"),
    *("--objective.samples", "8", "--objective.inner", "2", "--train.batch_size", "8", "--train.threads", "1"),
    *("--evaluation.samples", "32", "--evaluation.steps", "4"),
)
ORDERS = {"cross-entropy": "any", "log-variance": "any", "free-energy": "raster"}


def small(loss: Any, **more: Any) -> OrderedRecipe:
    order: Any = ORDERS[loss]
    return OrderedRecipe(
        model=OrderedConfig(height=2, width=2, beta=0.3, field=0.2, order=order, hidden=16, heads=2, layers=1),
        objective=OrderedObjective(loss=loss, samples=96, inner=3, **more),
        train=TrainingConfig(steps=12, batch_size=96, threads=1),
        evaluation=OrderedEvaluation(samples=1000, steps=4),
    )


def updates(task: OrderedTask, first: int, last: int, optimizer: torch.optim.Optimizer) -> list[float]:
    found = []
    for step in range(first, last):
        for update in task.step(task.modules(), {"index": torch.arange(96) + 96 * step}, Draws(3, step)):
            optimizer.zero_grad()
            update.loss.backward()
            optimizer.step()
            found.append(float(update.loss.detach()))
    return found


@pytest.mark.parametrize("loss", ORDERS)
def test_the_step_leads_to_the_target(loss: str) -> None:
    task = OrderedTask(small(loss))
    updates(task, 0, 60, torch.optim.Adam(task.model.parameters(), lr=1e-2))
    rows = {(row.name, row.split, row.model): row for row in task.evaluate()}
    name = "ordered-sampler"
    assert rows["ess", "", name].value > 0.9
    log_z = rows["log_z", "", name]
    assert abs(log_z.value - rows["log_z", "", "exact"].value) < 4 * (log_z.standard_error or 0)
    energy = rows["energy", "weighted", name]
    assert abs(energy.value - rows["energy", "", "exact"].value) < 4 * (energy.standard_error or 0)


@pytest.mark.parametrize("loss", ORDERS)
def test_the_state_restores_the_run(loss: str) -> None:
    def sgd(task: OrderedTask) -> torch.optim.Optimizer:
        return torch.optim.SGD(task.model.parameters(), lr=1e-2)

    one, two, three = (OrderedTask(small(loss, curriculum=1.0)) for _ in range(3))
    assert updates(one, 0, 4, sgd(one)) == updates(two, 0, 4, sgd(two))
    three.model.load_state_dict(two.model.state_dict())
    three.load_state_dict(two.state_dict())
    assert updates(three, 4, 8, sgd(three)) == updates(one, 4, 8, sgd(one))


def test_another_target_is_refused() -> None:
    state = OrderedTask(small("cross-entropy")).state_dict()
    other = OrderedTask(RECIPES["ising-4x4-masked"].recipe)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"height 2 instead of 4, width 2 instead of 4, beta 0\.3 instead of 0\.2"):
        other.load_state_dict(state)
    check_same_target(LatticeFlowConfig(), {"target": lattice_state(OrderedConfig())})
    check_same_target(LatticeFlowConfig(), {})


@pytest.mark.parametrize("kind", ["masked", "autoregressive"])
def test_the_commands(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", f"ising-4x4-{kind}", "--out", run, "--train.steps", "4", *TINY]) == 0
    way = ["--method", "smc", "--populations", "4"] if kind == "masked" else []
    assert main(["sample", run, "--num", "16", *way]) == 0
    arrays = np.load(tmp_path / "run" / "samples" / "samples.npz")
    assert arrays["tokens"].shape == (16, 3, 3)
    about = json.loads((tmp_path / "run" / "samples" / "samples.json").read_text())
    assert abs(about["log_z"] - ising_lattice(3, 3, 0.2).log_z) < 1
    assert any(row.name == "ess" for row in tenfold.evaluate(run))
    capsys.readouterr()
    if kind == "autoregressive":
        assert main(["sample", run, "--num", "16", "--at_once", "2"]) == 2
        assert "leave --method and --at_once away" in capsys.readouterr().err


def test_models_are_folders(tmp_path: Path) -> None:
    model = OrderedSampler(OrderedConfig(height=2, width=3, hidden=8, heads=2, layers=1))
    model.save_pretrained(tmp_path / "model")
    again = OrderedSampler.from_pretrained(tmp_path / "model")
    x = torch.randint(3, (4, 6))
    torch.testing.assert_close(again(x), model(x))


def test_recipes_describe_themselves() -> None:
    for recipe in (*(named.recipe for named in RECIPES.values()), small("log-variance")):
        found = OrderedTask.describe(recipe)  # type: ignore[arg-type]
        assert found["parameters"] > 0
        assert found["activation_bytes"] > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: OrderedConfig(states=3),
        lambda: OrderedConfig(hidden=10, heads=4),
        lambda: OrderedObjective(start=0.0),
        lambda: OrderedEvaluation(samples=1),
        lambda: OrderedRecipe(model=OrderedConfig(order="raster")),
        lambda: OrderedRecipe(objective=OrderedObjective(loss="free-energy")),
        lambda: OrderedRecipe(objective=OrderedObjective(loss="log-variance"), train=TrainingConfig(batch_size=1)),
        lambda: OrderedSampling(method="smc", num=10),
        lambda: OrderedSampling(method="smc", at_once=2),
    ],
)
def test_settings_that_do_not_fit(make: Any) -> None:
    with pytest.raises(UsageError):
        make()
