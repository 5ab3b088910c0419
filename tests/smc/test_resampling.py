"""Resampling against recorded indices, and what every scheme must keep."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.smc import (
    draw_ancestors,
    effective_sample_size,
    gather_particles,
    log_mean_weight,
    normalised_weights,
    resample_where,
    uniforms_of,
)
from tenfold.smc.resampling import SCHEMES
from tests.conftest import FIXTURES

INF = math.inf
CASES = ["generic", "uniform", "degenerate", "neg_inf", "huge_shift", "m_gt_n"]


def recorded(name: str) -> dict[str, Tensor]:
    with np.load(FIXTURES / "energy_diffusion" / "resampling.npz") as file:
        return {k.removeprefix(f"{name}_"): torch.tensor(file[k]) for k in file if k.startswith(f"{name}_")}


def test_the_fixture_is_there(fixtures: Path) -> None:
    assert (fixtures / "energy_diffusion" / "resampling.npz").exists()


@pytest.mark.parametrize("name", CASES)
def test_recorded_indices_and_weights(name: str) -> None:
    ref = recorded(name)
    logs, count = ref["logw"], int(ref["M"])
    torch.testing.assert_close(normalised_weights(logs), ref["W"], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(effective_sample_size(logs), ref["ESS"], atol=0, rtol=1e-12)
    torch.testing.assert_close(log_mean_weight(logs), ref["logmean"], atol=1e-12, rtol=1e-12)
    rows = logs.expand(3, -1)
    assert torch.equal(draw_ancestors(rows, ref["u"][1:, None], "systematic", count), ref["systematic"])
    assert torch.equal(draw_ancestors(rows, ref["strat_u"], "stratified", count), ref["stratified"])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_no_weightless_particle_at_the_ends(scheme: str, u: float) -> None:
    logs = torch.tensor([-INF, -INF, 0.0, -INF, 1.0, -800.0, -INF], dtype=torch.float64)
    for count in (1, 2, 7, 50):
        chosen = draw_ancestors(logs, torch.full((uniforms_of(scheme, count),), u), scheme, count)
        assert set(chosen.tolist()) <= {2, 4, 5}


@given(st.lists(st.sampled_from([-INF, -1e308, -745.0, -3.0, 0.0, 0.1, 700.0]), min_size=1, max_size=9), st.data())
@settings(max_examples=200, deadline=None)
def test_only_the_living_are_chosen(logs: list[float], data: st.DataObject) -> None:
    scheme = data.draw(st.sampled_from(SCHEMES))
    count = data.draw(st.integers(1, 12))
    uniform = st.floats(0, 1, exclude_max=True)
    numbers = data.draw(st.lists(uniform, min_size=(k := uniforms_of(scheme, count)), max_size=k))
    weights = torch.tensor(logs, dtype=torch.float64)
    chosen = draw_ancestors(weights, torch.tensor(numbers, dtype=torch.float64), scheme, count)
    assert chosen.shape == (count,)
    if max(logs) > -INF:
        assert bool((normalised_weights(weights)[chosen] > 0).all())
    else:
        assert chosen.tolist() == [i % len(logs) for i in range(count)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("count", [8, 5, 20])
def test_counts_are_unbiased(scheme: str, count: int) -> None:
    """E[count_i] = M W_i; systematic counts are within one of it, residual ones at least its whole part."""
    generator = torch.Generator().manual_seed(1)
    runs, logs = 20_000, torch.tensor([0.0, -1.0, 1.0, -INF, 0.5, -4.0, 0.0, 0.2])
    uniforms = torch.rand(runs, uniforms_of(scheme, count), generator=generator, dtype=torch.float64)
    chosen = draw_ancestors(logs.expand(runs, -1), uniforms, scheme, count)
    counts = torch.nn.functional.one_hot(chosen, 8).sum(1).double()
    expected = count * normalised_weights(logs)
    error = counts.std(0) / math.sqrt(runs)
    assert bool(((counts.mean(0) - expected).abs() <= 4 * error + 1e-12).all())
    if scheme == "systematic":
        assert bool(((counts - expected).abs() < 1 + 1e-9).all())
    if scheme.startswith("residual"):
        assert bool((counts >= expected.floor() - 1e-9).all())


def test_populations_are_apart() -> None:
    logs, uniforms = torch.randn(7, 30, dtype=torch.float64), torch.rand(7, 30, dtype=torch.float64)
    for scheme in SCHEMES:
        numbers = uniforms[:, : uniforms_of(scheme, 30)]
        together = draw_ancestors(logs, numbers, scheme)
        assert torch.equal(
            together, torch.stack([draw_ancestors(a, u, scheme) for a, u in zip(logs, numbers, strict=True)])
        )


def test_weights_accumulate_where_nothing_is_resampled() -> None:
    logs = torch.tensor([[0.0, -0.1, -0.2, 0.0], [0.0, -9.0, -9.0, -9.0]], dtype=torch.float64)
    done = resample_where(logs, torch.tensor([[0.3], [0.3]]), 0.5)
    assert done.mask.tolist() == [False, True]
    assert done.ancestors.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0]]
    assert torch.equal(done.log_weights[0], logs[0])
    assert bool((done.log_weights[1] == 0).all())
    torch.testing.assert_close(done.log_mean, torch.where(done.mask, log_mean_weight(logs), 0.0))
    assert not bool(resample_where(logs, torch.tensor([[0.3], [0.3]]), 0.0).mask.any())
    assert bool(resample_where(logs, torch.tensor([[0.3], [0.3]]), 1.01).mask.all())
    values = torch.arange(16.0).view(2, 4, 2)
    assert torch.equal(gather_particles(values, done.ancestors)[1], values[1, :1].expand(4, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_evidence_is_unbiased(scheme: str) -> None:
    """A two-state chain whose Z is a sum over all paths: the mean of Ẑ over 4,000 populations of 4 is within four
    standard errors of it, adaptive resampling included."""
    generator = torch.Generator().manual_seed(5)
    stay, potentials = 0.8, torch.tensor([[1.0, 0.2], [0.1, 1.5], [2.0, 0.3], [0.2, 1.0]], dtype=torch.float64)
    forward = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for row in potentials:
        forward = (torch.tensor([[stay, 1 - stay], [1 - stay, stay]]).double() @ forward) * row
    m, n = 4000, 4
    state = (torch.rand(m, n, generator=generator) < 0.5).long()
    logs, log_z = torch.zeros(m, n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
    for row in potentials:
        state = torch.where(torch.rand(m, n, generator=generator) < stay, state, 1 - state)
        logs = logs + row.log()[state]
        numbers = torch.rand(m, uniforms_of(scheme, n), generator=generator)
        done = resample_where(logs, numbers, 0.7, scheme)
        state, logs, log_z = gather_particles(state, done.ancestors), done.log_weights, log_z + done.log_mean
    z = (log_z + log_mean_weight(logs)).exp() / forward.sum()
    assert abs(z.mean().item() - 1) < 4 * z.std().item() / math.sqrt(m)


def test_what_is_refused() -> None:
    logs = torch.zeros(4)
    with pytest.raises(UsageError, match="did you mean 'systematic'"):
        uniforms_of("systemtic", 4)
    with pytest.raises(UsageError, match="reads 4 numbers a population, 1 were given"):
        draw_ancestors(logs, torch.rand(1), "stratified")
    with pytest.raises(UsageError, match="count is 0"):
        draw_ancestors(logs, torch.rand(1), "systematic", 0)
