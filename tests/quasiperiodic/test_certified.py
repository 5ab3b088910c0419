"""What is called exact, certified or derived, attacked: edges, rational and nearly rational orbits, tiny numbers."""

import math
import tracemalloc
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.quasiperiodic import (
    ball,
    box,
    count,
    fit_exponent,
    from_sympy,
    good_box_distance,
    intervals,
    parse_set,
    running_counts,
    separation_bound,
    worst_slab,
)
from tenfold.shifts import Kronecker, SkewShift, best_simultaneous, certify_wdc


@pytest.mark.parametrize("b", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [10**3, 10**9, 10**15, 2**62])
def test_skew_shifts_take_the_bits_that_n_asks_for(b, n):
    orbit = SkewShift("golden", ["1/10"] * b)
    with mpmath.workprec(2000):
        omega = (mpmath.sqrt(5) - 1) / 2
        exact = [math.comb(n, k) * omega + sum(mpmath.mpf(math.comb(n, j)) / 10 for j in range(k))
                 for k in range(1, b + 1)]  # fmt: skip
        real = np.array([float(mpmath.frac(x)) for x in exact])
    for found in (orbit.points(n, n + 1)[0], orbit.at([n])[0]):
        assert np.abs(found - real).max() < 2**-52
    assert orbit.phase_error(n) < 2**-60


def test_skew_counts_far_out_are_certified_in_truth():
    orbit, region = SkewShift("1/7", ["1/7", "0"]), parse_set("x <= 3/7 & y >= 2/7", 2)
    x, y, hits = Fraction(1, 7), Fraction(0), 0
    for _ in range(5001):
        hits += x <= Fraction(3, 7) and y >= Fraction(2, 7)
        x, y = (x + Fraction(1, 7)) % 1, (y + x) % 1
    found = count(region, orbit, 0, 5000)
    assert (found.count, found.certified) == (hits, True)
    far = count(parse_set("z < 1/3", 3), SkewShift("golden", [0, 0, 0]), 10**15, 10**15 + 3000)
    assert far.certified
    assert far.phase_error < 2**-60


@pytest.mark.parametrize("bits", [64, 128])
@pytest.mark.parametrize("text", ["1/2 <= x <= 1/2 + 1/1000000 & y < 1", "x == 1/2", "x <= 0"])
def test_edges_that_coincide_with_edges_of_cells(text, bits):
    region, orbit = parse_set(text, 2), Kronecker("0.0001,sqrt2", bits=bits)  # x returns to 1/2 every 10^4 steps
    for n0, n1 in ((0, 10**5), (4900, 10**4)):
        ways = [count(region, orbit, n0, n1, way) for way in ("lattice", "enumerate")]
        assert ways[0].count == ways[1].count == (10 if n0 == 0 else 1) + ("<= 0" in text) * (n0 == 0)
        assert np.array_equal(ways[0].hits, ways[1].hits)


def test_hits_are_counted_without_being_kept():
    region, orbit = ball(["1/2", "1/2"], "2/5"), Kronecker("cubic")
    for way in ("enumerate", "lattice"):
        whole, few = (count(region, orbit, 0, 5000, way, keep=keep) for keep in (10**6, 10))
        assert (few.count, few.hits) == (whole.count, None)
        assert running_counts(region, orbit, [100, 5000], 0, way) == [int((whole.hits <= 100).sum()), whole.count]
    tracemalloc.start()
    found = count(region, orbit, 0, 3 * 10**6, "enumerate", keep=0)
    assert tracemalloc.get_traced_memory()[1] < 8 * found.count
    tracemalloc.stop()


def test_covers_and_measures_hold_the_exact_value():
    rng = np.random.default_rng(0)
    for trial in range(24):
        q = rng.integers(2, 30, 3).tolist()
        low = Fraction(int(rng.integers(q[0])), q[0])
        high = min(Fraction(1), low + Fraction(1, q[1]))
        K, closed = int(rng.integers(1, 40)), bool(trial % 2)
        ends = [(Fraction(i, K), Fraction(i + 1, K)) for i in range(K)]
        meets = [max(a, low) < b and (a <= high if closed else max(a, low) < high) for a, b in ends]
        for dim, cells in ((1, sum(meets)), (2, sum(meets) ** 2)):
            region = box([low] * dim, [high] * dim, closed)
            found, measure = region.cover(K), region.measure()
            assert found.low <= cells <= found.cells
            assert Fraction(measure.low) <= (high - low) ** dim <= Fraction(measure.high)
    root = parse_set("3*x^2 < 1", 1).measure()
    with mpmath.workprec(300):
        assert mpmath.mpf(root.low) <= 1 / mpmath.sqrt(3) <= mpmath.mpf(root.high)


@pytest.mark.parametrize("frequency", ["golden", "1/7", "0.001", "liouville:2,1" + "0" * 300 + ",3", "3/11"])
def test_separation_bounds_hold_for_every_start(frequency):
    rng = np.random.default_rng(1)
    for _ in range(8):
        N, low = int(rng.integers(3000 if len(frequency) < 100 else 40)), Fraction(int(rng.integers(900)), 1000)
        region = intervals([(low, low + Fraction(int(rng.integers(1, 50)), 1000))])
        bound = separation_bound(region, frequency, N)
        for theta in (0, low, low + Fraction(1, 50), str(rng.random())):
            hits = count(region, Kronecker(frequency, theta, allow_resonant=True), 0, N)
            assert hits.count <= bound.bound


def test_huge_partial_quotients_have_their_block_bound():
    region = parse_set("1/3 <= x < 1/2", 1)
    for quotient in (10**15, 10**400):
        bound = separation_bound(region, f"liouville:2,3,{quotient},5", 10**4)
        assert bound.bound < 10**4 < separation_bound(region, f"liouville:2,3,{quotient},5", 10**4, None).bound
        bound.to_dict()


def test_constants_and_distances_are_lower_bounds():
    for alpha, tau, N in (("golden", 1, 10**6), ("cubic", 0.5, 10**5), ("pi", 1.3, 10**9), ("1/3,1/7", 1, 5)):
        constant = certify_wdc(alpha, 0.1, tau, N).constant
        assert certify_wdc(alpha, constant, tau, N)
    long = "0." + "1234567890" * 12
    found = best_simultaneous(long, 100)
    exact = Fraction(long)
    for n, distance in zip(found.sizes, found.distances, strict=True):
        real = min(n * exact % 1, -n * exact % 1)
        assert abs(real - distance) <= found.error
    bound = separation_bound(parse_set("x < 1/3", 1), "3/7", 4)
    assert Fraction(bound.delta) <= Fraction(1, 7)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("1e-330*x - 1e-331 > 0", 0.2, 0.05),
        ("1e400*x - 5e399 >= 0", 0.5, 0.4),
        ("1e-323*x - 4e-324 > 0", 0.41, 0.35),
        ("64e-325*x - 36e-325 > 0", 0.58, 0.5),
    ],
)
def test_coefficients_that_float64_has_not(text, inside, outside):
    region = parse_set(text, 1)
    assert region.contains([[inside], [outside]]).tolist() == [True, False]
    ways = [count(region, Kronecker("golden"), 0, 100, way).count for way in ("floor_sum", "enumerate")]
    assert ways[0] == ways[1] > 0
    flat = parse_set(f"{text} & y < 1/2", 2)
    assert flat.cover(10).cells >= flat.cover(10).low > 0


def test_fractions_and_long_floats_are_meant_exactly():
    import sympy

    third, long = parse_set("x >= 1/3", 1), np.longdouble(1) / 3
    assert third.contains([[Fraction(1, 3)], [1 / 3]]).tolist() == [True, False]
    assert third.contains(np.array([[long]]))[0] == (Fraction(*long.as_integer_ratio()) >= Fraction(1, 3))
    x = sympy.Symbol("x")
    (poly,) = from_sympy(x < sympy.Float("0.1", 50), [x]).polynomials
    assert abs(poly.exact([0]) + Fraction(1, 10)) < Fraction(1, 10**40)


@pytest.mark.parametrize("frequency", ["1/4,sqrt2", "1/2,1/3", "cubic"])
def test_the_worst_slab_is_counted_exactly(frequency):
    orbit = Kronecker(frequency, allow_resonant=True)
    found = worst_slab(orbit, 600)
    points = [[Fraction(x, m) for x, m in zip(orbit.exact_at(n), orbit.moduli, strict=True)] for n in range(600)]
    forms = [sum(k * x for k, x in zip(found.k, point, strict=True)) for point in points]
    assert found.count == sum(found.low <= value < found.high for value in forms)
    assert found.deviation == abs(float(found.count - 600 * found.volume))


def test_good_boxes_count_intervals_as_the_dynamics_do():
    for M, q, s in ((4.0, 1.0, 0.9), (5.0, 2.0, 0.5), (30.0, 1.5, 0.7)):
        for frequency in ("golden", "liouville:3,1000,5", "sqrt2"):
            found = good_box_distance(frequency, M, q, s)
            pieces, small = M**q + 1, math.exp(-(M**s))
            points = found.N + (found.case == "degree")
            side = 2 * found.above
            assert 2 * pieces + side * small < points, (M, frequency)
    with pytest.raises(UsageError, match="no good box is guaranteed"):
        good_box_distance("golden", 1.81, 5.69, 1.0)


def test_what_would_be_ignored_is_refused():
    with pytest.raises(UsageError, match="dimension 1"):
        good_box_distance("cubic", 5, 1, 0.9)
    with pytest.raises(UsageError, match="leave theta away"):
        worst_slab(Kronecker("golden"), 100, "1/3")
    assert worst_slab("golden", 100, "1/3").count == worst_slab(Kronecker("golden", "1/3"), 100).count


def test_numbers_out_of_scale_are_refused():
    for M, q, s in ((1e300, 1, 1), (10, 1e5, 1), (10, 1, 1e5)):
        with pytest.raises(UsageError, match="1e200"):
            good_box_distance("golden", M, q, s)


def test_exponents_of_repeated_sizes_are_finite():
    found = fit_exponent([10, 10, 100, 1000, 10000], [1, 2, 10, 100, 1000])
    assert np.isfinite(found.local).all()
