"""Exact phases: fixtures to n = 10^15, closed forms, splits, scrambles, what is refused."""

import json
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tenfold.errors import UsageError
from tenfold.shifts import (
    Frequency,
    Kronecker,
    LatticeShift,
    Scrambled,
    SkewShift,
    Stream,
    constants,
    use_compiled_points,
)


@pytest.fixture(scope="module")
def hits():
    from tests.conftest import FIXTURES

    return json.loads((FIXTURES / "quasiperiodic" / "hits.json").read_text())


def test_far_points(hits):
    omegas = {h["freq"]: h["omega"] for h in hits["hits"]}
    assert len(hits["far_points"]) == 30
    for row in hits["far_points"]:
        orbit = Kronecker(omegas[row["freq"]], row["theta"], allow_resonant=True)
        expected = np.array([float(x) for x in row["x"]])
        (near,) = orbit.points(row["n"], row["n"] + 1)
        assert np.abs(near - expected).max() < 1e-15
        assert np.array_equal(orbit.at([row["n"]])[0], near)


def test_skew_shift_fixture(hits):
    assert len(hits["skew_shift"]) == 14
    for row in hits["skew_shift"]:
        orbit = SkewShift(row["omega"], row["theta"], bits=256)
        expected = np.array([float(x) for x in row["x"]])
        assert np.abs(orbit.points(row["n"], row["n"] + 1)[0] - expected).max() < 1e-15
        assert np.abs(orbit.at([row["n"]])[0] - expected).max() < 1e-15


@pytest.mark.parametrize("bits", [64, 128, 256])
def test_skew_shift_is_its_iteration(bits):
    orbit = SkewShift("golden", ["1/10", "3/10", "7/10"], bits)
    x, step = list(orbit.exact_at(0)), Fraction(orbit.omega.fixed(bits))
    stored = orbit.integers(0, 20_000)
    for n in range(10_001):
        assert tuple(stored[n]) == tuple(x)
        x = [int(x[0] + step) % 2**bits, *((x[i] + x[i - 1]) % 2**bits for i in (1, 2))]
    assert tuple(stored[19_999]) == orbit.exact_at(19_999)


@pytest.mark.parametrize("name", ["golden", "silver", "e", "pi", "sqrt7"])
def test_named_constants_to_256_bits(name):
    with mpmath.workprec(400):
        value = {
            "golden": (mpmath.sqrt(5) - 1) / 2, "silver": mpmath.sqrt(2) - 1, "e": +mpmath.e, "pi": +mpmath.pi,
            "sqrt7": mpmath.sqrt(7),
        }[name]  # fmt: skip
        expected = int(mpmath.floor(mpmath.frac(value) * 2**256))
    assert Frequency.named(name).fixed(256) == (expected,)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_generalised_golden_powers_to_256_bits(dim):
    with mpmath.workprec(400):
        g = mpmath.findroot(lambda x: x ** (dim + 1) - x - 1, 1.3)
        expected = tuple(int(mpmath.floor(g**-k * 2**256)) for k in range(1, dim + 1))
    assert Frequency.rd(dim).fixed(256) == expected


def test_liouville_has_its_quotients_then_ones():
    value = constants.continued([3, 1, 4], 256)
    x, found = Fraction(value, 2**256), []
    for _ in range(6):
        x = 1 / x
        found.append(int(x))
        x -= found[-1]
    assert found == [3, 1, 4, 1, 1, 1]


def test_numbers_of_other_libraries():
    with mpmath.workprec(200):
        near = mpmath.sqrt(2)
    given = Frequency.of([near, sympy.sqrt(2), sympy.Rational(3, 7), Fraction(3, 7), np.float64(0.25), "0.25"])
    fixed = given.fixed(128)
    assert fixed[0] == fixed[1] == Frequency.named("silver").fixed(128)[0]
    assert fixed[2] == fixed[3] == (3 << 128) // 7
    assert fixed[4] == fixed[5] == 1 << 126


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(-(2**62), 2**62), count=st.integers(1, 5000), bits=st.sampled_from([64, 128, 256]),
    theta=st.fractions(0, 1),
)  # fmt: skip
def test_every_path_gives_the_same_phases(start, count, bits, theta):
    orbit = Kronecker("cubic", [theta, 1 - theta], bits)
    points = orbit.points(start, start + count)
    for n in (start, start + count // 2, start + count - 1):
        exact = [x / 2**bits for x in orbit.exact_at(n)]
        assert np.abs(points[n - start] - exact).max() < 2**-52
        assert np.array_equal(orbit.at([n])[0], points[n - start])
    assert points.min() >= 0
    assert points.max() < 1
    single = orbit.points(start, start + count, dtype=np.float32)
    assert (single <= points).all()
    assert single.max() < 1


def test_the_compiled_loop_gives_the_same_bits():
    try:
        for frequency in ("golden", "cubic", "richtmyer:3"):
            orbit = Kronecker(frequency, "1/3", bits=64)
            use_compiled_points(False)
            expected = orbit.points(10**12, 10**12 + 40_000), orbit.points(-5, 3000, dtype=np.float32)
            use_compiled_points()
            assert np.array_equal(orbit.points(10**12, 10**12 + 40_000), expected[0])
            assert np.array_equal(orbit.points(-5, 3000, dtype=np.float32), expected[1])
    finally:
        use_compiled_points(False)


@pytest.mark.parametrize("frequency", ["cubic", "3/7,5/11"])
def test_skip_stride_split(frequency):
    orbit = Kronecker(frequency, "1/3", allow_resonant=True)
    whole = orbit.integers(0, 60)
    assert (orbit.skip(17).integers(0, 9) == whole[17:26]).all()
    assert (orbit.stride(4).integers(0, 15) == whole[::4]).all()
    for rank in range(3):
        assert (orbit.split(rank, 3).integers(0, 20) == whole[rank::3]).all()
        assert np.array_equal(orbit.split(rank, 3).points(0, 20), orbit.points(0, 60)[rank::3])


def test_rational_orbits_are_periodic_and_exact():
    orbit = Kronecker("3/7,5/11", ["1/2", "1/3"], allow_resonant=True)
    assert orbit.moduli == (14, 33)
    assert np.array_equal(orbit.points(0, 231), orbit.points(231 * 10**6, 231 * 10**6 + 231))
    assert orbit.phase_error(10**15) == 0


def test_lattice_shift_is_additive():
    shift = LatticeShift(["sqrt2,sqrt3", "golden,silver"], ["1/3", "1/2"])
    box = shift.box([-3, -2], [4, 5])
    n = np.stack(np.meshgrid(np.arange(-3, 5), np.arange(-2, 6), indexing="ij"), axis=-1)
    assert box.shape == (8, 8, 2)
    assert np.array_equal(box, shift.at(n))
    far = shift.at([10**12, -(10**12)])
    with mpmath.workprec(200):
        golden, silver = (mpmath.sqrt(5) - 1) / 2, mpmath.sqrt(2) - 1
        exact = [
            mpmath.mpf(1) / 3 + 10**12 * (mpmath.sqrt(2) - golden),
            mpmath.mpf(1) / 2 + 10**12 * (mpmath.sqrt(3) - silver),
        ]
        exact = [float(x - mpmath.floor(x)) for x in exact]
    assert np.abs(far - exact).max() < 1e-15
    diagonal = LatticeShift.diagonal("sqrt2,sqrt3")
    assert np.array_equal(diagonal.at([5, 0])[0:1], Kronecker("sqrt2").points(5, 6)[0])


def test_scrambled_points_keep_strata_and_are_uniform():
    # Points j/16 have distinct leading nibbles; a nested scramble permutes them.
    orbit = Kronecker([1 << 60])
    for seed in range(5):
        x = Scrambled(orbit, seed).points(0, 16)[:, 0]
        assert sorted((x * 16).astype(int).tolist()) == list(range(16))
    first = [Scrambled(Kronecker([12345]), seed).points(3, 4)[0, 0] for seed in range(600)]
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert np.array_equal(Scrambled(orbit, 1).at([5, 2]), Scrambled(orbit, 1).points(0, 16)[[5, 2]])
    with pytest.raises(UsageError, match="rational frequency"):
        Scrambled(Kronecker("1/3", allow_resonant=True), 0)


def test_random_shifts_are_uniform_and_reproducible():
    orbit = Kronecker("cubic")
    first = np.array([r.points(7, 8)[0] for r in orbit.replicas(500, 0)])
    assert all(stats.kstest(first[:, j], "uniform").pvalue > 1e-3 for j in range(2))
    assert np.array_equal(orbit.shifted(3).points(0, 4), orbit.shifted(3).points(0, 4))
    gaps = (orbit.shifted(3).points(1, 2) - orbit.shifted(3).points(0, 1)) % 1
    assert np.abs(gaps - orbit.points(1, 2)).max() < 1e-15
    rational = Kronecker("1/3", allow_resonant=True).shifted(1)
    assert abs(float((rational.points(3, 4) - rational.points(0, 1))[0, 0])) == 0


def test_stream_resumes_and_splits():
    orbit = Kronecker("golden")
    stream = Stream(orbit)
    first = stream.next(5)
    state = stream.state_dict()
    rest = stream.next(7)
    resumed = Stream(orbit)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert np.array_equal(resumed.next(7), rest)
    parts = [Stream(orbit, rank, 2).next(6) for rank in range(2)]
    whole = np.empty((12, 1))
    whole[0::2], whole[1::2] = parts
    assert np.array_equal(whole, np.concatenate([first, rest]))
    with pytest.raises(UsageError, match="no state of a stream"):
        stream.load_state_dict({})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Kronecker("sqrt2,sqrt8"), "resonant"),
        (lambda: Kronecker(0.5), "resonant"),
        (lambda: Kronecker("3/7,5/11"), "allow_resonant=True"),
        (lambda: Kronecker("goldn"), "did you mean 'golden'"),
        (lambda: Kronecker(float("nan")), "finite number"),
        (lambda: Kronecker("golden", bits=32), "64, 128 or 256"),
        (lambda: Kronecker("cubic", ["1/3"] * 3), "2 frequencies need as many offsets"),
        (lambda: Kronecker("sqrt9"), "whole number 3"),
        (lambda: Kronecker("1/0"), "denominator 0"),
        (lambda: Kronecker("golden").points(5, 4), "reversed"),
        (lambda: Kronecker("golden").points(0, 2**65), "2\\^64"),
        (lambda: Kronecker("golden").stride(0), "stride of 0"),
        (lambda: Kronecker("golden").at(np.array([0.5])), "whole numbers"),
        (lambda: Kronecker("golden").points(0, 2, out=np.empty((3, 1))), r"expected \(2, 1\)"),
        (lambda: SkewShift("golden", [0, 0]).exact_at(-1), "n ≥ 0"),
        (lambda: LatticeShift([["golden"], ["golden", 0]]), "rows of Omega"),
        (lambda: Frequency.liouville([2, 0]), "at least 1"),
    ],
)  # fmt: skip
def test_refusals(make, words):
    with pytest.raises(UsageError, match=words):
        make()


def test_a_float_frequency_warns_once_beyond_its_digits():
    orbit = Kronecker(0.6180339887498949, allow_resonant=True)
    with pytest.warns(UserWarning, match="2\\^26"):
        orbit.points(2**27, 2**27 + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        orbit.points(2**27, 2**27 + 1)


def test_single_precision_warns_where_it_repeats(monkeypatch):
    monkeypatch.setattr(Kronecker, "_blocks", lambda *_: None)
    with pytest.warns(UserWarning, match="2\\^24"):
        Kronecker("golden").points(0, 2**24 + 1, dtype=np.float32)
