"""Denoisers and energies: the formulas against closed forms and the published code, derivatives, model folders."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenfold.energy import (
    BackboneConfig,
    DenoisingConfig,
    DenoisingModel,
    Density,
    EnergyConfig,
    EnergyModel,
    Normaliser,
    Score,
    heads,
)
from tenfold.errors import UsageError

HEADS = ("dot", "norm", "sqnorm", "path", "scalar")
NETWORKS = {
    "mlp": ((5,), BackboneConfig(kind="mlp", width=12, layers=2)),
    "unet": ((1, 4, 4), BackboneConfig(kind="unet", width=8, layers=1, head_size=8)),
    "transformer": ((1, 4, 4), BackboneConfig(kind="transformer", width=8, layers=1, head_size=4)),
}


def energy(head: Any = "dot", network: str = "mlp", classes: int = 3, **settings: Any) -> EnergyModel:
    shape, config = NETWORKS[network]
    made = EnergyConfig(shape=shape, network=config, classes=classes, head=head, data_scale=0.7, **settings)
    return EnergyModel(made).double().eval()


def samples(model: EnergyModel | DenoisingModel, n: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.randn(n, *model.shape, dtype=torch.float64),
        torch.tensor([0.05, 0.4, 1.0, 7.0], dtype=torch.float64)[:n],
        torch.tensor([0, 2, -1, 1])[:n],
    )


# --- the published code -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tempered", [False, True])
def test_the_published_energy(fixtures: Path, tempered: bool) -> None:
    """PITA's EnergyNet around a small network: energies, gradients, and the gradient of its training."""
    stored, prefix = np.load(fixtures / "energy_diffusion" / "energy_net.npz"), f"pb{int(tempered)}_"
    found = {name.removeprefix(prefix): torch.from_numpy(stored[name]) for name in stored if name.startswith(prefix)}
    network = BackboneConfig(kind="perceptron", width=24, layers=3, inverse_temperature=float(found["beta"]))
    model = EnergyModel(EnergyConfig(shape=(6,), network=network, data_scale=1.0, scale=1.0, temper=tempered)).double()
    tensors = {name.removeprefix("param.net."): value for name, value in found.items() if name.startswith("param.")}
    model.network.load_state_dict(tensors)
    x, h = found["x"], found["h"].requires_grad_()
    value, denoised = model(x, h.sqrt())
    close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
    close(value, found["energy"])
    close(denoised, found["denoiser"])
    close(-model.score(x, h.detach().sqrt()), found["grad_energy"])
    close(torch.autograd.grad(value.sum(), h, retain_graph=True)[0], found["dE_dh"])
    loss = ((h.detach() + 1) / h.detach()) * (denoised - 0.3 * x).square().sum(1)
    close(loss, found["distill_loss_per_sample"])
    loss.mean().backward()
    for name, parameter in model.network.named_parameters():
        torch.testing.assert_close(parameter.grad, found[f"gradparam.net.{name}"], rtol=1e-8, atol=1e-8)


# --- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_the_score_is_the_gradient_of_the_energy(head: str, network: str) -> None:
    model = energy(head, network)
    x, sigma, label = samples(model)
    x.requires_grad_()
    value, denoised = model(x, sigma, label)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    square = sigma.view(-1, *[1] * (x.ndim - 1)).square()
    torch.testing.assert_close(denoised, x - square * gradient, rtol=1e-9, atol=1e-10)
    one, score = model.log_density_and_score(x.detach(), sigma, label)
    assert not one.requires_grad
    assert not score.requires_grad
    torch.testing.assert_close(score, -gradient, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(one, -value)
    torch.testing.assert_close(model.log_density(x.detach(), sigma, label), one)
    torch.testing.assert_close(model.score(x, sigma, label), score)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("head", HEADS)
def test_second_derivatives(head: str, network: str) -> None:
    model = energy(head, network)
    x, sigma, label = samples(model, 2)
    assert torch.autograd.gradcheck(lambda x: model.energy(x, sigma, label), x.requires_grad_(), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: model.energy(x, sigma, label), x, fast_mode=True)


@pytest.mark.parametrize("head", HEADS)
def test_the_jacobian_of_an_energy_is_symmetric_and_a_denoisers_is_not(head: str) -> None:
    def asymmetry(denoise: Any, x: Tensor) -> float:
        jacobian = torch.autograd.functional.jacobian(lambda x: denoise(x[None])[0], x)
        return float((jacobian - jacobian.T).norm() / jacobian.norm())

    model, sigma = energy(head).float(), torch.tensor(0.5)
    other = DenoisingModel(DenoisingConfig(shape=(5,), network=NETWORKS["mlp"][1], classes=3, data_scale=0.7)).eval()
    x = torch.randn(5)
    assert asymmetry(lambda x: model(x, sigma).denoised, x) < 1e-5
    assert asymmetry(lambda x: other(x, sigma), x) > 1e-3


class Linear(nn.Module):
    """N(y) = A y, conservative where A is symmetric."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
        return y @ self.matrix.T


def test_heads_of_a_linear_network_are_quadratic_forms() -> None:
    y, noise = torch.randn(4, 3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    matrix = torch.randn(3, 3, dtype=torch.float64)
    symmetric = 0.5 * (matrix + matrix.T)
    network, out = Linear(symmetric), y @ symmetric
    half = 0.5 * (y * out).sum(1)
    torch.testing.assert_close(heads.dot(network, y, noise), half)
    torch.testing.assert_close(heads.dot(network, y, noise, scale=1.0), 2 * half)
    torch.testing.assert_close(heads.path(network, y, noise), half)
    torch.testing.assert_close(heads.sqnorm(network, y, noise), 0.5 * out.square().sum(1))
    torch.testing.assert_close(heads.norm(network, y, noise), 2 * half - 0.5 * out.square().sum(1))
    torch.testing.assert_close(heads.scalar(network, y, noise, None, torch.ones(3).double()), out.sum(1))


def test_the_path_of_a_conservative_network_is_its_potential() -> None:
    class Cubic(nn.Module):
        def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
            return y.square().sum(1, keepdim=True) * y  # the gradient of |y|⁴ / 4

    y = torch.randn(5, 3, dtype=torch.float64)
    found = heads.path(Cubic(), y, torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(found, 0.25 * y.square().sum(1).square())


@pytest.mark.parametrize("head", ["dot", "path"])
def test_a_gaussian_has_its_energy(head: str) -> None:
    """Data N(0, s²): D = s² x / (s² + σ²), so N is linear in y, and E is |x|² / (2 (s² + σ²))."""
    scale, data_scale = 0.4, 0.7

    class Exact(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
            sigma = (4 * noise).exp()[:, None]
            total = sigma.square() + data_scale**2
            wanted = scale**2 / (scale**2 + sigma.square()) - data_scale**2 / total
            return self.one * wanted * total / (sigma * data_scale) * y

    config = EnergyConfig(shape=(3,), data_scale=data_scale, head=head)
    model = EnergyModel(config, Exact()).double()
    x, sigma = torch.randn(6, 3, dtype=torch.float64), torch.linspace(0.1, 5, 6, dtype=torch.float64)
    value, score = model.log_density_and_score(x, sigma)
    total = scale**2 + sigma.square()
    torch.testing.assert_close(value, -x.square().sum(1) / (2 * total))
    torch.testing.assert_close(score, -x / total[:, None])


def test_a_denoiser_has_the_scalings_of_edm() -> None:
    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Tensor] = []
            self.one = nn.Parameter(torch.ones(()))

        def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
            self.seen += [y, noise]
            return self.one * torch.ones_like(y)

    network = Zero()
    model = DenoisingModel(DenoisingConfig(shape=(2,), data_scale=0.5), network)
    x, sigma = torch.randn(3, 2), torch.tensor(2.0)
    found = model(x, sigma)
    total = 4.25
    torch.testing.assert_close(found, 0.25 / total * x + 1.0 / math.sqrt(total))
    torch.testing.assert_close(network.seen[0], x / math.sqrt(total))
    torch.testing.assert_close(network.seen[1], torch.full((3,), 0.25 * math.log(2)))
    torch.testing.assert_close(model.score(x, sigma), (found - x).detach() / 4)


# --- borders ----------------------------------------------------------------------------------------------------------


def test_classes_and_protocols() -> None:
    model = energy()
    x, sigma, _ = samples(model)
    one, none = model.given(1), model.given(None)
    assert isinstance(one, Density)
    assert isinstance(DenoisingModel(DenoisingConfig(shape=(5,), network=NETWORKS["mlp"][1])).given(None), Score)
    assert isinstance(model, Density)
    torch.testing.assert_close(one.log_density(x, sigma), model.log_density(x, sigma, torch.full((4,), 1)))
    torch.testing.assert_close(none.score(x, sigma), model.score(x, sigma))
    assert float((one.score(x, sigma) - none.score(x, sigma)).abs().max()) > 1e-6
    with pytest.raises(UsageError, match=r"class 3 is outside \[0, 3\)"):
        model.given(3)
    with pytest.raises(UsageError, match="the model has no classes"):
        energy(classes=0).given(0)
    named = EnergyModel(replace(model.config, class_names=("a", "b", "c")))
    assert named.named("b") == 1
    with pytest.raises(UsageError, match="knows no class 'd'; its classes are a, b, c"):
        named.named("d")


def test_samples_do_not_see_each_other() -> None:
    for network in NETWORKS:
        for head in HEADS:
            model = energy(head, network)
            x, sigma, label = samples(model)
            together = model.log_density_and_score(x, sigma, label)
            alone = [model.log_density_and_score(x[i : i + 1], sigma[i], label[i : i + 1]) for i in range(len(x))]
            for k in (0, 1):
                torch.testing.assert_close(together[k], torch.cat([one[k] for one in alone]), rtol=1e-9, atol=1e-10)


def test_half_precision_samples_are_computed_in_float32() -> None:
    model = energy().float()
    x = torch.full((2, 5), 300.0, dtype=torch.float16)
    score = model.score(x, torch.tensor(0.01, dtype=torch.float16))
    assert score.dtype == torch.float16
    exact = model.energy(x.float(), torch.tensor(0.01, dtype=torch.float16).float())
    assert bool(exact.isfinite().all())
    assert float(exact.detach().max()) > 65504
    half = EnergyModel(model.config).to(torch.bfloat16)
    assert half.energy(torch.randn(2, 5), torch.tensor(1.0)).dtype == torch.float32


def test_shapes_are_checked() -> None:
    model = energy()
    with pytest.raises(UsageError, match=r"samples have shape \(4,\), but the model's have \(5,\)"):
        model(torch.randn(2, 4), torch.tensor(1.0))
    with pytest.raises(UsageError, match="give one number, or one for each of 2 samples"):
        model(torch.randn(2, 5), torch.ones(3))


@pytest.mark.parametrize("module", [nn.ReLU(), nn.LeakyReLU(), nn.MaxPool1d(2)])
def test_networks_with_kinks_are_refused(module: nn.Module) -> None:
    network = nn.Sequential(nn.Linear(5, 5), module)
    with pytest.raises(UsageError, match=f"1 is a {type(module).__name__}, whose gradient is piecewise constant"):
        EnergyModel(EnergyConfig(shape=(5,)), network)


def test_networks_that_draw_while_they_compute_are_refused() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)
            self.map = nn.Linear(5, 5)

        def forward(self, y: Tensor, noise: Tensor, label: Tensor | None = None) -> Tensor:
            return self.drop(self.map(y))

    model = EnergyModel(EnergyConfig(shape=(5,)), Dropping()).train()
    with pytest.raises(UsageError, match="drop is a Dropout in training mode; call eval"):
        model(torch.randn(2, 5), torch.tensor(1.0))
    model.eval().energy(torch.randn(2, 5), torch.tensor(1.0))


def test_model_folders(tmp_path: Path) -> None:
    for head in HEADS:
        model = energy(head)
        model.normalisers = {-1: Normaliser((0.1, 1.0), (3.0, 4.0), (0.1, 0.1))}
        model.save_pretrained(tmp_path / head)
        again = EnergyModel.from_pretrained(tmp_path / head)
        x, sigma, label = samples(model)
        torch.testing.assert_close(again.double().energy(x, sigma, label), model.energy(x, sigma, label))
        assert again.normalisers == model.normalisers
        assert again.config == model.config
    with pytest.raises(UsageError, match="is of a 'energy' model, expected 'energy-denoiser'"):
        DenoisingModel.from_pretrained(tmp_path / "dot")
    (tmp_path / "dot" / "normalisers.json").write_text('{"-1": {"sigma": [1, 0.5]}}')
    with pytest.raises(UsageError, match="holds no normalisers"):
        EnergyModel.from_pretrained(tmp_path / "dot")


def test_normalisers_are_interpolated_and_subtracted() -> None:
    model = energy()
    assert not model.normalised
    assert not model.given(0).normalised
    curve = lambda log: 2 + log - 0.5 * log**2 + 0.1 * log**3  # noqa: E731  (a spline reproduces cubics)
    places = torch.linspace(-2, 2, 6, dtype=torch.float64)
    model.normalisers = {0: Normaliser(tuple(places.exp().tolist()), tuple(curve(places).tolist()), (0.0,) * 6)}
    one = model.given(0)
    assert one.normalised
    assert not model.given(1).normalised
    x = torch.randn(4, 5, dtype=torch.float64)
    for log, wanted in [
        (-3.0, curve(-2.0)),
        (-1.7, curve(-1.7)),
        (0.4, curve(0.4)),
        (2.0, curve(2.0)),
        (5.0, curve(2.0)),
    ]:
        at = torch.tensor(log, dtype=torch.float64).exp()
        difference = model.log_density(x, at, torch.zeros(4, dtype=torch.int64)) - one.log_density(x, at)
        torch.testing.assert_close(difference, torch.full((4,), wanted, dtype=torch.float64))
        torch.testing.assert_close(one.log_density_and_score(x, at)[0], one.log_density(x, at))
    torch.testing.assert_close(Normaliser((1.0,), (3.0,), (0.0,)).log_z(torch.ones(2)), torch.full((2,), 3.0))
    with pytest.raises(UsageError, match="rising positive noise levels"):
        Normaliser((1.0, 0.5), (1.0, 2.0), (0.0, 0.0))


def test_a_teachers_network_is_taken_or_refused() -> None:
    model = energy()
    config = model.config
    same = DenoisingConfig(shape=config.shape, network=config.network, data_scale=0.7, classes=3)
    teacher = DenoisingModel(same).double()
    model.start_from(teacher)
    for one, other in zip(model.network.parameters(), teacher.network.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one is not other
    with pytest.raises(UsageError, match=r"model.data_scale is 0.7, but the teacher's is 0.5"):
        model.start_from(DenoisingModel(replace(same, data_scale=0.5)))
    with pytest.raises(UsageError, match=r"model.noise_input is quarter_log"):
        model.start_from(DenoisingModel(replace(same, noise_input="steps", steps=(0.1, 1.0))))
    with pytest.raises(UsageError, match="a scalar head reads no denoiser's network"):
        energy("scalar").start_from(teacher)


def test_levels_are_numbered_by_their_logarithm() -> None:
    model = DenoisingModel(DenoisingConfig(shape=(2,), noise_input="steps", steps=(0.1, 1.0, 10.0)))
    sigma = torch.tensor([0.01, 0.1, 10**-0.5, 1.0, 10**0.25, 10.0, 50.0])
    torch.testing.assert_close(model.noise_input(sigma), torch.tensor([0.0, 0.0, 0.5, 1.0, 1.25, 2.0, 2.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenoisingConfig(shape=(2, 2)), r"model.shape is \(2, 2\)"),
        (lambda: DenoisingConfig(data_scale=0.0), "model.data_scale is 0.0"),
        (lambda: DenoisingConfig(sigma_min=2.0, sigma_max=1.0), "give 0 < min < max"),
        (lambda: DenoisingConfig(classes=2, class_names=("a",)), "1 names, but model.classes is 2"),
        (lambda: DenoisingConfig(noise_input="steps"), "give both or neither"),
        (lambda: DenoisingConfig(noise_input="steps", steps=(2.0, 1.0)), "rise strictly"),
        (lambda: DenoisingConfig(network=BackboneConfig(kind="unet")), "a unet reads images"),
        (
            lambda: DenoisingConfig(shape=(1, 7, 7), network=BackboneConfig(kind="transformer")),
            "7x7 cannot be divided by 2",
        ),
        (lambda: DenoisingConfig(classes=2, network=BackboneConfig(kind="perceptron")), "vectors without classes"),
        (lambda: BackboneConfig(kind="transformer", width=50), "no multiple of model.network.head_size"),
        (lambda: BackboneConfig(kind="unet", width=12), "multiple of 8"),
        (lambda: BackboneConfig(definition="{}"), "configuration of a diffusers network"),
        (lambda: BackboneConfig(inverse_temperature=0.0), "inverse_temperature is 0.0"),
        (lambda: EnergyConfig(scale=-1.0), "model.scale is -1.0"),
        (lambda: EnergyConfig(nodes=0), "model.nodes is 0"),
        (lambda: EnergyConfig(temper=True), "told an inverse temperature"),
    ],
)
def test_settings_that_do_not_fit(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize("output", ["noise", "score"])
def test_the_denoiser_is_the_energys_gradient_whatever_the_output_is(output: str) -> None:
    """And an energy that starts from a teacher of the same kind has a denoiser of the same size at little noise."""
    config = EnergyConfig(shape=(3,), output=output, gauge=True, network=BackboneConfig(width=8, layers=1))  # type: ignore[arg-type]
    model = EnergyModel(config).double()
    with torch.no_grad():
        model.gauge.normal_()
    x, sigma = torch.randn(4, 3).double(), torch.tensor([0.01, 0.1, 1.0, 10.0]).double()
    at = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model.energy(at, sigma).sum(), at)
    torch.testing.assert_close(model(x, sigma).denoised, x - sigma[:, None].square() * slope)
    teacher = DenoisingModel(DenoisingConfig(shape=(3,), output=output, network=config.network))  # type: ignore[arg-type]
    model.start_from(teacher)
    with pytest.raises(UsageError, match=r"model.output is \w+, but the teacher's is"):
        model.start_from(DenoisingModel(replace(teacher.config, output="score" if output == "noise" else "noise")))
    away = (teacher(x.float(), sigma.float()) - x.float()).abs().amax(1)
    assert bool((away[:2] < 3 * sigma[:2].float()).all())
