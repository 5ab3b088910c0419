"""Samplers of energies on a second device: nothing is left on the CPU, and no step waits for the device."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tenfold.energy.closed_forms import KernelDensity, LinearLikelihood
from tenfold.energy.composition import InBox, InHalfSpace, mixture, reward
from tenfold.energy.feynman_kac import (
    ControlOptions,
    GridOptions,
    MoveOptions,
    ParticleSampler,
    ProposalOptions,
    ResamplingOptions,
    WeightOptions,
    calibrate,
    event_probability,
)
from tenfold.energy.feynman_kac.march import March
from tests.devices import second as devices
from tests.devices.second import second
from tests.energy.forms import pair

GRID = GridOptions(20, 0.05, 20.0)
A, B = pair()
SEEN = LinearLikelihood(A, torch.tensor([[1.0, -0.5]]), torch.tensor([0.8]), 0.3)
DATA = KernelDensity(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "control": (A & B, {"control": ControlOptions("ecg", pilot=32), "moves": MoveOptions(1)}),
    "own-control": (2 * A, {"control": ControlOptions("vcg", frozen=False)}),
    "likelihood": (A + SEEN, {"control": ControlOptions("none")}),
    "kernel": (DATA & mixture([A, B]), {"moves": MoveOptions(waste_free=4)}),
    "box": ((A & B).within(-5.0, torch.tensor([4.0, 5.0])), {"control": ControlOptions("none")}),
    "half-space": (A + InHalfSpace(torch.tensor([1.0, 0.0]), 0.2), {"control": ControlOptions("none")}),
    "reward": (A + reward(lambda x: -x.square().sum(1)), {"weights": WeightOptions("steering")}),
    "twisted": (
        A + reward(lambda x: -x.square().sum(1), "annealed"),
        {"weights": WeightOptions("twisted"), "proposal": ProposalOptions("em")},
    ),
    "jump": (
        (lambda sigma: 1 + 1 / (1 + sigma)) * A,
        {"weights": WeightOptions("continuous"), "resampling": ResamplingOptions(jump=True)},
    ),
    "escorted": (1.5 * A, {"weights": WeightOptions("escorted", divergence="probe")}),
    "residual": (A & B, {"resampling": ResamplingOptions("residual-multinomial"), "chunk": 13}),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_same_run_on_another_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, options = CASES[name]
    chunk = options.get("chunk")
    sampler = ParticleSampler(target, GRID, **{k: v for k, v in options.items() if k != "chunk"})
    here = sampler.sample(2, 16, seed=3, dtype=torch.float64, chunk=chunk)
    plain, compute, waits = March.step, devices._compute, dict.fromkeys(range(20), 0)
    at = -1

    def counted(self: March, k: int) -> None:
        nonlocal at
        at = k
        plain(self, k)
        at = -1

    def watched(func: Any, *given: Any) -> Any:
        if at >= 0 and "_local_scalar_dense" in str(func):
            waits[at] += 1
        return compute(func, *given)

    with second() as device:
        monkeypatch.setattr(devices, "_compute", watched)
        monkeypatch.setattr(March, "step", counted)
        there = sampler.sample(2, 16, seed=3, dtype=torch.float64, device=device, chunk=chunk)
        assert there.particles.device == device
        found: Tensor = there.particles.cpu()
        logs, ancestors = there.log_z.cpu(), there.ancestors.cpu()
    torch.testing.assert_close(found, here.particles)
    torch.testing.assert_close(logs, here.log_z)
    assert torch.equal(ancestors, here.ancestors)
    assert [k for k, count in waits.items() if count] == [15, 19], "levels 16 and 20 look for what is no number"


def test_measures_on_another_device() -> None:
    event = lambda x: x[:, 0] > 1.0  # noqa: E731
    here = event_probability(A, event, InBox(1.0, 9.0), grid=GRID, populations=3, particles=8)
    with second() as device:
        there = event_probability(A, event, InBox(1.0, 9.0), grid=GRID, populations=3, particles=8, device=str(device))
        made = calibrate(A, GRID, particles=8, device=str(device))
    assert there.probability == pytest.approx(here.probability)
    torch.testing.assert_close(made.log_z, calibrate(A, GRID, particles=8).log_z)
