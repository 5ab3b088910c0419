"""What chooses the checkpoint: the least or the largest mean, or what is made of the whole split."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tenfold.errors import TenfoldError, UsageError
from tenfold.training.devices import device_named, dtype_named
from tenfold.training.task import LOSS, Metric
from tests.training.toys import Regression, Table, configuration, run


def rank_correlation(values: dict[str, Tensor]) -> dict[str, float]:
    """Spearman's correlation of outputs and targets, which no mean over samples is."""
    first, second = (values[name][:, 0].argsort().argsort().double() for name in ("out", "y"))
    return {"rank": float(torch.corrcoef(torch.stack([first, second]))[0, 1]), "rows": float(len(first))}


class Ranked(Regression):
    """The regression, its checkpoint chosen by a metric of the whole split."""

    metric = Metric("rank", larger_is_better=True, whole=rank_correlation)

    def validate(self, modules, batch, draws):
        _, out = modules["net"](batch["x"], batch["y"])
        return {"out": out, "y": batch["y"]}


def records(folder: Path) -> list[dict]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [r for r in map(json.loads, lines) if r["kind"] == "validation"]


def test_a_metric_of_the_whole_split(tmp_path: Path) -> None:
    table = Table(21, "validation")
    task = Ranked(configuration(), validation=table)
    result = run(tmp_path / "run", task)
    found = records(tmp_path)
    best = max(found, key=lambda r: r["rank"])
    assert len(found) > 1
    assert result.chosen_step == best["step"]
    assert {r["rows"] for r in found} == {21.0}
    with torch.no_grad():
        _, out = task.net(torch.from_numpy(table.x), torch.from_numpy(table.y))
    assert best["rank"] == pytest.approx(rank_correlation({"out": out, "y": torch.from_numpy(table.y)})["rank"])


def test_the_largest_mean(tmp_path: Path) -> None:
    class Share(Regression):
        metric = Metric("loss", larger_is_better=True)

    result = run(tmp_path / "run", Share(configuration(), validation=Table(9, "validation")))
    best = max(records(tmp_path), key=lambda r: r["loss"])
    assert (result.chosen_step, result.validation_loss) == (best["step"], best["loss"])
    assert best["loss"] > min(r["loss"] for r in records(tmp_path))


def test_a_metric_that_is_not_there(tmp_path: Path) -> None:
    class Other(Regression):
        metric = Metric("precision")

    class Wrong(Ranked):
        metric = Metric("precision", whole=rank_correlation)

    for kind in (Other, Wrong):
        with pytest.raises(TenfoldError, match="expected 'precision' among them"):
            run(tmp_path / kind.__name__, kind(configuration(), validation=Table(9, "validation")))


@pytest.mark.parametrize(
    ("value", "best", "least", "largest"),
    [(1.0, None, True, True), (1.0, 2.0, True, False), (2.0, 2.0, False, False), (float("nan"), None, False, False)],
)
def test_better(value: float, best: float | None, least: bool, largest: bool) -> None:
    assert LOSS.better(value, best) is least
    assert Metric("x", larger_is_better=True).better(value, best) is largest


def test_devices_and_types_by_name() -> None:
    assert device_named("cpu") == torch.device("cpu")
    there = torch.accelerator.is_available()
    assert device_named("auto") == (torch.accelerator.current_accelerator() if there else torch.device("cpu"))
    assert dtype_named("auto") is None
    assert dtype_named("bfloat16") is torch.bfloat16
    for name in ("gpu", "", "cuda:x"):
        with pytest.raises(UsageError, match="expected auto, cpu, cuda"):
            device_named(name)
    with pytest.raises(UsageError, match="but this machine has"):
        device_named("cuda:99")
    with pytest.raises(UsageError, match="did you mean 'float32'"):
        dtype_named("float3")


def test_training_on_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device is 'cuda:99'"):
        run(tmp_path / "run", Regression(configuration()), device="cuda:99")
    assert not (tmp_path / "run").exists()
