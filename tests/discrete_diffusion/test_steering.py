"""Post-training tasks on a small text: what they train on, what they count, what they refuse."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold import api
from tenfold.data.text.config import CharacterDataConfig
from tenfold.discrete_diffusion import (
    Autoregressive,
    AutoregressiveConfig,
    DiffusionAnalysis,
    DiffusionConfig,
    DiffusionRecipe,
    DiffusionSampling,
    DiffusionTask,
    DiscreteDiffusion,
    DistilObjective,
    DistilRecipe,
    DistilTask,
    GroupObjective,
    GroupRecipe,
    GroupTask,
    Labelled,
    LogRatio,
    PreferenceObjective,
    PreferenceRecipe,
    PreferenceTask,
    RatioEvaluation,
    RatioObjective,
    RatioRecipe,
    RatioSampling,
    RatioTask,
    RewardObjective,
    RewardRecipe,
    RewardTask,
    SteeringEvaluation,
    TrigramClassifier,
    distinct,
    divergence,
    read_template,
    reward_of,
    sample_entropy,
    unigram_entropy,
    word_length,
)
from tenfold.errors import UsageError
from tenfold.rl import tilt, tilt_within
from tenfold.runs.run_folder import RunFolder
from tenfold.training.loop import train
from tenfold.training.streams import Draws

LETTERS = " abcde"
MODEL = DiffusionConfig(vocabulary=6, alphabet=LETTERS, width=16, layers=1, heads=2, length=12, local_mixing=3)
TEACHER = AutoregressiveConfig(vocabulary=6, alphabet=LETTERS, width=16, layers=1, heads=2, length=12)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text, a masked model and an autoregressive one, as folders."""
    folder = tmp_path_factory.mktemp("steering")
    torch.manual_seed(0)
    words = ["abc", "de", "cab", "bed", "a", "dad"]
    text = " ".join(words[int(i)] for i in torch.randint(0, 6, (2000,)))
    (folder / "text.txt").write_text(text)
    DiffusionTask(DiffusionRecipe(model=MODEL, data=data(folder))).export(folder / "masked")
    Autoregressive(TEACHER).save_pretrained(folder / "ar")
    return folder


def data(place: Path) -> CharacterDataConfig:
    return CharacterDataConfig(
        source="file", path=str(place / "text.txt"), alphabet=LETTERS, length=12, block=96, every=4,
        validation_place=1, test_place=2,
    )  # fmt: skip


def recipe(kind: Any, place: Path, **changes: Any) -> Any:
    one = kind(model=MODEL, data=data(place), **changes)
    return replace(one, train=replace(one.train, batch_size=8))


def advance(task: Any, steps: int, rate: float = 3e-3) -> list[dict[str, float]]:
    """A few updates, as the loop makes them."""
    source, modules = task.train_source(), task.modules()
    optimiser = torch.optim.Adam(modules["model"].parameters(), rate)
    metrics = []
    for step in range(steps):
        index = (torch.arange(8) + 8 * step) % len(source)
        batch = {"index": index, **source.batch(index.numpy())}
        for update in task.step(modules, batch, Draws(0, step)):
            optimiser.zero_grad()
            update.loss.backward()
            optimiser.step()
            metrics.append(
                {"loss": float(update.loss.detach()), **{k: float(v.detach()) for k, v in update.metrics.items()}}
            )
    return metrics


@pytest.mark.parametrize(("method", "candidates"), [("exact", 3), ("exact", 0), ("first_order", 0)])
def test_distillation(place: Path, method: str, candidates: int) -> None:
    objective = DistilObjective(teacher=str(place / "ar"), method=method, candidates=candidates, sites=3, share=0.7)  # type: ignore[arg-type]
    task = DistilTask(recipe(DistilRecipe, place, objective=objective))
    found = advance(task, 12, 1e-2)
    assert found[-1]["loss"] < found[0]["loss"]
    assert found[-1]["teacher_tokens"] == task.work.tokens > 0
    # Every place is read by one pass, and the prefixes by one.
    assert found[-1]["teacher_calls"] <= 12 * (4 if method == "exact" else 2)
    again = DistilTask(task.recipe)
    again.load_state_dict(json.loads(json.dumps(task.state_dict())))
    assert again.work == task.work
    assert not any(p.requires_grad for p in again.teacher.model.model.parameters())  # type: ignore[attr-defined]


def test_rows_that_the_teacher_writes(place: Path) -> None:
    """They stand behind those of the data, of which there may be few; without sites the teacher is not asked."""
    objective = DistilObjective(teacher=str(place / "ar"), sites=0, samples=20)
    made = recipe(DistilRecipe, place, objective=objective)
    task = DistilTask(replace(made, data=replace(made.data, rows=5)))
    source = task.train_source()
    assert len(source) == 25
    teacher = task.teacher.model.model  # type: ignore[attr-defined]
    written = source.batch(np.arange(5, 25))["tokens"]
    assert torch.equal(written, teacher.sample(20, 12, task.recipe.train.seed))
    few = task.data.train.arrays["tokens"]
    every = replace(task.recipe, data=made.data)
    assert {tuple(row) for row in few} < {tuple(row) for row in DistilTask(every).data.train.arrays["tokens"]}
    assert np.array_equal(task.data.stream, few.ravel())
    found = advance(task, 12, 1e-2)
    assert found[-1]["loss"] < found[0]["loss"]
    assert task.work.calls == 0


def test_distilled_gradient_is_that_of_the_teachers_conditionals(place: Path) -> None:
    """All candidates at all places: the loss at a mask is the KL from the exact site conditional."""
    objective = DistilObjective(teacher=str(place / "ar"), candidates=0, sites=12, share=1.0)
    task = DistilTask(recipe(DistilRecipe, place, objective=objective))
    source = task.train_source()
    index = torch.arange(8)
    batch = {"index": index, **source.batch(index.numpy())}
    (update,) = list(task.step(task.modules(), batch, Draws(0, 0)))
    noisy, hidden, weight = task.masks(batch["tokens"], index, Draws(0, 0))
    teacher, total = task.teacher.model.model, 0.0  # type: ignore[attr-defined]
    with torch.no_grad():
        log_q = task.model(noisy)
        for row, site in hidden.nonzero().tolist():
            edits = batch["tokens"][row].expand(6, -1).clone()
            edits[:, site] = torch.arange(6)
            log_p = teacher.log_prob(edits).log_softmax(0)
            total += float((log_p.exp() * (log_p - log_q[row, site])).sum())
    assert float(update.loss.detach()) == pytest.approx(total / int(hidden.sum()), rel=1e-4)
    assert weight.min() >= 1


@pytest.mark.parametrize("form", ["weights", "sites"])
def test_reward_tuning(place: Path, form: str) -> None:
    objective = RewardObjective(
        start=str(place / "masked"),
        reward="word_length",
        form=form,  # type: ignore[arg-type]
        budget=0.5,
        pool=128,
        pool_steps=4,
        penalty=0.01,
    )
    task = RewardTask(recipe(RewardRecipe, place, objective=objective, evaluation=SteeringEvaluation(64, 4, 1, 16)))
    tokens, rewards = task.pool
    assert tokens.shape == (128, 12)
    assert task.tilt.kl == pytest.approx(0.5, abs=1e-3)
    chosen = torch.from_numpy(task.train_source().arrays["tokens"]).long()
    # The training rows are the pool drawn by its weights.
    assert float(task.reward(chosen).mean()) == pytest.approx(float(task.tilt.weights @ rewards.double()), abs=0.5)
    assert float(task.reward(chosen).mean()) > float(rewards.mean()) + 0.1
    found = advance(task, 30)
    assert found[-1]["own"] < found[0]["own"]
    assert found[0]["kl"] == pytest.approx(0.0, abs=1e-5)  # it starts as the reference
    assert found[-1]["kl"] > 0.01
    before = next(task.reference.parameters()).clone()
    assert torch.equal(before, next(DiscreteDiffusion.from_pretrained(place / "masked").parameters()))
    rows = {(row.name, row.model): row for row in task.evaluate()}
    assert rows["mean_reward", "discrete-reward"].value > rows["mean_reward", "reference"].value
    assert rows["kl_from_reference", "discrete-reward"].value > 0
    task.penalty = 0.05
    over = replace(task.recipe, objective=replace(objective, budget=1e-9))
    strict = RewardTask(over)
    strict.__dict__["tilt"], strict.model = task.tilt, task.model
    strict.drift = 1.0
    found = advance(strict, 3)
    assert found[-1]["penalty"] > found[0]["penalty"]  # the budget is exceeded
    other = RewardTask(over)
    other.load_state_dict(strict.state_dict())
    assert (other.penalty, other.drift) == (strict.penalty, strict.drift)


@pytest.mark.parametrize(("form", "reference"), [("completions", 0.0), ("completions", 0.5), ("predictions", 0.0)])
def test_groups(place: Path, form: str, reference: float) -> None:
    objective = GroupObjective(
        start=str(place / "masked"), reward="word_length", prompt=4, group=6, policy=0.5, reference=reference,
        chain_steps=4, noises=1, clip=60.0, form=form,  # type: ignore[arg-type]
    )  # fmt: skip
    settings = SteeringEvaluation(64, 4, 1, 16)
    task = GroupTask(recipe(GroupRecipe, place, objective=objective, evaluation=settings))
    index = torch.arange(8)
    clean = task.train_source().batch(index.numpy())["tokens"]
    texts = task._complete(clean, index, Draws(0, 3)).tokens
    assert texts.shape == (48, 12)
    assert torch.equal(texts[:, :4], clean.repeat_interleave(6, 0)[:, :4])
    assert len(texts[:6].unique(dim=0)) > 1
    # Keyed by the sample: another batch, another process, the same completions.
    assert torch.equal(texts[18:30], task._complete(clean[3:5], index[3:5], Draws(0, 3)).tokens)
    found = advance(task, 15, 1e-2)
    assert len(found) == 30  # two updates a step
    assert sum(f["reward"] for f in found[-6:]) > sum(f["reward"] for f in found[:6]) + 0.6
    before = next(task.reference.parameters()).clone()
    assert torch.equal(before, next(DiscreteDiffusion.from_pretrained(place / "masked").parameters()))
    task.reward = lambda tokens: torch.ones(len(tokens))  # type: ignore[method-assign]
    weights = [p.detach().clone() for p in task.model.parameters()]
    alike = advance(task, 1)
    assert all(torch.equal(a, b) for a, b in zip(weights, task.model.parameters(), strict=True))
    assert alike[0]["skipped_groups"] == task.skipped >= 8
    again = GroupTask(task.recipe)
    again.load_state_dict(json.loads(json.dumps(task.state_dict())))
    assert again.skipped == task.skipped


def test_groups_resume_bit_for_bit(place: Path, tmp_path: Path) -> None:
    objective = GroupObjective(
        start=str(place / "masked"), reward="word_length", prompt=4, group=3, chain_steps=3, noises=1
    )
    made = recipe(GroupRecipe, place, objective=objective)
    options = {"steps": 4, "checkpoint_every": 2, "tracker": "none", "threads": 1, "learning_rate": 1e-2}
    made = replace(made, train=replace(made.train, batch_size=2, **options))  # type: ignore[arg-type]
    whole = train(GroupTask(made), made.train, RunFolder(tmp_path / "whole"), show=False)

    class Stopped(GroupTask):
        def step(self, modules: Any, batch: Any, draws: Draws) -> Any:
            if draws.step == 3:
                raise RuntimeError("pulled out")
            return super().step(modules, batch, draws)

    with pytest.raises(RuntimeError, match="pulled out"):
        train(Stopped(made), made.train, RunFolder(tmp_path / "run"), show=False)
    resumed = train(GroupTask(made), made.train, RunFolder(tmp_path / "run"), resume=True, show=False)
    one, other = (DiscreteDiffusion.from_pretrained(done.run.model).state_dict() for done in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    start = DiscreteDiffusion.from_pretrained(place / "masked").state_dict()
    assert not torch.equal(one["head.weight"], start["head.weight"])


def test_the_likelihood_of_completions(place: Path) -> None:
    """One pattern with all masks: the sum of the model's own log-probabilities of what is not given."""
    objective = GroupObjective(start=str(place / "masked"), reward="word_length", prompt=11, group=2, noises=1)
    task = GroupTask(recipe(GroupRecipe, place, objective=objective))
    texts, index = torch.randint(6, (8, 12)), torch.arange(4)
    found, _ = task._of_completions(task.model, texts, index, Draws(0, 0), 0)
    noisy = torch.cat([texts[:, :11], torch.full((8, 1), 6)], 1)
    torch.testing.assert_close(found, task.model(noisy)[:, 11].gather(1, texts[:, 11:])[:, 0])


def test_preference_tuning(place: Path) -> None:
    objective = PreferenceObjective(start=str(place / "masked"), reward="word_length", pool=128, pool_steps=4)
    task = PreferenceTask(
        recipe(PreferenceRecipe, place, objective=objective, evaluation=SteeringEvaluation(32, 4, 1, 8))
    )
    winner, loser = task.pairs
    assert winner.shape == loser.shape == (64, 12)
    assert float(task.reward(winner).mean()) > float(task.reward(loser).mean())
    assert len(task.train_source()) == 48
    found = advance(task, 40, 1e-2)
    assert found[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # no rise yet
    assert sum(f["loss"] for f in found[-6:]) / 6 < 0.65
    assert sum(f["accuracy"] for f in found[-6:]) / 6 > 0.6
    names = {row.name for row in task.evaluate()}
    assert {"preference_accuracy", "mean_reward", "kl_from_reference"} <= names


def test_density_ratio(place: Path) -> None:
    evaluation = RatioEvaluation(chain=(1, 2), candidates=(1, 4), rows=16)
    for loss in ("bce", "lsif", "generalised_kl"):
        objective = RatioObjective(start=str(place / "masked"), loss=loss, draws=2)  # type: ignore[arg-type]
        task = RatioTask(recipe(RatioRecipe, place, objective=objective, evaluation=evaluation))
        found = advance(task, 30)
        assert sum(f["loss"] for f in found[-5:]) / 5 < found[0]["loss"]
        assert found[-1]["accuracy"] > 0.6
    rows = {(row.name, row.model): row.value for row in task.evaluate()}
    name = "discrete-ratio"
    assert rows["gain_1_steps", f"{name}, 1 candidates"] == pytest.approx(0.0, abs=1e-9)
    assert rows["gain_1_steps", f"{name}, 4 candidates"] > 0.02
    batch = {"index": torch.arange(4), **task.validation_source().batch(torch.arange(4).numpy())}
    assert task.validate(task.modules(), batch, Draws(0, 0))["loss"].shape == (4,)


def test_a_ratio_starts_at_one_and_is_saved(place: Path, tmp_path: Path) -> None:
    objective = RatioObjective(start=str(place / "masked"))
    task = RatioTask(recipe(RatioRecipe, place, objective=objective))
    clean, noisy = torch.randint(0, 6, (3, 12)), torch.full((3, 12), 6)
    assert (task.model(clean, noisy) == 0).all()
    torch.nn.init.normal_(task.model.head.weight)
    task.export(tmp_path / "ratio")
    again = RatioTask(task.recipe)
    again.load(tmp_path / "ratio")
    torch.testing.assert_close(again.model(clean, noisy), task.model(clean, noisy))
    files = again.sample(RatioSampling(num=3, steps=3, candidates=2), tmp_path / "samples")
    assert len(files[0].read_text().splitlines()) == 3
    plain = again.sample(RatioSampling(num=3, steps=3, candidates=1), tmp_path / "plain")
    assert json.loads(plain[1].read_text())["calls"] == 3


def test_tilts() -> None:
    rewards = torch.randn(500)
    found = tilt(rewards, 0.7)
    torch.testing.assert_close(found.weights, (rewards.double() / 0.7).softmax(0))
    assert found.kl == pytest.approx(float((found.weights * (found.weights * 500).log()).sum()))
    assert found.size == pytest.approx(float(1 / found.weights.square().sum()))
    within = tilt_within(rewards, 0.5)
    assert within.kl == pytest.approx(0.5, abs=1e-6)
    assert tilt_within(rewards, 1.0).beta < within.beta
    assert tilt_within(rewards * 100, 0.5).beta == pytest.approx(100 * within.beta, rel=1e-5)
    for call, words in (
        (lambda: tilt(rewards, 0.0), "beta is 0"),
        (lambda: tilt(rewards * torch.nan, 1.0), "NaN or infinite"),
        (lambda: tilt_within(rewards, 6.0), "beyond what 500 samples can tell"),
        (lambda: tilt_within(torch.ones(500), 0.5), "same reward"),
    ):
        with pytest.raises(UsageError, match=words):
            call()


def test_few_effective_samples_are_warned_of(place: Path) -> None:
    objective = RewardObjective(start=str(place / "masked"), reward="word_length", pool=64, pool_steps=1)
    task = RewardTask(recipe(RewardRecipe, place, objective=objective))
    rewards = torch.zeros(64)
    rewards[0] = 1.0
    task.__dict__["pool"] = (torch.zeros(64, 12, dtype=torch.long), rewards)
    task.recipe = replace(task.recipe, objective=replace(objective, budget=3.2))
    with pytest.warns(UserWarning, match="effective sample size of the pool is 1"):
        _ = task.tilt
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        healthy = RewardTask(recipe(RewardRecipe, place, objective=objective))
        healthy.__dict__["pool"] = (torch.zeros(64, 12, dtype=torch.long), torch.randn(64))
        _ = healthy.tilt


def test_rewards() -> None:
    texts = torch.tensor([[1, 2, 3, 0, 4, 5], [1, 0, 1, 0, 1, 0]])
    torch.testing.assert_close(word_length(0)(texts), torch.tensor([2.5, 0.75]))
    torch.manual_seed(0)
    new = torch.rand(400) < 0.3
    tokens = torch.where(new[:, None], torch.randint(0, 3, (400, 20)), torch.randint(0, 4, (400, 20)))
    rows = Labelled(tokens, new)
    classifier = TrigramClassifier(Labelled(tokens[:300], new[:300]), 4)
    held_out = Labelled(tokens[300:], new[300:])
    assert classifier.accuracy(held_out) > 0.9
    assert classifier(tokens).abs().max() <= 8
    with pytest.raises(UsageError, match="all rows are of one kind"):
        TrigramClassifier(Labelled(tokens[rows.new], new[rows.new]), 4)
    with pytest.raises(UsageError, match="about the King James Bible"):
        reward_of("testament", CharacterDataConfig(source="file", path="x"))
    with pytest.raises(UsageError, match="needs a blank"):
        reward_of("word_length", CharacterDataConfig(source="file", path="x", alphabet="ab", others="drop"))


def test_divergence_and_variety(place: Path) -> None:
    model = DiscreteDiffusion.from_pretrained(place / "masked")
    texts = torch.randint(0, 6, (5, 12))
    assert divergence(model, model, texts, 2, 4).abs().max() < 1e-6
    other = DiscreteDiffusion.from_pretrained(place / "masked")
    torch.nn.init.normal_(other.head.bias)
    assert (divergence(other, model, texts, 2, 4) > 0).all()
    assert distinct(torch.zeros(2, 6, dtype=torch.long)) == pytest.approx(1 / 8)
    assert unigram_entropy(torch.tensor([[0, 1, 2, 3]])) == pytest.approx(2.0)
    assert sample_entropy(torch.tensor([[0, 1, 0, 1], [2, 2, 2, 2]])) == pytest.approx(0.5)


def test_samples_as_text(place: Path, tmp_path: Path) -> None:
    files = api.sample(place / "masked", tmp_path / "a", num=3, steps=4)
    lines = files[0].read_text().splitlines()
    assert [len(line) for line in lines] == [12, 12, 12]
    assert set("".join(lines)) <= set(LETTERS)
    files = api.sample(place / "masked", tmp_path / "b", num=4, steps=4, template="ab__ de_", kind="cached")
    for line in files[0].read_text().splitlines():
        assert (len(line), line[:2], line[4:7]) == (8, "ab", " de")
    guided = {"num": 16, "kind": "first_hitting", "reward": "word_length", "values": 2, "beta": 0.2}
    texts = [api.sample(place / "masked", tmp_path / str(len(c)), **c)[0].read_text().split("\n")[:16]  # type: ignore[arg-type]
             for c in (guided, {"num": 16, "kind": "first_hitting"})]  # fmt: skip
    guided_blanks, plain_blanks = (sum(text.count(" ") for text in some) for some in texts)
    assert guided_blanks < 0.5 * plain_blanks  # longer words
    with pytest.raises(UsageError, match=r"holds 'x'; the model knows"):
        api.sample(place / "masked", tmp_path / "c", template="x_")
    with pytest.raises(UsageError, match="exceed the 12 of the model"):
        api.sample(place / "masked", tmp_path / "c", length=13)
    assert read_template("a_", LETTERS)[1].tolist() == [True, False]


def test_quality_by_steps(place: Path, tmp_path: Path) -> None:
    task = DiffusionTask(DiffusionRecipe(model=MODEL, data=data(place)))
    task.load(place / "masked")
    options = DiffusionAnalysis(judge=str(place / "ar"), kinds=("ancestral", "first_hitting"), steps=(2, 4), num=8)
    (tmp_path / "figures").mkdir()
    found = task.analyse(options, tmp_path / "figures")
    assert len(found.rows) == 3 * 5
    by_name = {row.model: row for row in found.rows if row.name == "judged_bits_per_char"}
    judge = Autoregressive.from_pretrained(place / "ar")
    held = torch.from_numpy(task.data.test.some(8).arrays["tokens"]).long()
    expected = -judge.log_prob(held).mean().item() / 12 / torch.log(torch.tensor(2.0)).item()
    assert by_name["held-out text"].value == pytest.approx(expected, rel=1e-4)
    assert "4.0 calls" in by_name["discrete-diffusion, first_hitting, 4 steps"].note
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"perplexity.png", "entropy.png"}
    with pytest.raises(UsageError, match="judged by an autoregressive model"):
        task.analyse(DiffusionAnalysis(), tmp_path)


def test_bad_input(place: Path) -> None:
    for make, words in (
        (lambda: DistilObjective(sites=-1), "sites is -1"),
        (lambda: DistilObjective(sites=0), "both 0, so nothing is learnt"),
        (lambda: DistilObjective(share=0.0), "share is 0"),
        (lambda: DistilObjective(temperature=0.0), "temperature is 0"),
        (lambda: RewardObjective(budget=0.0), "budget is 0"),
        (lambda: RewardObjective(pool=3), "pool is 3"),
        (lambda: RewardObjective(penalty=0.0), "penalty is 0"),
        (lambda: GroupObjective(group=1), "group is 1"),
        (lambda: GroupObjective(policy=0.0), "positive sum"),
        (lambda: GroupObjective(clip=0.0), "clip is 0"),
        (lambda: DiffusionSampling(values=2), "give --reward too"),
        (lambda: DiffusionSampling(reward="word_length"), "the kind is 'ancestral'"),
        (lambda: PreferenceObjective(beta=-1.0), "beta is -1"),
        (lambda: PreferenceObjective(noises=0), "noises is 0"),
        (lambda: RatioObjective(draws=0), "draws is 0"),
        (lambda: RatioObjective(cap=0.0), "cap is 0"),
        (lambda: RatioEvaluation(chain=()), "at least 1"),
        (lambda: RatioEvaluation(rows=1), "rows is 1"),
        (lambda: SteeringEvaluation(samples=1), "samples is 1"),
        (lambda: DiffusionSampling(template="ab", length=3), "leave length out"),
        (lambda: DiffusionSampling(template="ab"), 'has no "_"'),
        (lambda: DiffusionSampling(guidance=1.0), "give --template"),
        (lambda: DiffusionAnalysis(steps=()), "at least one of each"),
        (lambda: DiffusionAnalysis(num=1), "num is 1"),
    ):
        with pytest.raises(UsageError, match=words):
            make()
    with pytest.raises(UsageError, match="candidates is 7"):
        DistilTask(recipe(DistilRecipe, place, objective=DistilObjective(candidates=7)))
    other = replace(MODEL, width=32)
    with pytest.raises(UsageError, match="leave some to be completed"):
        GroupTask(recipe(GroupRecipe, place, objective=GroupObjective(prompt=12)))
    task = RewardTask(
        replace(recipe(RewardRecipe, place, objective=RewardObjective(start=str(place / "masked"))), model=other)
    )
    with pytest.raises(UsageError, match="but the recipe's model is"):
        _ = task.model
    with pytest.raises(UsageError, match="for masked models"):
        RewardTask(replace(task.recipe, model=replace(MODEL, source="uniform")))
    with pytest.raises(UsageError, match="not told the noise level"):
        LogRatio(replace(MODEL, time=True))
    wrong = replace(TEACHER, alphabet="fghijk")
    Autoregressive(wrong).save_pretrained(place / "foreign")
    task_ = DistilTask(recipe(DistilRecipe, place, objective=DistilObjective(teacher=str(place / "foreign"))))
    with pytest.raises(UsageError, match="share one alphabet"):
        _ = task_.teacher
