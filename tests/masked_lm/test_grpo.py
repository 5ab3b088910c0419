"""Coupled-GRPO on the training loop: rounds, resuming, batches, the verbs, what is refused."""

import json
import os
import shutil
import signal
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tenfold import api
from tenfold.api import catalogue
from tenfold.data.text.brackets import matched_share
from tenfold.data.text.stubs import library_stubs
from tenfold.errors import UsageError
from tenfold.masked_lm import CoupledGrpoTask, GrpoObjective, GrpoRecipe, MaskedLM, MaskedLMConfig, PromptConfig
from tenfold.masked_lm.grpo import prompts
from tenfold.masked_lm.grpo.prompts import read_prompts, reward_of
from tenfold.masked_lm.grpo.rollouts import complete
from tenfold.rl.programs import WeightedReward
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.text.tokenizer import ByteTokenizer
from tenfold.training.interrupt import Interrupted
from tenfold.training.loop import train
from tenfold.training.streams import Draws
from tests.sandbox.machine import needs_jails

pytestmark = pytest.mark.long

MODEL = {"width": 32, "layers": 1, "heads": 2, "intermediate": 64, "positions": 64}
TRAIN = {"steps": 4, "batch_size": 4, "tracker": "none", "threads": 1, "log_every": 1, "validate_every": 0,
         "warmup_steps": 0, "checkpoint_every": 1, "keep_last": 9}  # fmt: skip
PENALTY = {"beta": 0.1, "sync": 2}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    torch.manual_seed(0)
    MaskedLM.from_config(MaskedLMConfig(**MODEL)).save_pretrained(folder)
    return str(folder)


def settings(start: str, train: dict[str, Any] | None = None, **objective: Any) -> GrpoRecipe:
    made = change(
        catalogue.recipe("grpo-brackets").stage("tuned", ""),
        {
            "model": MODEL,
            "objective": {"start": start, "group": 4, "steps": 3, **objective},
            "train": {**TRAIN, **(train or {})},
            "evaluation": {"prompts": 6, "samples": 2},
        },
    )
    assert isinstance(made, GrpoRecipe)
    return made


def odd(texts: Any, problems: Any) -> list[float]:
    """A reward that a random model meets now and then."""
    return [sum(len(text) % k == 0 for k in (2, 3, 5)) + len(text.encode()) / 64 for text in texts]


def trained(recipe: GrpoRecipe, folder: Path, resume: bool = False) -> dict[str, torch.Tensor]:
    task = CoupledGrpoTask(recipe)
    vars(task)["reward"] = odd
    train(task, recipe.train, RunFolder(folder), resume=resume, show=False)
    return load_file(folder / "model" / "model.safetensors")


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == "train"]


@pytest.fixture(scope="module")
def whole(start: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, trained(settings(start, **PENALTY), folder)


@pytest.mark.parametrize("step", [1, 3])
def test_resuming_is_exact(step: int, start: str, whole: tuple[Path, Any], tmp_path: Path) -> None:
    """Before and behind the step at which the reference is taken anew."""
    folder, expected = tmp_path / "run", whole[1]
    shutil.copytree(whole[0], folder)
    shutil.rmtree(folder / "model")
    for path in (folder / "checkpoints").iterdir():
        if path.is_dir() and int("".join(c for c in path.name if c.isdigit())) > step:
            shutil.rmtree(path)
    found = trained(settings(start, **PENALTY), folder, resume=True)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert losses(folder) == losses(whole[0])


@pytest.mark.parametrize("place", ["draws", "updates", "the last update"])
def test_resuming_in_the_middle_of_a_round_is_exact(
    place: str, start: str, whole: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop during the draws of the third round, or behind its first or second update: the round's completions are not
    drawn again, and everything is as if never stopped."""
    folder, task, drawn = tmp_path / "run", CoupledGrpoTask(settings(start, **PENALTY)), []
    draw, step = CoupledGrpoTask._drawn, task.step

    def drawing(task: CoupledGrpoTask, batch: Any, draws: Draws) -> Any:
        drawn.append(draws.step)
        if place == "draws" and drawn == [0, 1, 2]:
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(task, batch, draws)

    def stopping(modules: Any, batch: Any, draws: Any) -> Iterator[Any]:
        for number, update in enumerate(step(modules, batch, draws)):
            if draws.step == 2 and place == ("updates", "the last update")[number]:
                os.kill(os.getpid(), signal.SIGTERM)
            yield update

    vars(task)["reward"] = odd
    monkeypatch.setattr(CoupledGrpoTask, "_drawn", drawing)
    monkeypatch.setattr(task, "step", stopping)
    with pytest.raises(Interrupted, match="in the middle of step 3; the run is saved, resume from step 2"):
        train(task, task.recipe.train, RunFolder(folder), show=False)
    part = {"draws": 1, "updates": 2, "the last update": 3}[place]
    assert (folder / "checkpoints" / f"step-2-within-{part}").is_dir()
    found = trained(settings(start, **PENALTY), folder, resume=True)
    assert drawn == [0, 1, 2, 3]
    assert all(torch.equal(found[name], whole[1][name]) for name in found)
    assert losses(folder) == losses(whole[0])
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == [f"step-{n}" for n in range(1, 5)]


def test_training_changes_the_model(whole: tuple[Path, dict[str, torch.Tensor]], start: str) -> None:
    before = load_file(Path(start) / "model.safetensors")
    assert any(not torch.equal(before[name], whole[1][name]) for name in before)


def test_a_batch_is_one_however_it_is_split(start: str, tmp_path: Path) -> None:
    """Completions of one round are the same, and so is what is learnt from them. (The next round's are drawn by weights
    that differ in their last bits.)"""
    one, two = (
        trained(settings(start, {"steps": 1, **more}, rollout_batch=batch, **PENALTY), tmp_path / f"{batch}")
        for more, batch in (({}, 64), ({"accumulate": 2}, 3))
    )
    assert losses(tmp_path / "3") == pytest.approx(losses(tmp_path / "64"), abs=1e-6)
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=0)


def batch_of(task: CoupledGrpoTask, rows: int = 3) -> dict[str, torch.Tensor]:
    return {**task.train_source().batch(np.arange(rows)), "index": torch.arange(rows)}


def test_completions_do_not_depend_on_the_batch(start: str) -> None:
    task = CoupledGrpoTask(settings(start))
    rows = batch_of(task, 5)
    options = task.recipe.objective.generation(10)
    every = complete(task.model, rows["prompts"], rows["real"], 4, options, 7, range(5), 64)
    parts = complete(task.model, rows["prompts"], rows["real"], 4, options, 7, range(5), 3)
    alone = complete(task.model, rows["prompts"][2:3], rows["real"][2:3], 4, options, 7, [2], 64)
    assert torch.equal(every.completions, parts.completions)
    assert torch.equal(every.completions[8:12], alone.completions)
    assert len(every.completions[:4].unique(dim=0)) > 1  # a group differs


def updates(task: CoupledGrpoTask) -> Iterator[Any]:
    vars(task)["reward"] = odd
    return task.step(task.modules(), batch_of(task), Draws(0, 0))


@pytest.mark.parametrize(
    ("estimator", "stratified"),
    [
        ("coupled", False),
        ("coupled", True),
        ("decoupled", False),
        ("decoupled", True),
        ("full", False),
        ("d1", False),
        ("spg", False),
    ],
)
def test_the_first_update_is_on_the_policy_itself(estimator: str, stratified: bool, start: str) -> None:
    task = CoupledGrpoTask(settings(start, estimator=estimator, stratified=stratified, inner=2, beta=0.1))
    made = list(updates(task))
    assert len(made) == 2
    for update in made:  # no weights were changed between
        assert update.metrics["ratio"] == pytest.approx(1, abs=1e-5)
        assert update.metrics["kl"] == pytest.approx(0, abs=1e-9)
        assert update.metrics["clipped_low"] == update.metrics["clipped_high"] == 0
    made[0].loss.backward()
    assert any(p.grad is not None and bool((p.grad != 0).any()) for p in task.model.parameters())


def test_a_step_towards_what_was_rewarded(start: str) -> None:
    """A small step along the gradient makes better completions likelier than worse ones of their group."""
    task = CoupledGrpoTask(settings(start, inner=1, beta=0.0))
    update = next(updates(task))
    update.loss.backward()
    begun = task._begun(batch_of(task), Draws(0, 0))
    view = task._views(begun, Draws(0, 0), 0)
    before = task._estimated(task.model, begun.drawn, view)
    with torch.no_grad():
        for p in task.model.parameters():
            p -= 0.05 * p.grad
    after = task._estimated(task.model, begun.drawn, view)
    rise = torch.where(begun.drawn.valid, after - before, 0.0).sum(1).view(-1, 4)
    rewards = begun.rewards - begun.rewards.mean(1, keepdim=True)
    assert (rise * rewards).sum() > 0


def test_low_rank_updates(start: str, tmp_path: Path) -> None:
    recipe = settings(start, {"steps": 2}, lora_rank=2, **PENALTY)
    found = trained(recipe, tmp_path / "run")
    before = load_file(Path(start) / "model.safetensors")
    assert set(found) == set(before)
    changed = {name for name in before if not torch.equal(before[name], found[name])}
    assert changed
    assert all("proj" in name for name in changed)


def test_pipeline_and_verbs(tmp_path: Path) -> None:
    recipe = change(
        catalogue.recipe("grpo-brackets"),
        {
            "start": {"model": MODEL, "train": {**TRAIN, "steps": 3, "batch_size": 8}, "evaluation": {"rows": 8}},
            "tuned": {
                "model": MODEL,
                "train": {**TRAIN, "steps": 2},
                "objective": {"group": 3},
                "evaluation": {"prompts": 6, "samples": 2},
            },
        },
    )
    run = api.train(recipe, tmp_path / "run", device="cpu")
    rows = {(row.name, row.model) for row in run.measurements}
    assert {("mean_reward", "start"), ("mean_reward", "masked-grpo"), ("global_ar", "start")} <= rows
    made = api.sample(tmp_path / "run", tmp_path / "out", prompt="([{", tokens=6, num=2, device="cpu")
    assert all(path.exists() for path in made)
    told = api.describe(recipe)["tuned"]
    assert told["parameters"] == api.describe(recipe)["start"]["parameters"]
    assert "gathered_bytes_per_process" not in told
    sharded = replace(recipe, tuned=replace(recipe.tuned, train=replace(recipe.tuned.train, parallel="fsdp")))
    assert api.describe(sharded)["tuned"]["gathered_bytes_per_process"] == 4 * told["parameters"]


def test_bracket_rewards(start: str) -> None:
    reward = reward_of(PromptConfig(most_tokens=6))
    found = reward(["([{}])()()", "", "()", ")))(((", "([)]", "()" * 9], [{}] * 6)
    assert found == [1.0, 0.0, 0.2, 0.0, 0.2, 1.0]
    assert matched_share("([)]", 4) == 0.5
    splits = read_prompts(PromptConfig(most_tokens=6), ByteTokenizer(), 256)
    parts = [{p["prompt"] for p in rows.problems} for rows in (splits.train, splits.validation, splits.test)]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert all(parts)
    assert all(len(prompt) == 6 for prompt in parts[0])


@pytest.fixture
def problems(tmp_path: Path) -> str:
    file = tmp_path / "problems.jsonl"
    lines = [
        {"prompt": f"# add {n}\ndef f(x):\n    return x", "tests": [f"assert f({k}) == {k + n % 2}" for k in range(3)]}
        for n in range(40)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return str(file)


@needs_jails
def test_problems_with_tests(problems: str, start: str) -> None:
    data = PromptConfig(source="jsonl", path=problems, form="continued", validation=0.2, test=0.2)
    reward = reward_of(data)
    task = {"prompt": "def f(x):\n    return x", "tests": ["assert f(1) == 1", "assert f(2) == 3"]}
    assert reward(["\n", " + 1\n", " +\n"], [task] * 3) == [1.5, 1.5, 0.0]
    assert isinstance(reward, WeightedReward)
    assert reward.each(["\n", " + 1\n", " +\n"], [task] * 3) == {"tests": [0.5, 0.5, 0.0], "form": [1.0, 1.0, 0.0]}
    made = CoupledGrpoTask(change(settings(start), {"data": vars(data), "objective": {"group": 2}}))
    (rows,) = [batch_of(made, 2)]
    assert rows["prompts"].shape == (2, made.train_source().tokens.shape[1])
    assert not rows["real"].all() or len({len(p["prompt"]) for p in made.prompts.train.problems}) == 1
    assert len(list(made.step(made.modules(), rows, Draws(0, 0)))) == 2


@needs_jails
def test_functions_before_and_after(problems: str, tmp_path: Path) -> None:
    """The stages of grpo-functions at a tiny size: both models are measured on the same prompts, part by part, and the
    picture is of the completions that were measured."""
    lines = [{"text": f"def f{i}(x):\n    return x + {i}\n"} for i in range(60)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    model = dict(vars(MaskedLMConfig(**MODEL)))
    texts = {"source": "jsonl", "path": str(tmp_path / "texts.jsonl"), "length": 32, "stride": 0}
    recipe = change(
        catalogue.recipe("grpo-functions"),
        {
            "start": {
                "model": model, "data": texts, "objective": {"start": ""}, "train": {**TRAIN, "steps": 1},
                "evaluation": {"rows": 2, "draws": 1},
            },
            "tuned": {
                "model": model,
                "data": {"source": "jsonl", "path": problems, "tokens": 3, "validation": 0.04, "test": 0.1},
                "objective": {"group": 2, "steps": 1, "lora_rank": 2},
                "train": {**TRAIN, "steps": 1, "batch_size": 2, "accumulate": 1, "checkpoint_every": 0},
                "evaluation": {"prompts": 2, "samples": 1, "steps": 1},
            },
        },
    )  # fmt: skip
    run = api.train(recipe, tmp_path / "run", device="cpu")
    rows = {(row.name, row.model): row for row in run.measurements}
    for name in ("start", "masked-grpo"):
        whole, tests, form = (rows[row, name] for row in ("mean_reward", "tests_share", "form_share"))
        assert whole.value == pytest.approx(2 * tests.value + 0.5 * form.value)
        assert "95 % interval" in tests.note
    gain = rows["mean_reward", "masked-grpo"].value - rows["mean_reward", "start"].value
    assert rows["reward_gain", "masked-grpo"].value == pytest.approx(gain)
    assert (tmp_path / "run" / "tuned" / "figures" / "rewards.png").is_file()


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ({"group": 1}, "objective.group is 1; give at least 2"),
        ({"least_time": 0.5}, "objective.least_time is 0.5; give a time between 0 and 0.5"),
        ({"temperature": 0.0}, "completions of a group have to differ"),
        ({"clip_low": 1.0}, "1 − clip_low, which is above 0"),
        ({"estimator": "full", "pairs": 2}, "estimator 'full' has no pairs"),
        ({"estimator": "full", "stratified": True}, "stratified is True, which estimator 'full' does not use"),
        ({"estimator": "spg", "normalised": True}, "normalised is True, which estimator 'spg' does not use"),
        ({"power": 2.0}, "power is 2.0, which estimator 'coupled' does not use [(]spg does[)]"),
        ({"mixture": 1.5}, "objective.mixture is 1.5 and power 1.5; give a share"),
        ({"power": 0.5}, "a power of at least 1"),
        ({"lora_dropout": 0.1}, "which dropout would blur; set it to 0"),
        ({"estimator": "couple"}, "coupled"),
        ({"inner": 0}, "objective.inner is 0"),
        ({"beta": float("nan")}, "beta"),
    ],
)
def test_bad_objectives(objective: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        GrpoObjective(**objective)


def test_bad_starts_and_data(start: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"objective.start is empty; name the run or model folder"):
        _ = CoupledGrpoTask(settings("")).model
    with pytest.raises(UsageError, match="but the recipe's model is"):
        _ = CoupledGrpoTask(change(settings(start), {"model": {"layers": 2}})).model
    with pytest.raises(UsageError, match="a path belongs to source 'jsonl', which needs one"):
        PromptConfig(source="jsonl")
    with pytest.raises(UsageError, match="stubs of the library are gone on with; set it to 'continued'"):
        PromptConfig(source="stdlib")
    with pytest.raises(UsageError, match="split of brackets is empty"):
        read_prompts(PromptConfig(most_tokens=1, count=10, validation=0.01), ByteTokenizer(), 256)
    file = tmp_path / "bad.jsonl"
    for line, told in (('{"prompt": "x"}', "line 1 of"), ('{"prompt": "x", "tests": [1]}', 'a list of "tests"')):
        file.write_text(line)
        with pytest.raises(UsageError, match=told):
            read_prompts(PromptConfig(source="jsonl", path=str(file)), ByteTokenizer(), 256)
    with pytest.raises(UsageError, match="does not exist or is no file"):
        read_prompts(PromptConfig(source="jsonl", path=str(tmp_path / "none")), ByteTokenizer(), 256)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A few modules of the standard library."""
    for name in ("secrets", "heapq", "statistics"):
        shutil.copy(sysconfig.get_paths()["stdlib"] + f"/{name}.py", tmp_path)
    return tmp_path


def test_stubs_of_the_library_are_tests(library: Path) -> None:
    found = {stub["functions"][0]: stub for stub in library_stubs(library)}
    assert found["median_low"]["tests"] == ["assert median_low([1, 3, 5]) == 3", "assert median_low([1, 3, 5, 7]) == 3"]
    assert found["median_low"]["prompt"].endswith('"""\n')
    assert found["token_hex"]["tests"] == ["assert token_hex(16) == 'f9bf78b9a18ce6d46a0cd2b0b86df9da'"]  # one draw


@needs_jails
def test_functions_of_the_library_that_pass_their_own_examples(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is random, or makes objects, is left out; a right body earns the whole reward."""
    monkeypatch.setattr(prompts, "library_stubs", lambda: library_stubs(library))
    prompts._library.cache_clear()
    data = PromptConfig(source="stdlib", form="continued", most_tokens=2000, validation=0.2, test=0.3)
    splits = read_prompts(data, ByteTokenizer(), 256)
    prompts._library.cache_clear()
    problems = {p["functions"][0]: p for rows in vars(splits).values() for p in rows.problems}
    assert {"mean", "median_low", "mode"} <= set(problems)
    assert not {"token_hex", "merge"} & set(problems)
    right = "    data = sorted(data)\n    return data[(len(data) - 1) // 2]\n"
    assert reward_of(data)([right, "    return 3.5\n", "    return ("], [problems["median_low"]] * 3) == [2.5, 0.5, 0.0]
