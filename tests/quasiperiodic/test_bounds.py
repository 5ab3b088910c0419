"""Separation bounds, good boxes, worst slabs and exponent fits."""

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.quasiperiodic import (
    count,
    count_over_theta,
    fit_exponent,
    good_box_distance,
    hits,
    intervals,
    parse_set,
    separation_bound,
    worst_slab,
)
from tenfold.quasiperiodic.discrepancies.slabs import small_forms
from tenfold.shifts import Frequency, Kronecker

HUGE = "liouville:2,3,50,4,20000,3,7,9"


def five_intervals(measure, seed=1):
    starts = np.sort(np.random.default_rng(seed).random(5)) * 0.9
    return intervals([(float(a), float(a + measure / 5)) for a in starts])


@pytest.mark.parametrize(
    ("frequency", "N", "measure"), [("golden", 10**4, 0.05), (HUGE, 10**4, 0.05), (HUGE, 10**4, 1e-4)]
)
def test_hits_never_exceed_any_bound(frequency, N, measure):
    region = five_intervals(measure)
    thetas = np.random.default_rng(2).random(20).tolist()
    worst = count_over_theta(region, frequency, thetas, N).largest
    best, plain = separation_bound(region, frequency, N), separation_bound(region, frequency, N, block=None)
    assert worst <= best.bound <= plain.bound == best.plain
    for block in (1, 2, 10, 355, 1000, N + 1):
        assert best.bound <= separation_bound(region, frequency, N, block).bound
    if frequency == HUGE:  # one block is useless just after a huge quotient, blocks repair it
        assert plain.bound > 50 * best.bound


def test_hits_below_the_bound_in_two_dimensions():
    region = parse_set("abs(y - x^2) <= 1/500", 2)
    bound = separation_bound(region, "sqrt2,sqrt3", 20_000)
    for theta in ("0", "1/3", "0.77"):
        assert count(region, Kronecker("sqrt2,sqrt3", theta), 0, 20_000).count <= bound.bound
    assert bound.delta > 0
    assert bound.K * bound.delta >= 1
    assert "every theta" in bound.to_dict()["statement"]


def test_points_of_a_block_are_as_far_apart_as_the_bound_says():
    bound = separation_bound(parse_set("x < 1/2", 1), "golden", 5000)
    x = np.sort(Kronecker("golden").points(0, bound.block)[:, 0])
    gaps = np.append(np.diff(x), x[0] + 1 - x[-1])
    assert gaps.min() >= bound.delta * (1 - 1e-12)


def test_a_rational_frequency_has_block_bounds_only():
    orbit = Kronecker("3/7", "1/3", allow_resonant=True)
    bound = separation_bound(parse_set("x < 1/10", 1), orbit, 1000)
    assert bound.plain is None
    assert count(parse_set("x < 1/10", 1), orbit, 0, 1000).count <= bound.bound


def test_good_box_distance():
    near = good_box_distance("golden", 50, 2, 0.9)
    assert near.case == "degree"
    assert near.N == 3 * 50**2
    far = good_box_distance(HUGE, 5, 1, 0.9)
    assert far.case == "denominator"
    # A set as bad as allowed: M^q intervals of total measure e^(−M^s), placed on the first orbit points.
    for M, q, s, frequency in ((10, 1, 0.8, "golden"), (5, 1, 0.9, HUGE)):
        found = good_box_distance(frequency, M, q, s)
        points = Kronecker(frequency).points(0, int(M**q))[:, 0]
        half = np.exp(-(M**s)) / len(points) / 2
        region = intervals([(float(max(0, p - half)), float(min(1, p + half))) for p in points])
        assert len(hits(region, Kronecker(frequency), 0, found.N)) < found.N + 1
    with pytest.raises(UsageError, match="below 1/6"):
        good_box_distance("golden", 1, 1, 1)
    with pytest.raises(UsageError, match="rational with denominator 7"):
        good_box_distance("3/7", 50, 1, 0.9)


def test_small_forms_are_the_smallest():
    alpha, N = Frequency.named("cubic"), 256
    side, floats = N**0.5, alpha.floats()
    grid = np.arange(-int(2 * side), int(2 * side) + 1)
    k = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    k = k[(k[:, 0] > 0) | ((k[:, 0] == 0) & (k[:, 1] > 0))]
    value = k @ floats
    score = N * np.abs(value - np.round(value)) + np.abs(k).max(axis=1) / side
    expected = sorted(tuple(int(x) for x in row) for row in k[np.argsort(score)[:25]])
    assert sorted(small_forms(alpha, N, 25)) == expected


@pytest.mark.parametrize(
    ("frequency", "window"),
    [("golden", (-0.05, 0.1)), ("cubic", (0.33, 0.55)), (Frequency.roots(2, 4), (0.55, 0.75))],
    ids=["b=1", "b=2", "b=3"],
)
def test_slab_exponents(frequency, window):
    sizes = [2**k for k in range(8, 18)]
    found = [worst_slab(frequency, N) for N in sizes]
    deviations = np.array([w.deviation for w in found])
    b = len(found[0].k)
    fit = fit_exponent(sizes, deviations, 1 - 1 / b)
    assert window[0] <= fit.slope <= window[1]
    if b == 1:
        assert deviations.max() <= 3
    if b == 2:
        scaled = deviations / np.sqrt(sizes)
        assert scaled.min() >= 0.4
        assert scaled.max() <= 3
    orbit = Kronecker(frequency)
    for w in found[:3]:  # the count of the slab is the certified count of its set, its volume exact
        assert count(w.region, orbit, 0, w.N - 1, "enumerate").count == w.count
        assert w.region.measure().exact == w.volume


def test_slab_refusals():
    with pytest.raises(UsageError, match="N is 2"):
        worst_slab("golden", 2)
    with pytest.raises(UsageError, match="block is 0"):
        separation_bound(parse_set("x < 1/2", 1), "golden", 10, 0)
    with pytest.raises(UsageError, match="N is -1"):
        separation_bound(parse_set("x < 1/2", 1), "golden", -1)
    with pytest.raises(UsageError, match="b = 1 dimensions, but the frequency 2"):
        separation_bound(parse_set("x < 1/2", 1), "cubic", 10)


def test_exponents():
    N = np.geomspace(10, 10_000, 12)
    exact = fit_exponent(N, 3 * N**0.5, 0.5)
    assert exact.slope == pytest.approx(0.5, abs=1e-12)
    assert exact.constant == pytest.approx(3)
    assert np.allclose(exact.local, 0.5)
    rng = np.random.default_rng(0)
    noisy = fit_exponent(N, 3 * N**0.5 * np.exp(0.1 * rng.standard_normal((20, 12))))
    assert noisy.low < 0.5 < noisy.high
    assert noisy.resampled == "replicates"
    assert noisy.high - noisy.low < 0.1
    for bad, words in (
        (([1, 2, 3], [1, 2, 3]), "at least 4"),
        (([1, 2, 3, 4], [1, 2, 3, 4]), "factor of 10"),
        (([1, 10, 100, 1000], [1, 0, 1, 1]), "not positive"),
        (([1, 10, 100, 1000], [1, 2]), "expected"),
    ):
        with pytest.raises(UsageError, match=words):
            fit_exponent(*bad)
