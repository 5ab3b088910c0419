"""Both trainings through the loop: what is updated and when, what noise is keyed by, what a resume gives back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.metrics.features import ClassifierFeatures
from tenfold.runs.run_folder import RunFolder
from tenfold.training.streams import Draws
from tenfold.training.task import Update
from tests.starflow.autoencoder.recipes import Bomb, batch_of, failing, run, updates_of
from tests.training.toys import difference, digest, weights


def test_the_pair_learns_and_the_discriminator_waits_for_its_turn(make: Callable[..., Any], tmp_path: Path) -> None:
    task = make()
    first = {n: p.detach().clone() for n, p in task.modules()["discriminator"].named_parameters()}
    seen: list[tuple[int, str, bool]] = []
    real = task.step

    def watching(modules: Any, batch: Any, draws: Draws) -> Iterator[Update]:
        for update in real(modules, batch, draws):
            now = dict(task.modules()["discriminator"].named_parameters())
            same = all(torch.equal(now[n], p) for n, p in first.items())
            seen.append((draws.step, update.optimizer, same))
            yield update

    task.step = watching
    run(tmp_path, task)
    assert [name for step, name, _ in seen if step < 2] == ["autoencoder"] * 2
    assert [name for step, name, _ in seen if step >= 2] == ["autoencoder", "discriminator"] * 4
    assert [same for *_, same in seen] == [True] * 4 + [False] * 6  # its first update is that of step 2
    train_records = [r for r in RunFolder(tmp_path).read_metrics() if r["kind"] == "train"]
    assert {"loss/autoencoder", "loss/discriminator", "pixel", "fooling", "discriminator_accuracy"} <= set(
        train_records[-1]
    )
    assert set(weights(tmp_path)) == set(task.autoencoder.state_dict())  # no discriminator in the model folder


def test_the_generator_is_pushed_by_the_discriminator(make: Callable[..., Any]) -> None:
    losses = {}
    for weight in (0.0, 0.1, 0.2):
        task = make(reconstruction={"adversarial_weight": weight})
        losses[weight] = updates_of(task, batch_of(task, [0, 1, 2]), 5)[0]
    assert [
        len(updates_of(make(reconstruction={"adversarial_weight": w}), batch_of(task, [0]), 5)) for w in (0.0, 0.1)
    ] == [1, 2]
    fooling = float(losses[0.1].metrics["fooling"])
    plain = float(losses[0.0].loss.detach())
    for weight in (0.1, 0.2):
        assert float(losses[weight].loss.detach()) == pytest.approx(plain + weight * fooling, abs=1e-6)
    assert abs(fooling) > 1e-4


def test_each_update_reaches_its_own_module(make: Callable[..., Any]) -> None:
    task = make()
    modules = task.modules()
    updates = task.step(modules, batch_of(task, [0, 1]), Draws(0, 5))
    next(updates).loss.backward()
    trained = [n for n, p in task.autoencoder.named_parameters() if p.grad is not None]
    assert any(name.startswith("decoder.") for name in trained)
    assert "post_quant_conv.weight" in trained
    modules["autoencoder"].zero_grad(set_to_none=True)
    modules["discriminator"].zero_grad(set_to_none=True)
    next(updates).loss.backward()
    assert all(p.grad is None for p in modules["autoencoder"].parameters())
    found = [p.grad for p in modules["discriminator"].parameters()]
    assert all(gradient is not None for gradient in found)
    assert all(float(gradient.abs().sum()) > 0 for gradient in found if gradient.ndim > 1)


def test_noise_is_keyed_by_the_sample(make: Callable[..., Any]) -> None:
    task = make()
    modules, draws = task.modules(), Draws(0, 4)
    batch = task.splits.train.batch(np.array([0, 1, 0]))
    images = batch["image"].float() / 8 - 1

    def rebuilt(rows: list[int], index: list[int]) -> torch.Tensor:
        output = task.rebuilt(modules, images[rows], torch.tensor(index), draws)
        return output if isinstance(output, torch.Tensor) else output.reconstruction

    with torch.no_grad():
        whole = rebuilt([0, 1, 2], [7, 8, 9])
        assert torch.allclose(rebuilt([1], [8]), whole[1:2], atol=1e-6)
        assert torch.allclose(rebuilt([1, 0], [8, 7]), whole[[1, 0]], atol=1e-6)
        assert not torch.allclose(whole[0], whole[2], atol=1e-4)  # the same image, another sample


def test_validation_is_on_fixed_noise_and_without_the_adversary(make: Callable[..., Any]) -> None:
    task = make()
    modules = task.modules()
    batch = {**task.splits.validation.batch(np.arange(4)), "index": torch.arange(4)}
    with torch.no_grad():
        values = [task.validate(modules, batch, Draws(9, 0)) for _ in range(2)]
        alone = task.validate(modules, {n: t[2:3] for n, t in batch.items()}, Draws(9, 0))
        for parameter in modules["discriminator"].parameters():
            parameter.mul_(3)
        after = task.validate(modules, batch, Draws(9, 0))
    assert torch.equal(values[0]["loss"], values[1]["loss"])
    assert torch.equal(values[0]["loss"], after["loss"])
    assert alone["loss"].shape == (1,)
    assert torch.allclose(alone["loss"], values[0]["loss"][2:3], atol=1e-6)
    expected = values[0]["pixel"] + (task.recipe.objective.kl_weight * values[0]["kl"] if "kl" in values[0] else 0)
    assert torch.allclose(values[0]["loss"], expected)


def test_a_resumed_pair_is_bit_exact(make: Callable[..., Any], tmp_path: Path) -> None:
    changes = {"train": {"checkpoint_every": 3}}
    run(tmp_path / "through", make(**changes))
    with pytest.raises(Bomb):
        run(tmp_path / "crashed", failing(make(**changes), 5))
    assert [p.name for p in (tmp_path / "crashed" / "checkpoints").glob("step-*")] == ["step-3"]
    run(tmp_path / "crashed", make(**changes), resume=True)
    assert digest(tmp_path / "crashed") == digest(tmp_path / "through")


@pytest.mark.parametrize("make", ["decoder"], indirect=True)
def test_accumulation_changes_nothing(make: Callable[..., Any], tmp_path: Path) -> None:
    for rounds in (1, 4):
        run(tmp_path / str(rounds), make(train={"accumulate": rounds, "steps": 4}))
    # The first steps of AdamW blow rounding up where gradients are nearly nothing.
    assert difference(weights(tmp_path / "1"), weights(tmp_path / "4")) < 2e-3


@pytest.mark.parametrize("make", ["autoencoder"], indirect=True)
def test_ways_to_train(make: Callable[..., Any], tmp_path: Path) -> None:
    ways: dict[str, dict[str, Any]] = {"plain": {}, "recomputed": {"activation_checkpointing": True}}
    for name, changes in {**ways, "bf16": {"precision": "bf16"}}.items():
        run(tmp_path / name, make(train={"steps": 3, **changes}))
    plain = weights(tmp_path / "plain")
    assert difference(plain, weights(tmp_path / "recomputed")) < 1e-6
    assert 0 < difference(plain, weights(tmp_path / "bf16")) < 0.05


class TestPerceptual:
    @pytest.fixture
    def classifier(self, tmp_path: Path) -> Path:
        ClassifierFeatures((1, 8, 8), 17, 10).save(tmp_path / "classifier")
        return tmp_path / "classifier"

    def test_it_is_weighed_in(self, make: Callable[..., Any], classifier: Path) -> None:
        losses = {}
        for weight in (1.0, 3.0):
            task = make(reconstruction={"perceptual": str(classifier), "perceptual_weight": weight})
            losses[weight] = updates_of(task, batch_of(task, [0, 1]), 0)[0]
        distance = float(losses[1.0].metrics["perceptual"])
        assert distance > 0
        assert float((losses[3.0].loss - losses[1.0].loss).detach()) == pytest.approx(2 * distance, rel=1e-4)

    def test_a_resumed_run_needs_the_same_network(
        self, make: Callable[..., Any], tmp_path: Path, classifier: Path
    ) -> None:
        changes = {"reconstruction": {"perceptual": str(classifier)}, "train": {"steps": 3, "checkpoint_every": 1}}
        with pytest.raises(Bomb):
            run(tmp_path / "a", failing(make(**changes), 2))
        run(tmp_path / "through", make(**changes))
        torch.manual_seed(9)
        kept = (classifier / "extractor.safetensors").read_bytes()
        ClassifierFeatures((1, 8, 8), 17, 10).save(classifier)
        with pytest.raises(UsageError, match=r"the perceptual network .* changed since the run began"):
            run(tmp_path / "a", make(**changes), resume=True)
        (classifier / "extractor.safetensors").write_bytes(kept)
        run(tmp_path / "a", make(**changes), resume=True)
        assert digest(tmp_path / "a") == digest(tmp_path / "through")

    @pytest.mark.parametrize("make", ["decoder"], indirect=True)
    def test_one_trained_on_the_images_survives_a_crash(
        self, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tenfold.starflow.autoencoder.perceptual._STEPS", 2)
        changes = {"reconstruction": {"perceptual": "classifier"}, "train": {"steps": 3, "checkpoint_every": 1}}
        with pytest.raises(Bomb):
            run(tmp_path / "a", failing(make(**changes), 2))
        run(tmp_path / "through", make(**changes))
        run(tmp_path / "a", make(**changes), resume=True)
        assert digest(tmp_path / "a") == digest(tmp_path / "through")

    def test_a_wrong_network_is_told_before_work(self, make: Callable[..., Any]) -> None:
        with pytest.raises(UsageError, match="perceptual is 'nowhere'"):
            make(reconstruction={"perceptual": "nowhere"}).train_source()


def test_modules_name_what_is_sharded(make: Callable[..., Any]) -> None:
    for module in make().modules().values():
        assert isinstance(module, nn.Module)
        assert module.shard_units
