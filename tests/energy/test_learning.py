"""Losses and tasks: what is minimised is the right thing, draws are keyed, lost trainings end."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tenfold.energy.loss as loss
from tenfold.api import resume, train
from tenfold.api.catalogue import recipe
from tenfold.energy import (
    BackboneConfig,
    DenoisingConfig,
    DenoisingModel,
    DenoisingRecipe,
    DenoisingTask,
    EnergyConfig,
    EnergyDataConfig,
    EnergyObjective,
    EnergyPipeline,
    EnergyRecipe,
    EnergyTask,
    GaussianMixture,
)
from tenfold.energy.stability import GradientWatch
from tenfold.errors import TenfoldError, UsageError
from tenfold.settings.changes import change
from tenfold.training.config import TrainingConfig
from tenfold.training.streams import Draws

# --- losses -----------------------------------------------------------------------------------------------------------


def test_noise_levels_are_log_normal_inside_their_range() -> None:
    normal = torch.randn(20_000, dtype=torch.float64)
    found = loss.noise_levels(normal, -1.2, 1.2, 1e-9, 1e9).log()
    assert float(found.mean()) == pytest.approx(-1.2, abs=0.03)
    assert float(found.std()) == pytest.approx(1.2, abs=0.03)
    clipped = loss.noise_levels(normal, -1.2, 1.2, 0.1, 1.0)
    assert (float(clipped.min()), float(clipped.max())) == (0.1, 1.0)


def test_an_error_is_one_where_the_network_says_nothing() -> None:
    """Gaussian data of scale σ_d: D = c_skip x has the error σ_d² σ² / (σ² + σ_d²), which λ makes 1."""
    data_scale, sigma = 0.6, torch.tensor([0.05, 0.6, 5.0], dtype=torch.float64).repeat_interleave(20_000)
    clean = data_scale * torch.randn(60_000, 2, dtype=torch.float64)
    noisy = clean + sigma[:, None] * torch.randn(60_000, 2, dtype=torch.float64)
    skip = data_scale**2 / (sigma.square() + data_scale**2)
    found = loss.error(skip[:, None] * noisy, clean, sigma, data_scale).view(3, -1).mean(1)
    torch.testing.assert_close(found, torch.ones(3, dtype=torch.float64), rtol=0, atol=0.03)


def test_targets_have_the_denoiser_as_their_mean() -> None:
    """Regressions on x_0 and on x_σ + σ² ∇log p_0(x_0) have the same answer; the second's variance goes with σ."""
    known = GaussianMixture(torch.ones(1), torch.zeros(1, 1), 0.5 * torch.ones(1, 1, 1))
    for sigma in (0.1, 0.7):
        clean = known.sample(200_000)
        level = torch.tensor(sigma, dtype=torch.float64)
        noisy = clean + level * torch.randn_like(clean)
        wanted = loss.target_denoiser(noisy, known.score(clean, 1e-6 * level), level.expand(len(clean)))
        exact = known.denoiser(noisy, level.expand(1))
        for target in (clean, wanted):  # the residual is uncorrelated with any function of x_σ
            residual = target - exact
            for test in (noisy, torch.tanh(3 * noisy)):
                mean = (residual * test).mean()
                assert abs(float(mean)) < 4 * float((residual * test).std()) / math.sqrt(len(clean))
        variances = [float((target - exact).var()) for target in (clean, wanted)]
        assert (variances[1] < 0.1 * variances[0]) == (sigma == 0.1)


def test_pinning_is_the_energys_distance_to_the_density() -> None:
    energy, log_density = torch.tensor([1.0, -2.0, 5.0]), torch.tensor([-1.0, 1.0, -3000.0])
    torch.testing.assert_close(loss.pinning(energy, log_density, 100.0, 2), torch.tensor([0.0, 0.5, 0.5 * 95.0**2]))


def test_losses_by_level_add_up() -> None:
    normal = torch.randn(50_000)
    sigma = loss.noise_levels(normal, -1.2, 1.2, 1e-9, 1e9)
    values = torch.where(normal > 1.2, 5.0, 1.0)
    found = loss.by_level(values, sigma, -1.2, 1.2)
    assert list(found) == [f"loss_level_{k}" for k in range(1, 6)]
    for k, wanted in enumerate([1.0, 1.0, 1.0, 1.0, 5.0]):
        assert float(found[f"loss_level_{k + 1}"]) == pytest.approx(wanted, rel=0.05)
    alone = loss.by_level(values[:1], sigma[:1], -1.2, 1.2)
    assert all(bool(value.isfinite()) for value in alone.values())


def test_distillation_projects_onto_gradients() -> None:
    """A teacher with a rotation: the energy that is nearest in L²(p) is the one without it."""
    torch.manual_seed(0)
    spin = torch.tensor([[0.0, 0.4], [-0.4, 0.0]], dtype=torch.float64)
    half = 0.5 * torch.eye(2, dtype=torch.float64)

    class Quadratic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))

        def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
            return y @ self.matrix.T

    from tenfold.energy import EnergyModel

    model = EnergyModel(EnergyConfig(data_scale=1.0), Quadratic()).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    for _ in range(300):
        x = math.sqrt(2) * torch.randn(512, 2, dtype=torch.float64)  # p_σ of N(0, I) at σ = 1
        one = torch.ones(512, dtype=torch.float64)
        wanted = x @ (half + spin).T
        value = loss.error(model(x, one).denoised, wanted, one, 1.0).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    x = torch.randn(64, 2, dtype=torch.float64)
    # D = x/2 is c_skip x: the energy learned nothing but that, though the teacher turns.
    torch.testing.assert_close(model(x, torch.ones(64).double()).denoised, x @ half, rtol=0, atol=0.05)


# --- a lost training --------------------------------------------------------------------------------------------------


def told(watch: GradientWatch, times: int, norm: float) -> None:
    for _ in range(times):
        watch(torch.tensor(norm))


def test_gradients_that_stay_high_end_a_training() -> None:
    watch = GradientWatch()
    for _ in range(100):
        watch(torch.tensor(1.0))
    for _ in range(3):  # peaks are no reason
        for _ in range(15):
            watch(torch.tensor(500.0))
        watch(torch.tensor(90.0))
    with pytest.raises(TenfoldError, match="the gradient's norm was above 100 times its running median"):
        told(watch, 60, 500.0)


def test_a_resumed_watch_goes_on() -> None:
    one, other = GradientWatch(), GradientWatch()
    for k in range(70):
        one(torch.tensor(1.0 + k % 3))
    other.load_state_dict(one.state_dict())
    for watch in (one, other):
        with pytest.raises(TenfoldError, match="step 100"):
            told(watch, 60, 1e4)


# --- tasks ------------------------------------------------------------------------------------------------------------

TINY = BackboneConfig(width=16, layers=1)
PLANE = EnergyDataConfig(kind="mixture", samples=512, held_out=64, components=3)
SHORT = TrainingConfig(
    steps=60, batch_size=64, learning_rate=3e-3, warmup_steps=5, weight_decay=0.0, ema=0.9, validate_every=30,
    tracker="none", threads=1, clip=10.0,
)  # fmt: skip
MODEL = {"shape": (2,), "data_scale": 1.0, "network": TINY, "sigma_min": 0.05, "sigma_max": 10.0}


def energy(**objective: Any) -> EnergyRecipe:
    none = {"start": False, "distillation": 0.0, "denoising": 1.0}
    model = EnergyConfig(**MODEL, gauge="evolution" in objective)
    return EnergyRecipe(model=model, data=PLANE, objective=EnergyObjective(**{**none, **objective}), train=SHORT)


def value_of(task: Any, rows: list[int], step: int = 3) -> Tensor:
    batch = {**task.train_source().batch(torch.tensor(rows).numpy()), "index": torch.tensor(rows)}
    updates = list(task.step(task.modules(), batch, Draws(0, step)))
    assert len(updates) == 1
    return updates[0].loss


@pytest.mark.parametrize(
    "made",
    [
        lambda: DenoisingTask(DenoisingRecipe(model=DenoisingConfig(**MODEL), data=PLANE, train=SHORT)),
        lambda: EnergyTask(energy()),
        lambda: EnergyTask(energy(target_score=1.0, pinning=0.1)),
        lambda: EnergyTask(energy(evolution=1.0)),
    ],
)
def test_draws_are_keyed_by_sample(made: Any) -> None:
    task = made()
    whole = value_of(task, [5, 1, 9, 30])
    parts = [value_of(task, rows) for rows in ([5, 1], [9, 30])]
    torch.testing.assert_close(whole, sum(parts) / 2)
    assert not torch.equal(value_of(task, [5, 1, 9, 30], step=4), whole)


@pytest.mark.parametrize("objective", ["denoising", "target_score", "pinning", "evolution"])
def test_every_loss_is_the_least_at_the_truth(objective: str) -> None:
    """One Gaussian: the linear network whose energy is the truth, against networks beside it."""
    data = replace(PLANE, components=1, samples=4096)
    weights = {"denoising": 0.0, objective: 1.0}
    task = EnergyTask(replace(energy(**weights), data=data))
    known, config = task.known, task.recipe.model

    class Exact(nn.Module):
        """N whose energy is −log p for a Gaussian of any covariance, and a mistake."""

        def __init__(self) -> None:
            super().__init__()
            self.mistake = nn.Parameter(torch.tensor(0.0))

        def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
            sigma = (4 * noise).exp()[:, None]
            total = sigma.square() + config.data_scale**2
            x = y * total.sqrt()
            wanted = known.denoiser(x, sigma[:, 0]) - config.data_scale**2 / total * x
            return wanted * total.sqrt() / (sigma * config.data_scale) + self.mistake * y

    from tenfold.energy import EnergyModel

    values = []
    for mistake in (-0.3, 0.0, 0.3):
        model = EnergyModel(config, Exact())
        model.network.mistake.data.fill_(mistake)
        if objective == "pinning":  # its constant is right too
            logs = float(known.log_density(known.mean[None], torch.tensor(config.sigma_min, dtype=torch.float64)))
            inner = model._energy
            model._energy = lambda *args, inner=inner, logs=logs: inner(*args) - logs  # type: ignore[method-assign]
        if objective == "evolution":  # and what it lacks of a normalised density at every level
            own = model._energy

            def normalised(x: Tensor, sigma: Tensor, value: Tensor, own: Any = own) -> Tensor:
                return own(x, sigma, value) - known.log_density(known.mean.to(x).expand_as(x), sigma)

            model._energy = normalised  # type: ignore[method-assign]
        task.model = model
        values.append(float(value_of(task, list(range(2048))).detach()))
    assert values[1] < min(values[0], values[2])
    if objective == "pinning":
        assert values[1] < 1e-4


def test_how_the_density_changes_with_the_noise() -> None:
    """The three ways to say it agree for a Gaussian: by its derivative, by the denoiser, and by a clean sample on
    average over those that noise may have come from."""
    spread, rows = 0.7, 4000
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(5, 3, generator=draws).double()
    sigma = torch.tensor([0.1, 0.4, 1.0, 2.0, 5.0], dtype=torch.float64)
    level = sigma.log().requires_grad_()
    total = spread**2 + level.exp().square()
    log_density = -x.square().sum(1) / (2 * total) - 1.5 * total.log()
    (slope,) = torch.autograd.grad(log_density.sum(), level)
    share = spread**2 / (spread**2 + sigma.square())
    denoised = share[:, None] * x
    torch.testing.assert_close(loss.change_of_density(x, denoised, 3 * share, sigma), slope)
    clean = (
        denoised[:, None] + (sigma * share.sqrt())[:, None, None] * torch.randn(5, rows, 3, generator=draws).double()
    )
    many = x[:, None].expand_as(clean).flatten(0, 1), clean.flatten(0, 1), sigma.repeat_interleave(rows)
    found = loss.change_given_clean(*many).view(5, rows)
    assert bool(((found.mean(1) - slope).abs() < 4 * found.std(1) / rows**0.5).all())


def test_a_short_training_learns_and_resumes_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two checkpoints of the energy, and gone on with: weights, gradient norms and losses agree."""
    pipeline = EnergyPipeline(
        teacher=DenoisingRecipe(model=DenoisingConfig(**MODEL), data=PLANE, train=SHORT),
        energy=replace(
            energy(start=True, distillation=1.0, denoising=0.0), train=replace(SHORT, steps=40, checkpoint_every=20)
        ),
    )
    run = train(pipeline, tmp_path / "a", evaluate=False, device="cpu")
    recipe = pipeline.stage("energy", str(tmp_path / "a"))
    records = [json.loads(line) for line in (tmp_path / "a" / "energy" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
    names = {name for record in records for name in record}
    assert {"distillation", "gradient_norm", "loss_level_1", "loss_level_5"} <= names
    assert run.trained().recipe.objective.teacher == str(tmp_path / "a" / "teacher")

    class Stopped(Exception):
        pass

    plain = EnergyTask.step

    def stopping(task: EnergyTask, modules: Any, batch: Any, draws: Draws) -> Any:
        if draws.step == 27:
            raise Stopped
        return plain(task, modules, batch, draws)

    with monkeypatch.context() as patched:
        patched.setattr(EnergyTask, "step", stopping)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "b", evaluate=False, device="cpu")
    assert not (tmp_path / "b" / "model").exists()
    resume(tmp_path / "b", evaluate=False, device="cpu")
    one, other = (tmp_path / name / "model" / "model.safetensors" for name in ("a/energy", "b"))
    assert one.read_bytes() == other.read_bytes()
    again = [json.loads(line) for line in (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()]
    kept = ("kind", "step", "loss", "gradient_norm")
    told = [{(r["step"], r["kind"]): [r.get(key) for key in kept] for r in part} for part in (records, again)]
    assert told[0] == told[1]


def test_models_of_other_scales_are_refused(tmp_path: Path) -> None:
    task = EnergyTask(energy())
    task.export(tmp_path)
    again = EnergyTask(energy())
    again.load(tmp_path)
    x, sigma = torch.randn(4, 2), torch.tensor(0.5)
    assert torch.equal(again.model(x, sigma).energy, task.model.eval()(x, sigma).energy)
    for name, value in (("scale", 1.0), ("data_scale", 0.5), ("head", "norm")):
        other = replace(task.recipe, model=replace(task.recipe.model, **{name: value}))
        with pytest.raises(UsageError, match=f"holds a model of {name} .*, but this run's is {value}"):
            EnergyTask(other).load(tmp_path)


def test_teachers_are_named_and_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name its run with --objective\.teacher"):
        _ = EnergyTask(energy(distillation=1.0)).teacher
    DenoisingModel(DenoisingConfig(shape=(3,))).save_pretrained(tmp_path)
    task = EnergyTask(energy(distillation=1.0, teacher=str(tmp_path)))
    with pytest.raises(UsageError, match=r"the teacher's samples have shape \(3,\), the energy's \(2,\)"):
        _ = task.teacher


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EnergyRecipe(objective=EnergyObjective(evolution=1.0)), "add --model.gauge true"),
        (lambda: EnergyRecipe(objective=EnergyObjective(pinning=1.0)), "objective.pinning needs data of known density"),
        (lambda: EnergyRecipe(train=TrainingConfig(parallel="fsdp")), "train with ddp"),
        (lambda: EnergyObjective(distillation=0.0), "are all zero; give one of them a weight"),
        (lambda: EnergyObjective(label_dropout=2.0), "label_dropout is 2.0"),
        (lambda: EnergyObjective(level_std=0.0), "level_std is 0.0"),
        (
            lambda: EnergyPipeline(teacher=DenoisingRecipe(model=DenoisingConfig(data_scale=0.7))),
            "teacher.model.data_scale is 0.7 and energy.model.data_scale is 0.5",
        ),
        (
            lambda: EnergyPipeline(teacher=DenoisingRecipe(data=EnergyDataConfig(kind="mixture"))),
            "a teacher tells of its own data",
        ),
    ],
)
def test_recipes_that_do_not_fit(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_data_must_fit_the_model() -> None:
    wrong = replace(energy(), model=replace(energy().model, shape=(3,)))
    with pytest.raises(UsageError, match=r"samples have shape \(2,\), but model.shape is \(3,\)"):
        EnergyTask(wrong).train_source()


def test_recipes_of_every_network_are_described() -> None:
    for name in ("energy-mnist", "energy-lj13", "energy-digits"):
        found = recipe(name)
        told = EnergyTask.describe(found.energy)
        assert told["parameters"] > 1000
        assert told["total_bytes"] > told["activation_bytes"] > 0
    path = change(found.energy, {"model": {"head": "path"}})
    assert EnergyTask.describe(path)["activation_bytes"] > 1.5 * told["activation_bytes"]
