"""The torch backend: the same states, and derivatives of moments against central differences."""

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.quasiperiodic.dynamics.autograd import torch_moments, torch_states
from tenfold.quasiperiodic.dynamics.evolution import evolve
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import Kernel, exponential, symmetric
from tenfold.quasiperiodic.operators.long_range import LongRange
from tests.quasiperiodic.systems import CASES, chain, fixture, plane


@pytest.mark.parametrize("name", CASES)
def test_states_of_the_fixtures(name: str) -> None:
    z = fixture(name)
    found = torch_states(chain(z).box(int(z["L"])), None, z["t"][:5])
    assert np.abs(found.numpy() - z["psi"][:5]).max() < 1e-10


def test_two_dimensions_rings_and_complex_states() -> None:
    z = fixture("dense2d")
    found = torch_states(plane(z).box(int(z["L"])), None, z["t"])
    assert np.abs(found.numpy() - z["psi"]).max() < 1e-10
    ring = presets.aubry_andre(0.7).ring(34)
    start = np.exp(1j * np.arange(34)) / np.sqrt(34)
    assert np.abs(torch_states(ring, start, [2.0]).numpy() - evolve(ring, start, [2.0]).psi).max() < 1e-12


def test_derivatives_are_central_differences() -> None:
    operator = presets.multi_frequency(1.3, theta=(0.3, 0.1), hopping=exponential(1.0, 1.0, radius=4))
    box = operator.box(40)
    inputs = {
        "lam": torch.tensor(1.3, dtype=torch.float64),
        "theta": torch.tensor([0.3, 0.1], dtype=torch.float64),
        "half": torch.as_tensor(operator.hopping.coefs[4:].copy()),
    }

    def moment(lam: torch.Tensor, theta: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
        coefs = torch.cat([half.flip(0), half])
        return torch_moments(box, None, [1.0, 6.0], 2.0, lam=lam, theta=theta, coefs=coefs)[1]

    assert operator.hopping.offsets[:, 0].tolist() == [-4, -3, -2, -1, 1, 2, 3, 4]
    watched = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    value = moment(**watched)
    assert value.item() == pytest.approx(evolve(box, None, [6.0]).moments(2.0)[0], rel=1e-12)
    gradients = dict(zip(watched, torch.autograd.grad(value, list(watched.values())), strict=True))
    step = 1e-5
    for name, gradient in gradients.items():
        for i in range(gradient.numel()):
            ends = []
            for sign in (1, -1):
                moved = {key: v.clone() for key, v in inputs.items()}
                moved[name].view(-1)[i] += sign * step
                ends.append(moment(**moved).item())
            numeric = (ends[0] - ends[1]) / (2 * step)
            assert gradient.view(-1)[i].item() == pytest.approx(numeric, rel=1e-6), (name, i)


def test_derivatives_with_complex_hopping_and_callables() -> None:
    hopping = symmetric([1, 2], [1.0 + 0.3j, 0.2j])
    operator = presets.ganeshan_pixley_das_sarma(0.8, 0.3, theta=0.11)
    box = LongRange(hopping, operator.potential, operator.orbit, 0.8).box(30)
    theta = torch.tensor([0.11], dtype=torch.float64, requires_grad=True)
    lam = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    (dtheta, dlam) = torch.autograd.grad(torch_moments(box, None, [4.0], lam=lam, theta=theta)[0], [theta, lam])
    ends = [torch_moments(box, None, [4.0], lam=0.8, theta=[0.11 + e])[0].item() for e in (1e-5, -1e-5)]
    assert dtheta.item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)
    ends = [torch_moments(box, None, [4.0], lam=0.8 + e)[0].item() for e in (1e-5, -1e-5)]
    assert dlam.item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)


def test_batches_of_lambda_and_theta() -> None:
    box = presets.aubry_andre(1.0).box(30)
    lam, theta = torch.tensor([1.0, 2.0]), torch.tensor([[0.25], [0.5]])
    found = torch_moments(box, None, [1.0, 3.0], lam=lam, theta=theta)
    assert found.shape == (2, 2)
    for row in range(2):
        operator = presets.aubry_andre(float(lam[row]), theta=float(theta[row, 0]))
        assert np.abs(found[:, row].numpy() - evolve(operator.box(30), None, [1.0, 3.0]).moments(2.0)).max() < 1e-11


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    box = presets.aubry_andre(1.3).box(60)
    found = torch_moments(box, None, [5.0], device="cuda").cpu().numpy()
    assert np.abs(found - evolve(box, None, [5.0]).moments(2.0)).max() < 1e-10


@pytest.mark.parametrize(
    ("operator", "arguments", "words"),
    [
        (presets.fibonacci(1.0), {"theta": [0.1]}, "no derivative in theta"),
        (presets.skew_shift(1.0), {"theta": [0.1, 0.2]}, "skew shift"),
        (presets.free(), {"lam": 1.0}, "no potential"),
        (presets.aubry_andre(1.0), {"coefs": [1.0, 2.0]}, "not Hermitian"),
        (presets.aubry_andre(1.0), {"coefs": [1.0]}, "2 offsets"),
        (LongRange(Kernel(lambda n, m: 0.0 * n[:, 0], 1, 1.0, 1.0)), {}, "kernel"),
    ],
)
def test_bad_input(operator: LongRange, arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        torch_moments(operator.box(4), None, [1.0], **arguments)
