"""Training by every objective on a small text, evaluation, pictures, commands, and what is refused."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenfold import api
from tenfold.api.catalogue import recipe
from tenfold.discrete_diffusion import (
    Autoregressive,
    AutoregressiveTask,
    DiffusionEvaluation,
    DiffusionObjective,
    DiffusionTask,
    DiscreteDiffusion,
    pictures,
)
from tenfold.errors import UsageError
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.training.loop import train
from tenfold.training.streams import Draws

MODEL = {"width": 32, "layers": 1, "heads": 2, "length": 16, "local_mixing": 3}
TRAIN = {
    "steps": 40,
    "batch_size": 16,
    "learning_rate": 1e-2,
    "warmup_steps": 5,
    "tracker": "none",
    "threads": 1,
    "validate_every": 0,
    "ema": None,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sentences of a few words."""
    words = ["the", "cat", "dog", "sat", "ran", "on", "mat", "log", "and", "then"]
    draw = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(" ".join(words[i] for i in draw.integers(len(words), size=6000)))
    return str(file)


def settings(text: str, name: str = "kjv-masked", **changes: Any) -> Any:
    base: dict[str, Any] = {
        "model": MODEL,
        "data": {"source": "file", "path": text, "length": 16, "block": 256, "validation_rows": 64},
        "train": TRAIN,
        "evaluation": {"draws": 2, "rows": 32, "holes": 8},
    }
    if name == "kjv-hollow":
        base["model"] = {**MODEL, "local_mixing": 0}
    for group, values in changes.items():
        base[group] = {**base.get(group, {}), **values}
    return change(recipe(name), base)


NAMES = [
    "kjv-masked", "kjv-masked-score", "kjv-mdlm", "kjv-sedd", "kjv-uniform", "kjv-uniform-score", "kjv-udlm",
    "kjv-hollow",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(text: str, name: str, tmp_path: Path) -> None:
    # The score form weighs surprises, of which there are many at first.
    made = settings(text, name, train={"steps": 150 if name == "kjv-uniform-score" else 40})
    task = DiffusionTask(made, name)
    done = train(task, made.train, RunFolder(tmp_path / "run"), show=False)
    assert done.validation_loss is not None
    assert done.validation_loss < 0.85 * math.log(27)
    again = DiscreteDiffusion.from_pretrained(done.run.model)
    torch.testing.assert_close(dict(again.named_parameters()), dict(task.model.named_parameters()))


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("kjv-masked", {"loss": "d3pm", "times": "stratified"}),
        ("kjv-masked", {"loss": "flow_matching"}),
        ("kjv-masked", {"loss": "score", "divergence": "logistic", "weight": "bound"}),
        ("kjv-masked", {"loss": "score", "entropy_draws": 3, "times": "uniform"}),
        ("kjv-udlm", {"loss": "flow_matching"}),
        ("kjv-udlm", {"loss": "d3pm"}),
        ("kjv-udlm", {"loss": "score", "entropy_draws": 3, "weight": "bound"}),
        ("kjv-uniform", {"loss": "score", "divergence": "half_squared", "cap": 5.0}),
        ("posterior", {"loss": "flow_matching"}),
    ],
)
def test_every_objective_has_finite_gradients(text: str, name: str, objective: dict[str, Any]) -> None:
    changes = {"objective": objective}
    if name == "posterior":
        name, changes = "kjv-uniform", {**changes, "model": {"view": "posterior"}}
    task = DiffusionTask(settings(text, name, **changes))
    update = next(task.step(task.modules(), batch_of(task), Draws(0, 1)))
    update.loss.backward()
    assert update.loss.isfinite()
    gradients = [p.grad for p in task.model.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


def batch_of(task: Any, size: int = 16) -> dict[str, Tensor]:
    return {**task.train_source().batch(np.arange(size)), "index": torch.arange(size)}


class Even(nn.Module):
    """The uniform distribution everywhere, whatever the input."""

    def __init__(self, model: DiscreteDiffusion) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.source = model.source

    def forward(self, noisy: Tensor, time: Tensor, rows: Tensor | None = None, then: Any = None) -> Tensor:
        self.seen.append(noisy)
        if rows is None:
            return torch.full((*noisy.shape, 27), -math.log(27), requires_grad=True)
        count = int(rows.sum())
        return then(torch.full((count, 27), -math.log(27), requires_grad=True), torch.arange(count))


@pytest.mark.parametrize("times", ["count", "stratified"])
def test_the_bound_of_a_model_that_knows_nothing(text: str, times: str) -> None:
    """MDLM's loss is log V per token, in expectation over the masks, exactly so when their number is drawn."""
    task = DiffusionTask(settings(text, "kjv-mdlm", objective={"times": times}, train={"batch_size": 64}))
    even = Even(task.model)
    values = [next(task.step({"model": even}, batch_of(task, 64), Draws(0, k))).loss.item() for k in range(40)]
    if times == "count":
        assert values == pytest.approx([math.log(27)] * 40, rel=1e-5)
    else:
        assert np.mean(values) == pytest.approx(math.log(27), rel=0.05)


@pytest.mark.parametrize("name", ["kjv-masked", "kjv-udlm"])
def test_draws_do_not_depend_on_the_batch(text: str, name: str) -> None:
    task = DiffusionTask(settings(text, name))
    even, batch = Even(task.model), batch_of(task)
    halves = [{k: v[rows] for k, v in batch.items()} for rows in (slice(0, 16, 2), slice(1, 16, 2))]
    for part in (batch, *halves):
        next(task.step({"model": even}, part, Draws(0, 1)))
    assert torch.equal(even.seen[0][::2], even.seen[1])
    assert torch.equal(even.seen[0][1::2], even.seen[2])


@pytest.mark.parametrize("times", ["count", "stratified"])
def test_little_noise_alone(text: str, times: str) -> None:
    task = DiffusionTask(settings(text, objective={"times": times, "latest": 0.25}, train={"batch_size": 64}))
    even = Even(task.model)
    next(task.step({"model": even}, batch_of(task, 64), Draws(0, 0)))
    shares = (even.seen[0] == 27).float().mean(1)
    if times == "count":
        assert shares.unique().tolist() == [1 / 16, 2 / 16, 3 / 16, 4 / 16]
    else:
        assert 0.08 < shares.mean() < 0.17


def test_a_run_and_its_report(text: str, tmp_path: Path) -> None:
    run = api.train(settings(text, train={"steps": 4, "validate_every": 2}), tmp_path / "run")
    rows = {(row.name, row.model): row for row in run.measurements}
    assert {model for name, model in rows if name == "bits_per_char"} == {
        "kjv-masked", "unigram", "bigram", "trigram", "back-off",
    }  # fmt: skip
    assert rows["bits_per_char", "kjv-masked"].note == "NELBO of the masked process"
    assert rows["bits_per_char", "kjv-masked"].standard_error > 0
    assert rows["bits_per_char", "back-off"].value < rows["bits_per_char", "unigram"].value < math.log2(27)
    assert 0 <= rows["hole_accuracy", "kjv-masked"].value <= 1
    assert (tmp_path / "run" / "figures" / "by-noise.png").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    assert isinstance(api.load(tmp_path / "run"), DiscreteDiffusion)
    picture = pictures.loss_against_compute({"masked": tmp_path / "run"}, tmp_path / "compute.png")
    assert picture.stat().st_size > 1000
    with pytest.raises(UsageError, match="has validated 0 times"):
        pictures.loss_against_compute({"none": tmp_path / "nowhere"}, tmp_path / "compute.png")


def test_an_autoregressive_run(text: str, tmp_path: Path) -> None:
    run = api.train(settings(text, "kjv-ar"), tmp_path / "run")
    rows = {(row.name, row.model): row for row in run.measurements}
    assert rows["bits_per_char", "kjv-ar"].note == "exact, from left to right"
    assert rows["bits_per_char", "kjv-ar"].value < 0.85 * math.log2(27)
    assert ("hole_accuracy", "kjv-ar") in rows
    assert (tmp_path / "run" / "figures" / "by-place.png").is_file()
    assert isinstance(api.load(tmp_path / "run"), Autoregressive)


def test_uniform_runs_name_both_bounds(text: str, tmp_path: Path) -> None:
    run = api.train(settings(text, "kjv-uniform", train={"steps": 2}), tmp_path / "run")
    notes = [row.note for row in run.measurements if row.name.startswith("bits_per_char")][:2]
    assert notes == ["NELBO of the uniform process", "generalised KL bound of flow matching"]


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        (
            "kjv-masked",
            {"objective": {"loss": "udlm", "times": "stratified"}},
            "exact for uniform noise",
        ),
        (
            "kjv-udlm",
            {"model": {"view": "posterior"}},
            "set --model.source uniform and --model.view leave_one_out",
        ),
        ("kjv-uniform", {"objective": {"loss": "mdlm"}}, "loss mdlm is for masks"),
        ("kjv-masked", {"objective": {"loss": "sedd"}}, r"score entropy \(sedd\) trains scores"),
        ("kjv-uniform", {"objective": {"times": "count"}}, "draws numbers of masks"),
        ("kjv-uniform", {"model": {"epsilon": 0.0}}, r"some tokens must survive to t = 1"),
        ("kjv-masked", {"model": {"alphabet": "ab", "vocabulary": 2}}, r"must be the same"),
        ("kjv-masked", {"data": {"length": 17}}, r"data.length 17 exceeds model.length 16"),
    ],
)
def test_what_does_not_go_together(text: str, name: str, changes: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DiffusionTask(settings(text, name, **changes))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cap": 0.0}, "objective.cap is 0.0"),
        ({"epsilon": 0.0}, "objective.epsilon is 0.0"),
        ({"latest": 1.5}, "objective.latest is 1.5"),
        ({"steps": 1}, "objective.steps is 1"),
        ({"entropy_draws": -1}, "objective.entropy_draws is -1"),
        ({"entropy_draws": 2}, "for the score form with the generalised KL"),
    ],
)
def test_bad_objectives(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DiffusionObjective(**values)


def test_bad_evaluation() -> None:
    with pytest.raises(UsageError, match=r"evaluation.draws is 0"):
        DiffusionEvaluation(draws=0)


def test_sizes() -> None:
    facts = api.describe(recipe("kjv-masked"))
    task = DiffusionTask(recipe("kjv-masked"))
    assert facts["parameters"] == sum(p.numel() for p in task.model.parameters())
    assert facts["flops_per_step"] == pytest.approx(3 * 16 * 64 * 2 * facts["parameters"], rel=0.25)
    assert api.describe(recipe("kjv-ar"))["parameters"] == sum(
        p.numel() for p in AutoregressiveTask(recipe("kjv-ar")).model.parameters()
    )
