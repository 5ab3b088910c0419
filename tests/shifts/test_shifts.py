"""Exact phases, uniform marginals, stratification, independence of the number of processes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tenfold.errors import UsageError
from tenfold.shifts import Kronecker, ShiftSampler, generalised_golden
from tenfold.shifts.sampler import MODES


@pytest.mark.parametrize("dim", [1, 2, 3, 6])
def test_frequencies_solve_their_equation(dim):
    inverse = Fraction(generalised_golden(dim)[0], 2**64)
    g = 1 / inverse if dim > 0 else 1
    assert abs(float(g ** (dim + 1) - g - 1)) < 1e-14
    for k, phase in enumerate(generalised_golden(dim), start=1):
        assert abs(float(Fraction(phase, 2**64) - inverse**k)) < 1e-16


@settings(max_examples=50, deadline=None)
@given(start=st.integers(0, 2**63), alpha=st.integers(1, 2**64 - 1), theta=st.integers(0, 2**64 - 1))
def test_phases_are_exact_at_any_n(start, alpha, theta):
    phases = Kronecker([alpha], [theta]).phases(start, start + 5)[:, 0]
    assert [int(p) for p in phases] == [((start + k) * alpha + theta) % 2**64 for k in range(5)]
    points = Kronecker([alpha], [theta]).points(start, start + 5)[:, 0]
    assert all(0 <= x < 1 and abs(x - int(p) / 2**64) < 2**-52 for x, p in zip(points, phases, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_marginals_are_uniform_over_seeds(mode):
    values = np.concatenate([ShiftSampler(mode=mode, seed=s).batch(3, 8)[s % 8] for s in range(3000)])
    assert stats.kstest(values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("mode", ["vdm", "vdm_stream", "jitter"])
def test_one_point_a_stratum(mode):
    for number in range(5):
        points = ShiftSampler(mode=mode, seed=7).batch(number, 16)
        assert sorted((points * 16).astype(int).ravel().tolist()) == list(range(16))


@pytest.mark.parametrize("mode", MODES)
def test_processes_share_one_batch(mode):
    sampler = ShiftSampler(mode=mode, seed=1)
    whole = sampler.batch(4, 10)
    parts = [ShiftSampler(mode=mode, seed=1).batch(4, 10, rank, 3) for rank in range(3)]
    assert [len(p) for p in parts] == [4, 3, 3]
    for rank, part in enumerate(parts):
        assert np.array_equal(part, whole[rank::3])
    assert not np.array_equal(whole, sampler.batch(5, 10))


def test_shifts_lower_the_variance_of_a_mean():
    def mean(sampler: ShiftSampler) -> float:
        return float(np.mean([np.exp(-3 * sampler.batch(s, 32)).mean() for s in range(8)]))

    variance = {m: np.var([mean(ShiftSampler(mode=m, seed=s)) for s in range(200)]) for m in MODES}
    assert all(variance["iid"] > 20 * variance[m] for m in MODES if m != "iid")
    assert variance["vdm_stream"] < variance["vdm"]


def test_bad_arguments():
    with pytest.raises(UsageError, match=r"'vdm_steam'; did you mean 'vdm_stream'"):
        ShiftSampler(mode="vdm_steam")
    with pytest.raises(UsageError, match="one-dimensional, but dim is 2"):
        ShiftSampler(dim=2, mode="vdm")
    with pytest.raises(UsageError, match=r"rank 2 is outside \[0, 2\)"):
        ShiftSampler().batch(0, 4, rank=2, world=2)
    with pytest.raises(UsageError, match="dim is 0"):
        generalised_golden(0)
