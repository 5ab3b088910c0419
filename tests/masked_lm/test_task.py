"""Training: objectives, starts, annealing, low-rank updates, evaluation, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenfold import api
from tenfold.api.catalogue import recipe
from tenfold.errors import UsageError
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedEvaluation, MaskedObjective
from tenfold.masked_lm.recipes import MaskedLMPipeline, MaskedLMRecipe
from tenfold.masked_lm.task import MaskedLMTask
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.training.loop import train
from tenfold.training.streams import Draws

MODEL = {"width": 32, "layers": 1, "heads": 2, "intermediate": 64, "positions": 64}
TRAIN = {"steps": 4, "batch_size": 8, "tracker": "none", "threads": 1, "warmup_steps": 1, "log_every": 1}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two hundred short functions as JSON lines, some with a prompt."""
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    lines = [{"text": f"def f{i}(x):\n    return x + {i * i % 97}\n"} for i in range(150)]
    lines += [{"prompt": f"add {i}: ", "completion": f"x + {i}\n"} for i in range(50)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


def settings(texts: str, **changes: Any) -> MaskedLMRecipe:
    base = {
        "model": MODEL,
        "data": {"source": "jsonl", "path": texts, "length": 32, "stride": 0},
        "train": TRAIN,
        "evaluation": {"draws": 2, "rows": 16, "holes": 8},
    }
    for group, values in changes.items():
        base[group] = {**base.get(group, {}), **values}
    made = change(recipe("code-bytes"), base)
    assert isinstance(made, MaskedLMRecipe)
    return made


class Spy(nn.Module):
    """Stands for the network and remembers its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, ...]] = []

    def forward(self, *inputs: Any) -> torch.Tensor:
        self.seen.append(inputs)
        return torch.zeros(inputs[0].shape, requires_grad=True)


def batch_of(task: MaskedLMTask, size: int = 8) -> dict[str, torch.Tensor]:
    return {**task.train_source().batch(np.arange(size)), "index": torch.arange(size)}


@pytest.mark.parametrize(
    ("kind", "loss"), [("masked", "cross_entropy"), ("masked", "score"), ("autoregressive", "cross_entropy")]
)
def test_it_learns(texts: str, kind: str, loss: str, tmp_path: Path) -> None:
    steps = 90 if loss == "score" else 60
    made = settings(
        texts, objective={"kind": kind, "loss": loss}, train={"steps": steps, "learning_rate": 1e-2, "ema": None}
    )
    task = MaskedLMTask(made)
    done = train(task, made.train, RunFolder(tmp_path / "run"), show=False)
    assert done.validation_loss is not None
    untrained = MaskedLMTask(made)
    with torch.no_grad():
        batch = {**untrained.validation_source().batch(np.arange(4)), "index": torch.arange(4)}
        before = untrained.validate(untrained.modules(), batch, Draws(0, 0))["loss"].mean().item()
    assert done.validation_loss < 0.7 * before
    again = MaskedLM.from_pretrained(done.run.model)
    torch.testing.assert_close(dict(again.named_parameters()), dict(task.model.named_parameters()))


def test_what_is_masked_and_what_is_not(texts: str) -> None:
    made = settings(
        texts, data={"packed": False}, objective={"prefix_share": 0.3, "cut_share": 0.3, "times": "stratified"}
    )
    task = MaskedLMTask(made)
    batch, spy = batch_of(task, 64), Spy()
    update = next(task.step({"model": spy}, batch, Draws(0, 3)))
    noisy, clean, chosen, attention = spy.seen[0][:4]
    assert not (chosen & ~batch["maskable"]).any()
    assert (noisy[chosen] == 257).all()
    assert torch.equal(noisy[~chosen], clean[~chosen])
    assert not (chosen & ~attention).any()
    assert (attention.sum(1) < batch["real"].sum(1)).any()  # some were cut
    shares = (chosen.sum(1) / batch["maskable"].sum(1)).sort().values
    assert shares[0] < 0.15
    assert shares[-1] > 0.85
    assert set(update.metrics) == {"nats_per_mask", "masked_share"}


def test_draws_do_not_depend_on_the_batch(texts: str) -> None:
    task = MaskedLMTask(settings(texts, objective={"times": "stratified"}))
    batch, spy = batch_of(task), Spy()
    halves = [{k: v[rows] for k, v in batch.items()} for rows in (slice(0, 8, 2), slice(1, 8, 2))]
    for part in (batch, *halves):
        next(task.step({"model": spy}, part, Draws(0, 1)))
    found = [call[0] for call in spy.seen]
    assert torch.equal(found[0][::2], found[1])
    assert torch.equal(found[0][1::2], found[2])


def test_annealing_ends(texts: str) -> None:
    task = MaskedLMTask(settings(texts, objective={"anneal_steps": 10}))
    batch, spy = batch_of(task), Spy()
    for step in (0, 5, 10):
        next(task.step({"model": spy}, batch, Draws(0, step)))
    patterns = [call[3] for call in spy.seen]
    assert torch.equal(patterns[0][0, 0], torch.ones(32, 32).tril().bool())
    assert 0.35 < patterns[1][0, 0].triu(1).float().sum() / 496 < 0.65
    assert patterns[2] is None


def test_prompts_are_spared_little_by_little(texts: str) -> None:
    task = MaskedLMTask(
        settings(texts, data={"packed": False, "learn_padding": True}, objective={"condition_steps": 100})
    )
    batch = batch_of(task, len(task.train_source()))
    prompts = ~batch["maskable"]
    prompts[:, 0] = False
    assert prompts.any()
    shares = []
    for step in (0, 50, 100):
        rows = task._varied(batch, Draws(0, step))
        shares.append((rows.maskable & prompts).sum().item() / prompts.sum().item())
        assert not rows.maskable[:, 0].any()
    assert shares[0] == 1.0
    assert 0.2 < shares[1] < 0.8
    assert shares[2] == 0.0


def test_low_rank_updates(texts: str, tmp_path: Path) -> None:
    start = MaskedLM.from_config(settings(texts).model)
    start.save_pretrained(tmp_path / "start")
    made = settings(
        texts,
        objective={"start": str(tmp_path / "start"), "lora_rank": 2, "lora_alpha": 4},
        train={"ema": None, "learning_rate": 1e-2, "steps": 6},
    )
    task = MaskedLMTask(made)
    trained = {name for name, p in task.modules()["model"].named_parameters() if p.requires_grad}
    assert len(trained) == 14
    assert all("lora_" in name for name in trained)
    done = train(task, made.train, RunFolder(tmp_path / "run"), show=False)
    whole = MaskedLM.from_pretrained(done.run.model)
    before, after = dict(start.named_parameters()), dict(whole.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert len(changed) == 7
    assert all("_proj.weight" in name for name in changed)
    tokens = torch.randint(0, 256, (2, 16))
    with torch.no_grad():
        torch.testing.assert_close(whole.hidden(tokens), task.model.hidden(tokens), atol=1e-5, rtol=0)


def test_a_run_that_was_stopped_ends_in_the_same_weights(texts: str, tmp_path: Path) -> None:
    start = MaskedLM.from_config(replace(settings(texts).model, tied=True))
    start.save_pretrained(tmp_path / "start")
    made = settings(
        texts,
        model={"tied": True},
        objective={"start": str(tmp_path / "start"), "anneal_steps": 3},
        train={"checkpoint_every": 2, "validate_every": 0},
    )
    whole = train(MaskedLMTask(made), made.train, RunFolder(tmp_path / "whole"), show=False)
    stopped = MaskedLMTask(made)
    read, steps = stopped.step, []

    def step(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:
            raise RuntimeError("pulled out")
        return read(*arguments)

    stopped.step = step  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="pulled out"):
        train(stopped, made.train, RunFolder(tmp_path / "run"), show=False)
    resumed = train(MaskedLMTask(made), made.train, RunFolder(tmp_path / "run"), resume=True, show=False)
    ours, theirs = (MaskedLM.from_pretrained(done.run.model) for done in (resumed, whole))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_pipeline_from_left_to_right_to_masks(texts: str, tmp_path: Path) -> None:
    plain = settings(texts, train={"steps": 3})
    first = replace(plain, objective=replace(plain.objective, kind="autoregressive"))
    pipeline = MaskedLMPipeline(
        autoregressive=replace(first, evaluation=replace(plain.evaluation, baselines=False)),
        masked=replace(plain, objective=replace(plain.objective, anneal_steps=2)),
    )
    run = api.train(pipeline, tmp_path / "run")
    rows = {(row.name, row.model): row for row in run.measurements}
    found = {model for name, model in rows if name == "bits_per_byte"}
    assert found == {"autoregressive", "masked-lm", "unigram", "back-off"}
    assert {model for name, model in rows if name == "hole_accuracy"} == {"autoregressive", "masked-lm"}
    assert 0.5 < rows["bits_per_byte", "back-off"].value < rows["bits_per_byte", "unigram"].value < 6
    assert rows["bits_per_byte", "masked-lm"].standard_error > 0
    assert (tmp_path / "run" / "masked" / "figures" / "by-mask-ratio.png").is_file()
    assert (tmp_path / "run" / "report.html").is_file()
    again = api.evaluate(tmp_path / "run", start=True)
    begun = [row for row in again if row.model == "start"]
    notes = ["masked-diffusion bound", "from left to right, exact", "from left to right"]
    assert [row.note for row in begun] == notes
    # The start is the first stage's model, whose rows are told once.
    exact = rows["bits_per_byte", "autoregressive"]
    assert not any(row.model == "autoregressive" and row.name == "bits_per_byte" for row in again)
    assert begun[1].value == pytest.approx(exact.value, abs=1e-5)
    assert isinstance(api.load(tmp_path / "run"), MaskedLM)
    with pytest.raises(UsageError, match=r"autoregressive.model and masked.model differ"):
        replace(pipeline, masked=replace(plain, model=replace(plain.model, width=64)))
    with pytest.raises(UsageError, match="must say what the stages are called"):
        replace(pipeline, masked=first)


def test_starts_that_do_not_fit(texts: str, tmp_path: Path) -> None:
    MaskedLM.from_config(settings(texts).model).save_pretrained(tmp_path / "m")
    made = settings(texts, model={"width": 64}, objective={"start": str(tmp_path / "m")})
    with pytest.raises(UsageError, match=r"objective.start .* holds MaskedLMConfig\(.*width=32.*, but the recipe's"):
        MaskedLMTask(made).modules()
    with pytest.raises(UsageError, match="neither a model folder nor a hub id"):
        MaskedLMTask(settings(texts, objective={"start": str(tmp_path / "no")})).modules()
    with pytest.raises(UsageError, match=r"data.length 65 exceeds model.positions 64"):
        MaskedLMTask(settings(texts, data={"length": 65}))
    with pytest.raises(UsageError, match="an autoregressive model predicts the next token"):
        MaskedLMTask(settings(texts, model={"logit_shift": False}, objective={"kind": "autoregressive"}))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epsilon": 0.0}, "objective.epsilon is 0.0"),
        ({"anneal_steps": -1}, "objective.anneal_steps is -1"),
        ({"prefix_share": 1.0}, "objective.prefix_share is 1.0"),
        ({"lora_alpha": 0}, "objective.lora_alpha is 0"),
        ({"lora_rank": 4}, "low-rank updates need weights to update"),
        ({"kind": "autoregressive", "anneal_steps": 5}, "keeps its causal attention"),
        ({"kind": "autoregressive", "loss": "score"}, "has no masks to score"),
    ],
)
def test_bad_objectives(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        MaskedObjective(**values)


def test_bad_evaluation() -> None:
    with pytest.raises(UsageError, match=r"evaluation.draws is 0"):
        MaskedEvaluation(draws=0)


def test_sizes_of_the_published_model() -> None:
    facts = api.describe(recipe("diffucoder-adaptation"))
    assert facts["parameters"] == 7_615_616_512
    # Two operations a weight and token (not the embedding's), and the attention's 4 · layers · width · length.
    matmul = 2 * (7_615_616_512 - 152_064 * 3584) + 4 * 28 * 3584 * 4096
    assert facts["forward_flops_per_token"] == pytest.approx(matmul, rel=0.01)
    assert facts["optimizer_bytes"] == 8 * facts["parameters"]
    low = api.describe(change(recipe("smollm2-code-lora"), {"data": {"length": 64}}))
    assert low["trained_parameters"] == 4_884_480
    assert low["optimizer_bytes"] == 8 * 4_884_480
