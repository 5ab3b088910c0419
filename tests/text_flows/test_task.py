"""Training on a small text, its report, samples, scores, stages, warm starts, and what is refused."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from tenfold import api
from tenfold.api.catalogue import recipe
from tenfold.errors import UsageError
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.text_flows import TextFlow, TextFlowTask, encode_text
from tenfold.text_flows.options import TextFlowAnalysis, TextFlowSampling
from tenfold.training.loop import train
from tenfold.training.streams import Draws

MODEL = {"width": 32, "layers": [1], "heads": 2, "length": 16, "local_mixing": 3, "dim": 4, "hidden": 16}
TRAIN = {
    "steps": 40, "batch_size": 16, "learning_rate": 1e-2, "warmup_steps": 5, "tracker": "none", "threads": 1,
    "validate_every": 0, "ema": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sentences of a few words."""
    words = ["the", "cat", "dog", "sat", "ran", "on", "mat", "log", "and", "then"]
    draw = np.random.default_rng(0)
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text(" ".join(words[i] for i in draw.integers(len(words), size=6000)))
    return str(file)


def groups(text: str, **changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "model": MODEL,
        "data": {"source": "file", "path": text, "length": 16, "block": 256, "validation_rows": 64},
        "train": TRAIN,
        "evaluation": {"draws": 4, "rows": 32},
    }
    return {name: {**values, **changes.get(name, {})} for name, values in {"objective": {}, **base}.items()}


def settings(text: str, name: str = "kjv-flow", **changes: Any) -> Any:
    return change(recipe(name), groups(text, **changes))


@pytest.fixture(scope="module")
def run(text: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return api.train(settings(text), tmp_path_factory.mktemp("runs") / "flow")


def test_a_run_and_its_report(run: Any) -> None:
    rows = {(row.name, row.model): row for row in run.measurements}
    assert {model for name, model in rows if name == "bits_per_char"} == {"kjv-flow", "unigram", "back-off"}
    bound, weighted = rows["bits_per_char", "kjv-flow"], rows["bits_per_char_weighted", "kjv-flow"]
    assert bound.note == "≤: ELBO"
    assert bound.draws == weighted.draws == 4
    assert weighted.value <= bound.value < 0.85 * math.log2(27)
    assert rows["bits_per_char", "back-off"].value < rows["bits_per_char", "unigram"].value
    assert rows["decoder_accuracy", "kjv-flow"].value > 0.9
    folder = Path(run.folder.path)
    assert (folder / "figures" / "by-draws.png").is_file()
    assert (folder / "report.html").is_file()
    assert isinstance(api.load(folder), TextFlow)


@pytest.mark.parametrize("name", ["kjv-flow-affine", "kjv-flow-mix1", "kjv-flow-patch2"])
def test_every_coupling_learns(text: str, name: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"layers": [1, 1], "length": 16} if "patch" in name else {}
    if name == "kjv-flow-mix1":
        changes["components"] = [8]
    task = TextFlowTask(settings(text, name, model=changes), name)
    batch = {**task.train_source().batch(np.arange(64)), "index": torch.arange(64)}
    before = task.validate(task.modules(), batch, Draws(0, 0))["loss"].mean().item()
    done = train(task, task.recipe.train, RunFolder(tmp_path / "run"), show=False)
    assert done.validation_loss is not None
    assert done.validation_loss < before - 0.4


def test_held_out_text_becomes_normal_noise(run: Any) -> None:
    """Nearly, after so short a training; before it, the noise of the letters' own latents is far from it."""
    tokens = run.task.data.test.some(64).batch(np.arange(64))["tokens"]
    u = encode_text(run.task.model, tokens).double()
    before = encode_text(TextFlow(run.recipe.model), tokens).double()
    distance, far = (float(kstest(x.flatten().numpy(), "norm").statistic) for x in (u, before))
    assert distance < min(0.03, far / 2)
    assert abs(float(u.mean())) < 0.06
    assert float(u.std()) == pytest.approx(1.0, abs=0.06)
    assert float(torch.linalg.eigvalsh(torch.cov(u.flatten(0, 1).T)).min()) > 0.8  # no direction is empty


def test_samples(run: Any, tmp_path: Path) -> None:
    task, folder = run.task, Path(tmp_path)
    task.sample(TextFlowSampling(num=3), folder / "a")
    told = json.loads((folder / "a" / "samples.json").read_text())
    assert [len(one) for one in told["samples"]] == [16] * 3
    assert told["calls"] == 16
    assert 0 <= told["residual"] < 1e-3
    # In batches of one, and by Jacobi's method: the same texts.
    for options in (TextFlowSampling(num=3, batch=1), TextFlowSampling(num=3, solver="jacobi", block=4)):
        task.sample(options, folder / "b")
        assert json.loads((folder / "b" / "samples.json").read_text())["samples"] == told["samples"]
    task.sample(TextFlowSampling(num=2, passes=True, decode="sample", length=9), folder / "c")
    passes = json.loads((folder / "c" / "samples.json").read_text())
    assert [[len(line) for line in one] for one in passes["states"]] == [[9, 9]] * 2
    assert (folder / "c" / "samples.txt").read_text().startswith("h1  ")


def test_texts_that_are_given(run: Any, tmp_path: Path) -> None:
    run.task.sample(TextFlowSampling(num=2, edit="the cat sat on", strength=0.0), tmp_path)
    assert json.loads((tmp_path / "samples.json").read_text())["samples"] == ["the cat sat on"] * 2
    run.task.sample(TextFlowSampling(num=2, edit="the cat sat on", strength=1.0), tmp_path)
    assert "the cat sat on" not in json.loads((tmp_path / "samples.json").read_text())["samples"]
    run.task.sample(TextFlowSampling(num=4, prompt="the cat "), tmp_path)
    made = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert all(one.startswith("the cat ") for one in made)
    assert len(set(made)) == 4
    run.task.sample(TextFlowSampling(num=2, prompt="the ", suffix=" sat", candidates=4, length=12), tmp_path)
    told = json.loads((tmp_path / "samples.json").read_text())
    assert all(one.startswith("the ") and one.endswith(" sat") and len(one) == 12 for one in told["samples"])
    assert all(1 <= one <= 4 for one in told["effective"])
    with pytest.raises(UsageError, match="both sides have 8 tokens"):
        run.task.sample(TextFlowSampling(prompt="the ", suffix=" sat", length=8), tmp_path)
    with pytest.raises(UsageError, match="leave edit, passes, solver and decode out"):
        TextFlowSampling(suffix="x", passes=True)


def test_scores(run: Any) -> None:
    found = api.score(run.folder.path, ["the cat sat on the mat", "zzzzzzz qqqq"], draws=4)
    assert [name.split(":")[0] for name in found.names] == ["2", "1"]
    alone = api.score(run.folder.path, ["the cat sat on the mat"], draws=4)
    assert "log p is at least this: the ELBO, 4 draws" in found.note
    assert found.values[1][0] == pytest.approx(alone.values[0][0], rel=1e-5)


def test_stages_never_forget(text: str, tmp_path: Path) -> None:
    stack: dict[str, Any] = {"couplings": ["mix-d", "mix-1"], "layers": [1, 1], "components": [27, 2]}
    three = {"couplings": ["mix-d", "mix-1", "mix-1"], "layers": [1, 1, 1], "components": [27, 2, 2]}
    less = {"train": {"learning_rate": 1e-3, "steps": 10}, "evaluation": {"baselines": False}}
    made: Any = change(
        recipe("kjv-flow-stages"),
        {
            "first": groups(text, evaluation={"baselines": False}),
            "second": groups(text, model=stack, **less),
            "third": groups(text, model=three, **less),
        },
    )
    flows, rows = [], {}
    for name in made.stages:
        part: Any = made.stage(name, str(tmp_path))
        task = TextFlowTask(part)
        train(task, part.train, RunFolder(tmp_path / "runs" / name), show=False)
        task.export(tmp_path / name / "model")
        flows.append(TextFlow.from_pretrained(tmp_path / name / "model"))
        task.load(tmp_path / name / "model")
        rows |= {(row.model, row.name): row for row in task.evaluate()}
    bits = [rows[model, "bits_per_char"].value for model in ("1 flow", "2 flows", "3 flows")]
    assert ("1 flow", "gain_of_further_flows") not in rows
    for place in (1, 2):
        gain = rows[f"{place + 1} flows", "gain_of_further_flows"]
        assert gain.value == pytest.approx(bits[place - 1] - bits[place], abs=1e-5)
        # Of a difference between texts that have the same latents in both.
        assert gain.standard_error < rows["3 flows", "bits_per_char"].standard_error
    for few, more in itertools.pairwise(flows):
        state = more.state_dict()
        assert all(torch.equal(state[name], value) for name, value in few.state_dict().items())
        assert len(more.couplings) == len(few.couplings) + 1
    shifted = {"second": {"model": {"couplings": ["mix-1", "mix-d"], "components": [27, 2]}}}
    with pytest.raises(UsageError, match="a stage's couplings begin with those of the stage before"):
        change(made, shifted)


def test_a_start_from_a_discrete_model(run: Any, text: str, tmp_path: Path) -> None:
    small = {"width": 32, "layers": 1, "heads": 2, "length": 16, "local_mixing": 3}
    base = {"data": groups(text)["data"], "train": {**TRAIN, "steps": 40}, "evaluation": {"rows": 32, "holes": 0}}
    discrete = api.train(change(recipe("kjv-ar"), {"model": small, **base}), tmp_path / "ar")
    exact = next(row.value for row in discrete.measurements if row.model == "kjv-ar" and row.name == "bits_per_char")
    start = {"start": str(tmp_path / "ar" / "model")}
    made = settings(text, objective=start, model={"dim": 26, "log_scale": -7.0})
    rows = TextFlowTask(made).evaluate()
    assert rows[0].value == pytest.approx(exact, abs=2e-4)
    # It judges samples too.
    (tmp_path / "figures").mkdir()
    found = run.task.analyse(TextFlowAnalysis(judge=str(tmp_path / "ar"), num=16), tmp_path / "figures")
    values = {(row.name, row.model): row.value for row in found.rows}
    judged = [values["generative_perplexity", f"kjv-flow, h{place}"] for place in (0, 1)]
    assert values["generative_perplexity", "held-out text"] < judged[0] < judged[1]
    assert values["state_length", "kjv-flow, h1"] > 0
    assert values["calls", "kjv-flow"] == 16
    assert (tmp_path / "figures" / "states.png").is_file()
    with pytest.raises(UsageError, match=r"start from it with --model.dim 26"):
        _ = TextFlowTask(settings(text, objective=start)).model


def test_draws_do_not_depend_on_the_batch(text: str) -> None:
    task = TextFlowTask(settings(text))
    batch = {**task.train_source().batch(np.arange(8)), "index": torch.arange(8)}
    whole = task.validate(task.modules(), batch, Draws(0, 1))["loss"]
    part = task.validate(task.modules(), {name: value[3:5] for name, value in batch.items()}, Draws(0, 1))["loss"]
    torch.testing.assert_close(part, whole[3:5])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {"alphabet": "ab", "vocabulary": 2, "components": [2]}}, "must be the same"),
        ({"data": {"length": 17}}, r"data.length 17 exceeds model.length 16"),
        ({"objective": {"freeze": 1}}, r"name their model: --objective.start"),
        ({"evaluation": {"draws": 1}}, r"evaluation.draws is 1"),
    ],
)
def test_what_does_not_go_together(text: str, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        TextFlowTask(settings(text, **changes))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tolerance": 0.0}, "tolerance is 0"),
        ({"strength": 1.5}, "strength is 1.5"),
        ({"block": 4}, "blocks are of the solver"),
        ({"edit": "a", "length": 3}, "its own length"),
        ({"edit": "a", "prompt": "b"}, "not both"),
    ],
)
def test_bad_options(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        TextFlowSampling(**options)


def test_bad_samples(run: Any, tmp_path: Path) -> None:
    for options, told in [
        (TextFlowSampling(length=17), "writes 1 to 16"),
        (TextFlowSampling(prompt="a" * 16), "a prompt of 16 tokens"),
    ]:
        with pytest.raises(UsageError, match=told):
            run.task.sample(options, tmp_path)


def test_sizes() -> None:
    facts = api.describe(recipe("kjv-flow"))
    made: Any = recipe("kjv-flow")
    task = TextFlowTask(made)
    assert facts["parameters"] == sum(p.numel() for p in task.model.parameters())
    assert facts["flops_per_step"] == pytest.approx(3 * 16 * 64 * 2 * facts["parameters"], rel=0.25)
