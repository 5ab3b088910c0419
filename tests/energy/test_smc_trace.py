"""Whole runs against recorded ones: particles, increments, effective sizes, ancestors and log Z of every step."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from tenfold.energy.closed_forms import GaussianMixture
from tenfold.energy.composition import Composition
from tenfold.energy.feynman_kac import (
    ControlOptions,
    ParticleSampler,
    ProposalOptions,
    ResamplingOptions,
    Start,
    WeightOptions,
)
from tenfold.energy.feynman_kac.march import March
from tenfold.energy.feynman_kac.randomness import Numbers
from tests.energy.forms import close, pair, recorded

TARGETS = {
    "temper2": lambda a, b: 2 * a,
    "temper05": lambda a, b: 0.5 * a,
    "product": lambda a, b: a & b,
    "cfg17": lambda a, b: 1.7 * a - 0.7 * b,
    "geo": lambda a, b: 0.6 * a + 0.8 * b,
}
KINDS = {"em": "em", "anc": "ancestral", "gau": "gaussian", "base": "base"}
WEIGHTS = {"exact": "exact", "ct": "continuous", "telescope": "telescoping"}


def runs() -> Iterator[str]:
    return (key.removesuffix("_inc") for key in recorded("smc_trace") if key.endswith("_inc"))


class Replayed(Numbers):
    """The recorded noise in the place of keyed draws."""

    def normal(self, purpose: str, step: int, shape: tuple[int, ...], n: int | None = None) -> Tensor:
        return recorded("smc_trace")["noise"][step]

    def shared(self, purpose: str, step: int, count: int) -> Tensor:
        return recorded("smc_trace")["resample_u"][step].view(1, 1)


@pytest.mark.parametrize("name", list(runs()))
def test_recorded_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = recorded("smc_trace")
    target, proposal, weights = name.split("_")
    a, b = pair()
    sampler = ParticleSampler(
        TARGETS[target](a, b),
        ref["sigma"],
        proposal=ProposalOptions(KINDS[proposal], delta=1.5),
        weights=WeightOptions(WEIGHTS[weights]),
        resampling=ResamplingOptions(threshold=0.5, every_end=True),
        control=ControlOptions("none"),
    )
    monkeypatch.setattr("tenfold.energy.feynman_kac.sampler.Numbers", Replayed)
    before: list[dict[str, Any]] = []
    plain = March._resample

    def watched(self: March, k: int, increments: Tensor, last: bool) -> None:
        before.append({"x_pre": self.state.x.clone(), "inc": increments[0].clone()})
        plain(self, k, increments, last)

    monkeypatch.setattr(March, "_resample", watched)
    start = Start(ref["init"][None])
    run = sampler.sample(1, 32, dtype=torch.float64, start=start)
    for key in ("x_pre", "inc"):
        close(torch.stack([step[key] for step in before]), ref[f"{name}_{key}"], 1e-8)
    if f"{name}_ess" in ref:
        close(run.ess[:, 0], ref[f"{name}_ess"], 1e-8)
    assert torch.equal(run.ancestors[:, 0], ref[f"{name}_anc"])
    close(run.particles[0], ref[f"{name}_final_x"], 1e-8)
    torch.testing.assert_close(run.log_weights[0], ref[f"{name}_final_logw"], atol=1e-8, rtol=1e-8)
    close(run.log_ratio[0], ref[f"{name}_log_ratio"], 1e-8)


def test_there_are_all_of_them() -> None:
    assert len(list(runs())) == 22
    assert isinstance(TARGETS["geo"](*pair()), Composition)
    assert all(isinstance(one, GaussianMixture) for one in pair())
