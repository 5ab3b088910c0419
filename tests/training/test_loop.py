"""The loop: what a step does, what a resume gives back, and how a run stops."""

import json
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold import api
from tenfold.errors import TenfoldError, UsageError
from tenfold.runs.run_folder import RunFolder, load_config
from tenfold.training.interrupt import Interrupted
from tenfold.training.metrics import check_tracker
from tenfold.training.schedule import learning_rate_factor
from tenfold.training.streams import Draws
from tenfold.training.task import Update
from tests.training.toys import (
    Adversarial,
    Regression,
    Replay,
    Table,
    Tape,
    configuration,
    difference,
    digest,
    run,
    weights,
)


class Bomb(Exception):
    """Stands for a crash."""


def crash() -> None:
    raise Bomb


def test_the_loop_equals_a_loop_written_out(tmp_path: Path) -> None:
    config = configuration(clip=0.5, accumulate=2, steps=9)
    run(tmp_path, Regression(config))
    task = Regression(config)
    net, table = task.net, task.train
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = {name: p.detach().clone() for name, p in net.named_parameters()}
    from tenfold.training.loader import Batches

    for step in range(9):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, config)
        index = Batches(table, 8, config.seed).at(step)[0]["index"]
        batch = Batches(table, 8, config.seed).at(step)[0]
        noise = Draws(config.seed, step).normal("noise", index, (4,))
        optimizer.zero_grad()
        net(batch["x"] + 0.1 * noise, batch["y"])[0].mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        optimizer.step()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, p in net.named_parameters():
            average[name] = decay * average[name] + (1 - decay) * p.detach()
    exported = {name.removeprefix("net."): t for name, t in weights(tmp_path).items() if "layers" in name}
    assert difference(exported, average) < 1e-6
    assert difference(exported, dict(Regression(config).net.named_parameters())) > 1e-2


@pytest.mark.parametrize("kind", [Regression, Adversarial])
def test_accumulation_changes_nothing(tmp_path: Path, kind: Callable[..., Any]) -> None:
    for rounds in (1, 4):
        run(tmp_path / str(rounds), kind(configuration(accumulate=rounds)))
    a, b = weights(tmp_path / "1"), weights(tmp_path / "4")
    a.pop("net.calls"), b.pop("net.calls")
    assert difference(a, b) < 1e-6


def test_learning_reduces_the_loss_and_metrics_are_written(tmp_path: Path) -> None:
    result = run(tmp_path, Regression(configuration(steps=120), validation=Table(21, "v")))
    records = RunFolder(tmp_path).read_metrics()
    train = [r for r in records if r["kind"] == "train"]
    validation = [r for r in records if r["kind"] == "validation"]
    assert [r["step"] for r in train] == list(range(4, 121, 4))
    assert [r["step"] for r in validation] == list(range(5, 121, 5))
    assert validation[-1]["loss"] < 0.3 * validation[0]["loss"]
    assert all(r["half"] == pytest.approx(r["loss"] / 2) for r in validation)
    assert {"loss", "out", "gradient_norm", "learning_rate", "seconds"} <= set(train[0])
    best = min(validation, key=lambda r: r["loss"])
    assert (result.chosen_step, result.validation_loss) == (best["step"], best["loss"])
    provenance = json.loads((tmp_path / "provenance.json").read_text())
    assert provenance["data"] == "toy-train-50"
    assert provenance["processes"] == 1
    assert provenance["threads"] >= 1
    assert load_config(tmp_path)["train"]["steps"] == 120


def test_validation_is_the_mean_over_samples_of_the_averaged_weights(tmp_path: Path) -> None:
    config = configuration(steps=5, checkpoint_every=0)
    held_out = Table(11, "v")  # no multiple of the batch
    task = Regression(config, validation=held_out)
    run(tmp_path, task)
    told = [r for r in RunFolder(tmp_path).read_metrics() if r["kind"] == "validation"]
    from tenfold.training.streams import key_of

    whole = held_out.batch(torch.arange(11).numpy())
    draws = Draws(key_of(config.seed, "validation"), 0)
    with torch.no_grad():  # the task's own module holds the averaged weights now
        values = task.validate({"net": task.net}, {**whole, "index": torch.arange(11)}, draws)["loss"]
    assert told[-1]["loss"] == pytest.approx(float(values.double().mean()), rel=1e-6)
    assert not task.net.training


def test_only_the_named_optimisers_gradients_count(tmp_path: Path) -> None:
    """One step of the pair against two plain steps with fresh gradients."""
    config = configuration(steps=1, clip=None, ema=None, warmup_steps=0, weight_decay=0.0)
    run(tmp_path, Adversarial(config))
    task = Adversarial(config)
    modules = task.modules()
    optimizers = task.optimizers(modules)
    batch = {"index": torch.arange(8), **_first_batch(config)}
    updates = task.step(modules, batch, Draws(config.seed, 0))
    for _ in range(2):
        for module in modules.values():
            module.zero_grad()
        update = next(updates)
        update.loss.backward()
        optimizers[update.optimizer].step()
    plain = {f"{n}.{k}": t for n, m in modules.items() for k, t in m.state_dict().items()}
    assert difference(weights(tmp_path), plain) < 1e-7
    assert difference(dict(Adversarial(config).critic.named_parameters()), dict(task.critic.named_parameters())) > 0


def _first_batch(config: Any) -> dict[str, torch.Tensor]:
    from tenfold.training.loader import Batches

    batch = Batches(Table(50), 8, config.seed).at(0)[0]
    return {"x": batch["x"], "y": batch["y"]}


# Resuming


@pytest.mark.parametrize(
    "make",
    [
        lambda c, at: Regression(c, at=at, validation=Table(9, "v")),
        lambda c, at: Regression(c, at=at, train=Tape(4, 6)),
        lambda c, at: Regression(c, at=at, train=Tape(3, 5)),
        lambda c, at: Replay(c, at=at),
    ],
    ids=["map", "stream", "odd-stream", "replay"],
)
@pytest.mark.parametrize("step", [1, 5, 9, 17])
def test_a_resumed_run_is_bit_exact(tmp_path: Path, make: Any, step: int) -> None:
    config = configuration(steps=20, accumulate=2)
    run(tmp_path / "through", make(config, {}))
    with pytest.raises(Bomb):
        run(tmp_path / "crashed", make(config, {step: crash}))
    assert not (tmp_path / "crashed" / "model").exists()
    run(tmp_path / "crashed", make(config, {}), resume=True)
    assert digest(tmp_path / "crashed") == digest(tmp_path / "through")
    records = [RunFolder(tmp_path / n).read_metrics() for n in ("through", "crashed")]
    keys = [[(r["step"], r["kind"]) for r in part] for part in records]
    assert keys[0] == keys[1]
    losses = [[r["loss"] for r in part if r["kind"] == "validation"] for part in records]
    assert losses[0] == losses[1]


def test_the_digest_sees_a_difference(tmp_path: Path) -> None:
    run(tmp_path / "a", Regression(configuration()))
    run(tmp_path / "b", Regression(configuration(seed=1)))
    assert digest(tmp_path / "a") != digest(tmp_path / "b")


def test_dropout_is_keyed_by_the_step(tmp_path: Path) -> None:
    class Dropping(Regression):
        def step(self, modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
            if draws.step in self.at:
                self.at[draws.step]()
            x = torch.nn.functional.dropout(batch["x"], 0.5)
            yield Update("adamw", modules["net"](x, batch["y"])[0].mean())

    torch.manual_seed(1)
    run(tmp_path / "a", Dropping(configuration()))
    torch.manual_seed(2)
    with pytest.raises(Bomb):
        run(tmp_path / "b", Dropping(configuration(), at={6: crash}))
    run(tmp_path / "b", Dropping(configuration()), resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_resume(tmp_path: Path, number: signal.Signals) -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    run(tmp_path / "through", Regression(configuration()))
    task = Regression(configuration(), at={5: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(Interrupted) as error:
        run(tmp_path / "a", task)
    assert error.value.exit_code == 130
    assert number.name in str(error.value)
    assert "at step 6" in str(error.value)
    assert f"tenfold train --resume {tmp_path / 'a'}" in str(error.value)
    assert (tmp_path / "a" / "checkpoints" / "step-6").is_dir()  # not a multiple of checkpoint_every
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers
    resumed = Regression(configuration())
    run(tmp_path / "a", resumed, resume=True)
    assert len(resumed.indices) == 6
    assert digest(tmp_path / "a") == digest(tmp_path / "through")


def test_a_signal_during_validation_is_heeded_and_the_validation_repeated(tmp_path: Path) -> None:
    class Stopping(Regression):
        stop = True

        def validate(self, modules: Any, batch: Any, draws: Draws) -> Any:
            if self.stop:
                self.stop = False
                os.kill(os.getpid(), signal.SIGTERM)
            return super().validate(modules, batch, draws)

    config, held_out = configuration(), Table(40, "v")
    run(tmp_path / "through", Regression(config, validation=held_out))
    with pytest.raises(Interrupted, match="at step 5"):
        run(tmp_path / "a", Stopping(config, validation=held_out))
    assert not [r for r in RunFolder(tmp_path / "a").read_metrics() if r["kind"] == "validation"]
    run(tmp_path / "a", Regression(config, validation=held_out), resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "through")
    steps = [r["step"] for r in RunFolder(tmp_path / "a").read_metrics() if r["kind"] == "validation"]
    assert steps == [5, 10, 12]


def test_a_signal_during_the_last_validation_is_heeded(tmp_path: Path) -> None:
    class Stopping(Regression):
        def validate(self, modules: Any, batch: Any, draws: Draws) -> Any:
            if self.last == 11:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().validate(modules, batch, draws)

        def step(self, modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
            self.last = draws.step
            return super().step(modules, batch, draws)

    config, held_out = configuration(), Table(40, "v")
    run(tmp_path / "through", Regression(config, validation=held_out))
    with pytest.raises(Interrupted, match="at step 12; the run is saved, resume from step 12"):
        run(tmp_path / "a", Stopping(config, validation=held_out))
    assert not RunFolder(tmp_path / "a").model.exists()
    run(tmp_path / "a", Regression(config, validation=held_out), resume=True)
    assert digest(tmp_path / "a") == digest(tmp_path / "through")


def test_a_signal_during_the_export_is_heeded(tmp_path: Path) -> None:
    class Stopping(Regression):
        def export(self, folder: Path) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            super().export(folder)

    with pytest.raises(Interrupted, match=r"SIGINT after the training.*tenfold train --resume"):
        run(tmp_path, Stopping(configuration()))
    assert RunFolder(tmp_path).model.is_dir()


def test_extending_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tenfold.training.loop import train

    run(tmp_path, Regression(configuration()))
    task = Regression(configuration(steps=20, checkpoint_every=3, keep_last=1))
    result = train(task, task.config, RunFolder(tmp_path), resume=True)
    assert result.steps == 20
    assert len(task.indices) == 8
    assert "train.steps was 12 and is 20: the learning rate follows a new cosine" in capsys.readouterr().err
    assert load_config(tmp_path)["train"]["steps"] == 20
    rate = [r["learning_rate"] for r in RunFolder(tmp_path).read_metrics() if r["kind"] == "train"]
    assert rate[3] > rate[2]  # step 16 on the longer cosine, step 12 at the end of the shorter
    with pytest.raises(UsageError, match=r"is at step 20, beyond train\.steps 12; give at least 20"):
        run(tmp_path, Regression(configuration()), resume=True)


def test_resuming_a_finished_run_exports_again(tmp_path: Path) -> None:
    run(tmp_path, Regression(configuration(), validation=Table(9, "v")))
    whole = digest(tmp_path)
    (tmp_path / "model" / "model.safetensors").unlink()
    task = Regression(configuration(), validation=Table(9, "v"))
    run(tmp_path, task, resume=True)
    assert task.indices == []
    assert digest(tmp_path) == whole


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 3}, "train.seed of .* is 0, not 3, and cannot change on resume"),
        ({"learning_rate": 0.5}, "train.learning_rate of .* is 0.01, not 0.5"),
        ({"batch_size": 16}, "train.batch_size of .* is 8, not 16"),
        ({"betas": (0.8, 0.9)}, r"train.betas of .* is \[0.9, 0.95\], not \[0.8, 0.9\]"),
        ({"ema": None}, "train.ema of .* is 0.9, not None"),
    ],
)
def test_settings_that_may_not_change(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    run(tmp_path, Regression(configuration()))
    for flag in (False, True):
        with pytest.raises(UsageError, match=sentence):
            run(tmp_path, Regression(configuration(steps=14, **changes)), resume=True, allow_inexact=flag)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"accumulate": 2}, "train.accumulate was 1 and is 2"),
        ({"threads": torch.get_num_threads() + 1}, "the number of threads was"),
    ],
)
def test_inexact_resumes_need_the_flag(
    tmp_path: Path, changes: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from tenfold.training.loop import train

    threads = torch.get_num_threads()
    try:
        run(tmp_path, Regression(configuration()))
        config = configuration(steps=14, **changes)
        with pytest.raises(UsageError, match=f"would not be bit-exact: {sentence}.*--allow-inexact"):
            run(tmp_path, Regression(config), resume=True)
        train(Regression(config), config, RunFolder(tmp_path), resume=True, allow_inexact=True)
        assert "no longer bit-exact" in capsys.readouterr().err
    finally:
        torch.set_num_threads(threads)


def test_other_data_need_the_flag(tmp_path: Path) -> None:
    run(tmp_path, Regression(configuration()))
    with pytest.raises(UsageError, match="the data's fingerprint was toy-train-50 and is toy-train-60"):
        run(tmp_path, Regression(configuration(steps=14), train=Table(60)), resume=True)


def test_settings_outside_train_may_not_change(tmp_path: Path) -> None:
    task = Regression(configuration())
    settings = {"model": {"patch": (2, 2)}, "train": asdict(task.config)}
    run(tmp_path, task, settings=settings)
    task = Regression(configuration(steps=13))
    with pytest.raises(UsageError, match=r"model\.patch of .* is \[2, 2\], not \[4, 2\], and cannot change"):
        run(tmp_path, task, resume=True, settings={"model": {"patch": (4, 2)}, "train": asdict(task.config)})
    run(tmp_path, task, resume=True)
    assert load_config(tmp_path)["model"] == {"patch": [2, 2]}
    assert load_config(tmp_path)["train"]["steps"] == 13


def test_folders_in_the_way(tmp_path: Path) -> None:
    run(tmp_path / "a", Regression(configuration()))
    with pytest.raises(UsageError, match="already holds a run"):
        run(tmp_path / "a", Regression(configuration()))
    with pytest.raises(UsageError, match="is not a folder"):
        run(tmp_path / "b", Regression(configuration()), resume=True)
    with RunFolder(tmp_path / "a").lock(), pytest.raises(TenfoldError, match="in use by another process"):
        run(tmp_path / "a", Regression(configuration()), resume=True)


def test_a_file_or_a_forbidden_folder_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file; a run needs a folder"):
        run(tmp_path / "file", Regression(configuration()))

    def forbidden(self: Path, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(TenfoldError, match="permission denied; choose a folder you may write to"):
        run(tmp_path / "b", Regression(configuration()))


# Things that go wrong


def test_the_nan_guard_names_step_and_block_and_no_poisoned_checkpoint_is_kept(tmp_path: Path) -> None:
    with pytest.raises(TenfoldError) as error:
        run(tmp_path, Regression(configuration(log_every=100), poison=6))
    text = str(error.value)
    assert "stopped at step 7: block 3 is not finite" in text
    assert "resume from step 4 with" in text
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-4"]
    run(tmp_path, Regression(configuration(log_every=100)), resume=True)
    run(tmp_path / "through", Regression(configuration(log_every=100)))
    assert digest(tmp_path) == digest(tmp_path / "through")


def test_the_nan_guard_names_a_gradient(tmp_path: Path) -> None:
    class Steep(Regression):
        def step(self, modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
            errors, out = modules["net"](batch["x"], batch["y"])
            # sqrt has an infinite slope at zero: the loss is finite, its gradient is not.
            yield Update("adamw", errors.mean() + (out.sum() * 0.0).abs().sqrt())

    with pytest.raises(TenfoldError, match=r"at step 1: gradient of adamw is not finite \(first in net\.layers"):
        run(tmp_path, Steep(configuration()))


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        (lambda e: Update("sgd", e.mean()), r"names the optimiser 'sgd', there are \['adamw'\]"),
        (lambda e: Update("adamw", e), r"has shape \(8,\), expected a scalar"),
    ],
)
def test_updates_that_do_not_fit(tmp_path: Path, update: Any, sentence: str) -> None:
    class Odd(Regression):
        def step(self, modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
            yield update(modules["net"](batch["x"], batch["y"])[0])

    with pytest.raises(TenfoldError, match=sentence):
        run(tmp_path, Odd(configuration()))


def test_validation_values_that_do_not_fit(tmp_path: Path) -> None:
    class Scalar(Regression):
        def validate(self, modules: Any, batch: Any, draws: Draws) -> Any:
            return {"loss": super().validate(modules, batch, draws)["loss"].mean()}

    with pytest.raises(TenfoldError, match=r"gave 'loss' of shape \(\), expected one value per sample \(8,\)"):
        run(tmp_path, Scalar(configuration(), validation=Table(9, "v")))


def test_batch_and_rounds_must_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"batch_size 8 cannot be split over 1 processes and 3 accumulation rounds"):
        run(tmp_path, Regression(configuration(accumulate=3)))
    with pytest.raises(UsageError, match="only one process was started"):
        run(tmp_path, Regression(configuration(parallel="fsdp")))


# Options


def test_bf16_autocast(tmp_path: Path) -> None:
    kinds = set()

    class Watching(Regression):
        def step(self, modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
            errors, out = modules["net"](batch["x"], batch["y"])
            kinds.add(out.dtype)
            yield Update("adamw", errors.mean())

    run(tmp_path / "b", Watching(configuration(precision="bf16")))
    assert kinds == {torch.bfloat16}
    run(tmp_path / "f", Watching(configuration()))
    assert kinds == {torch.bfloat16, torch.float32}
    a, b = weights(tmp_path / "b"), weights(tmp_path / "f")
    assert all(t.dtype == torch.float32 for name, t in a.items() if "layers" in name)
    assert 0 < difference(a, b) < 0.05


def test_activation_checkpointing_changes_neither_names_nor_weights(tmp_path: Path) -> None:
    calls = []

    class Counting(Regression):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.net.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
            inner = self.net.layers[1].forward

            def forward(x: torch.Tensor) -> torch.Tensor:
                calls.append(2)
                return inner(x)

            self.net.layers[1].forward = forward

    run(tmp_path / "a", Counting(configuration(steps=3)))
    assert calls.count(2) == 3
    calls.clear()
    task = Counting(configuration(steps=3, activation_checkpointing=True))
    run(tmp_path / "b", task)
    assert calls.count(2) == 6  # forward, and again in backward
    assert calls.count(1) == 3
    assert difference(weights(tmp_path / "a"), weights(tmp_path / "b")) == 0.0
    assert task.net.layers[0].forward.__name__ == "forward"


def test_compile_gives_the_same_to_rounding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    real = torch.nn.Module.compile

    def spy(module: torch.nn.Module) -> None:
        compiled.append(module)
        real(module, backend="aot_eager")  # no C++ compiler needed

    monkeypatch.setattr(torch.nn.Module, "compile", spy)
    run(tmp_path / "a", Regression(configuration()))
    assert not compiled
    task = Regression(configuration(compile=True))
    run(tmp_path / "b", task)
    assert len(compiled) == 3
    assert difference(weights(tmp_path / "a"), weights(tmp_path / "b")) < 1e-6
    assert all(module._compiled_call_impl is None for module in task.net.modules())


def test_tensorboard_by_default(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, Regression(configuration(tracker="tensorboard"), validation=Table(9, "v")))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"train/loss", "validation/loss", "train/learning_rate"} <= set(events.Tags()["scalars"])
    told = {r["step"]: r["loss"] for r in RunFolder(tmp_path).read_metrics() if r["kind"] == "train"}
    scalars = {event.step: event.value for event in events.Scalars("train/loss")}
    assert scalars.keys() == told.keys()
    assert all(math.isclose(scalars[s], told[s], rel_tol=1e-6) for s in told)


RECORDER = """
import json, pathlib
file = pathlib.Path(__file__).parent / "told.jsonl"
def told(what, **more):
    with file.open("a") as out:
        out.write(json.dumps({"what": what, **more}) + "\\n")
class Run:
    def __init__(self, **how): told("begun", **how)
    def log(self, values, **more): told("values", values=values, step=more.get("step"))
    def finish(self): told("finished")
def init(**how): return Run(**how)
def finish(): told("finished")
"""


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_trackers_of_other_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A package that records what Accelerate tells it stands for the real one."""
    package = tmp_path / "packages" / kind
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(RECORDER)
    about = tmp_path / "packages" / f"{kind}-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {kind}\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    monkeypatch.delitem(sys.modules, kind, raising=False)
    check_tracker(kind)
    run(tmp_path / "a-run", Regression(configuration(tracker=kind), validation=Table(9, "v")))
    told = [json.loads(line) for line in (package / "told.jsonl").read_text().splitlines()]
    sys.modules.pop(kind)
    assert told[0]["what"] == "begun"
    assert told[0]["project"] == "tenfold"
    assert told[0]["name"] == "a-run"
    assert told[-1]["what"] == "finished"
    wanted = {r["step"]: r["loss"] for r in RunFolder(tmp_path / "a-run").read_metrics() if r["kind"] == "train"}
    found = {line["step"]: line["values"]["train/loss"] for line in told if "train/loss" in line.get("values", {})}
    assert found == pytest.approx(wanted)


def test_a_missing_tracker_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"train\.tracker is mlflow, whose package is missing; run: pip install mlflow"
    ):
        check_tracker("mlflow")
    with pytest.raises(UsageError, match="tracker is mlflow"):
        api.train("tarflow-digits", tmp_path / "run", train={"tracker": "mlflow"})
    assert not (tmp_path / "run").exists()


def test_progress_lines_without_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tenfold import progress
    from tenfold.training.loop import train

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_UPDATES", 0.0)
    task = Regression(configuration(), validation=Table(20, "v"))
    train(task, task.config, RunFolder(tmp_path))
    told = capsys.readouterr().err
    assert re.search(r"^training 9/12  loss \S+  \S+ steps/s  eta 0:00$", told, re.MULTILINE), told
    assert re.search(r"^training 5/12 .* > validation 2/3  \S+ batches/s", told, re.MULTILINE), told
    run(tmp_path / "quiet", Regression(configuration()))
    assert capsys.readouterr().err == ""


def test_a_task_without_data(tmp_path: Path) -> None:
    class Dataless(Regression):
        def train_source(self) -> Any:
            return None

        def step(self, modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
            assert list(batch) == ["index"]
            x = draws.normal("x", batch["index"], (4,))
            yield Update("adamw", modules["net"](x, x)[0].mean())

    run(tmp_path, Dataless(configuration()))
    assert "net.layers.0.weight" in weights(tmp_path)


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path, Regression(configuration()))
    assert torch.equal(torch.rand(3), expected)
