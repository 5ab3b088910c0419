"""Hit counts against fixtures, exactly, and three methods against each other on random sets."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic import (
    Poly,
    Set,
    count,
    count_over_theta,
    first_hit,
    floor_sum,
    hits,
    intervals,
    parse_set,
    running_counts,
    separation_bound,
)
from tenfold.shifts import Frequency, Kronecker, Number, SkewShift
from tests.conftest import FIXTURES

FOLDER = FIXTURES / "quasiperiodic"
CASES = json.loads((FOLDER / "hits.json").read_text())["hits"]
BIG = json.loads((FOLDER / "big_counts.json").read_text())


@pytest.mark.parametrize("name", sorted({c["set"] for c in CASES}))
def test_fixture_hits(name):
    cases = [c for c in CASES if c["set"] == name]
    assert cases
    for case in cases:
        region = Set.from_dict(case["polys"])
        orbit = Kronecker(case["omega"], case["theta"], allow_resonant=True)
        ladder = case["N"]
        found = count(region, orbit, 0, ladder[-1], "enumerate")
        assert found.certified
        assert np.searchsorted(found.hits, ladder, side="right").tolist() == case["hits_n_0_to_N_inclusive"]
        assert found.hits[:12].tolist() == case["first_hits"]
        assert running_counts(region, orbit, ladder) == case["hits_n_0_to_N_inclusive"]
        assert first_hit(region, orbit, 0, ladder[-1]) == (case["first_hits"] or [None])[0]
        if case["freq"] != "rational":
            assert count(region, orbit, 0, ladder[-1], "lattice").count == found.count
        if region.dim == 1:
            assert count(region, orbit, 0, ladder[-1], "floor_sum").count == found.count


def test_fixture_hits_with_64_bits():
    assert len(CASES) == 114
    for case in CASES[::7]:
        orbit = Kronecker(case["omega"], case["theta"], bits=64, allow_resonant=True)
        found = count(Set.from_dict(case["polys"]), orbit, 0, 1500)
        assert found.count == case["hits_n_0_to_N_inclusive"][-1]


@pytest.mark.parametrize("case", BIG["cases"], ids=lambda c: f"{c['N']:.0e}")
def test_fixture_thin_bands(case):
    region = parse_set(f"abs(y - x^2) <= {case['w']}", 2)
    found = count(region, Kronecker(BIG["omega"]), 0, case["N"], "lattice")
    assert found.hits.tolist() == case["hits"]
    assert found.certified
    assert found.cells < 2.2 * case["N"] ** 0.5


def test_fixture_intervals_to_1e18():
    assert len(BIG["intervals_half_open"]) == 24
    for row in BIG["intervals_half_open"]:
        orbit = Kronecker(Frequency.from_decimals([row["omega"]]), row["theta"], bits=256)
        found = count(intervals([tuple(row["interval"])]), orbit, 0, row["N"] - 1)
        assert found.count == int(row["count_0_le_n_lt_N"])
        assert found.certified


@settings(max_examples=200, deadline=None)
@given(n=st.integers(0, 60), m=st.integers(1, 200), a=st.integers(0, 500), b=st.integers(0, 500))
def test_floor_sum(n, m, a, b):
    assert floor_sum(n, m, a, b) == sum((a * i + b) // m for i in range(n))


FREQUENCIES = {1: ["golden", "pi", "liouville:3,40,2"], 2: ["cubic", "sqrt2,sqrt3", "e,pi"], 3: ["richtmyer:3", "rd:3"]}


@st.composite
def problems(draw):
    """A random union of intersections of random polynomial inequalities, an orbit, and a range."""
    b = draw(st.integers(1, 3))
    coefficient = st.fractions(-2, 2, max_denominator=40).filter(bool)

    def polynomial():
        terms = draw(
            st.lists(
                st.tuples(st.lists(st.integers(0, 3 if b == 1 else 2), min_size=b, max_size=b), coefficient),
                min_size=1, max_size=4,
            )
        )  # fmt: skip
        constant = draw(coefficient)
        return Poly.of([e for e, _ in terms] + [[0] * b], [c for _, c in terms] + [constant])

    relation = st.sampled_from([">=", "<=", ">", "<"])
    clauses = [
        [(polynomial(), draw(relation)) for _ in range(draw(st.integers(1, 2)))] for _ in range(draw(st.integers(1, 2)))
    ]
    theta = [draw(st.fractions(0, 1, max_denominator=50).filter(lambda t: t < 1)) for _ in range(b)]
    orbit = Kronecker(draw(st.sampled_from(FREQUENCIES[b])), theta)
    start = draw(st.sampled_from([0, -500, 10**12]))
    return Set(clauses), orbit, start, draw(st.integers(50, 1500))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems())
def test_three_methods_agree_and_bounds_hold(problem):
    region, orbit, start, length = problem
    stop = start + length
    found = count(region, orbit, start, stop, "enumerate")
    assert found.certified
    assert count(region, orbit, start, stop, "lattice").hits.tolist() == found.hits.tolist()
    if region.dim == 1:
        assert count(region, orbit, start, stop, "floor_sum").count == found.count
        assert hits(region, orbit, start, stop).tolist() == found.hits.tolist()
    middle = start + length // 3
    parts = count(region, orbit, start, middle).count + count(region, orbit, middle + 1, stop).count
    assert parts == found.count
    assert count(~region, orbit, start, stop).count == length + 1 - found.count
    moved = count(region, orbit.skip(7), start - 7, stop - 7)
    assert moved.count == found.count
    bound = separation_bound(region, orbit.frequency, length)
    assert found.count <= bound.bound
    assert bound.plain is None or bound.bound <= bound.plain
    one = separation_bound(region, orbit.frequency, length, block=min(50, length))
    assert found.count <= one.bound


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2**63), st.integers(0, 2**64 - 1), st.integers(3, 400))
def test_three_gaps(alpha, theta, n):
    x = np.sort(Kronecker([alpha], [theta]).integers(0, n)[:, 0])
    gaps = sorted({int(b - a) % 2**64 for a, b in zip(x, np.roll(x, -1), strict=True)} - {0})
    assert len(gaps) <= 3
    if len(gaps) == 3:
        assert gaps[2] == gaps[0] + gaps[1]


def test_additivity_over_disjoint_sets():
    orbit = Kronecker("cubic", ["1/7", "2/7"])
    left, right = parse_set("x < 1/3 & y >= x^2", 2), parse_set("x >= 1/3 & y >= x^2", 2)
    both = count(parse_set("y >= x^2", 2), orbit, 0, 20_000).count
    assert both == count(left, orbit, 0, 20_000).count + count(right, orbit, 0, 20_000).count
    assert both == count(left | right, orbit, 0, 20_000).count


def test_many_thetas_in_one_pass():
    region, thetas = parse_set("abs(y - x^2) <= 1/2000", 2), ["0", "1/3", "1/7"]
    for method in ("enumerate", "lattice"):
        found = count_over_theta(region, "cubic", thetas, 300_000, method=method)
        assert found.counts == tuple(count(region, Kronecker("cubic", t), 0, 300_000).count for t in thetas)
        assert found.largest == max(found.counts)
    one = count_over_theta(intervals([("1/4", "1/3")]), "golden", thetas, 10**15)
    assert one.counts[1] == count(intervals([("1/4", "1/3")]), Kronecker("golden", "1/3"), 0, 10**15).count


def test_skew_shifts_are_enumerated():
    region, orbit = parse_set("y < 1/4", 2), SkewShift("golden", ["1/10", "3/10"])
    found = count(region, orbit, 0, 5000)
    assert found.method == "enumerate"
    assert found.hits.tolist() == np.flatnonzero(orbit.points(0, 5001)[:, 1] < 0.25).tolist()
    with pytest.raises(UsageError, match="skew shift"):
        count(region, orbit, 0, 5000, "lattice")


def test_boundary_points_are_decided_exactly():
    orbit = Kronecker("3/7,5/11", allow_resonant=True)
    diagonal = count(parse_set("x == y", 2), orbit, 0, 770)
    assert diagonal.hits.tolist() == [n for n in range(771) if Fraction(3 * n, 7) % 1 == Fraction(5 * n, 11) % 1]
    assert diagonal.rechecked >= diagonal.count
    closed, opened = parse_set("x <= 3/7", 2), parse_set("x < 3/7", 2)
    on = sum(Fraction(3 * n, 7) % 1 == Fraction(3, 7) for n in range(771))
    assert on > 0
    assert count(closed, orbit, 0, 770).count == count(opened, orbit, 0, 770).count + on


def test_points_too_near_for_the_stored_bits_get_more():
    region = parse_set("x >= 1/2", 1)
    # Point 10⁹ is 2^-500 beside the boundary, on a side that the 64 stored bits do not know.
    for side in (1, -1):
        alpha = Frequency.named("golden").fractions(900)[0]
        theta = (Fraction(1, 2) - 10**9 * alpha + Fraction(side, 2**500)) % 1
        orbit = Kronecker("golden", theta, bits=64)
        for method in ("enumerate", "floor_sum", "lattice"):
            found = count(region, orbit, 10**9, 10**9, method)
            assert (found.count, found.certified, found.rechecked) == (int(side > 0), True, 1)
        assert not count(region, orbit, 10**9, 10**9, "enumerate", exact=False).certified


def test_too_few_bits_are_refused_and_said():
    region, (golden,) = parse_set("x >= 1/2", 1), Frequency.named("golden").components
    # θ = 1/2 − 10⁹ α, as a number without an end: no number of bits shows that the point is on the boundary.
    theta = golden.times(-(10**9)).plus(Number.of("1/2"))
    for method in ("enumerate", "floor_sum"):
        with pytest.raises(UsageError, match=r"64 bits are too few.*use more bits"):
            count(region, Kronecker("golden", [theta], bits=64), 10**9 - 5, 10**9 + 5, method)
    with pytest.raises(UsageError, match=r"64 bits are too few.*known to 5.4e-08"):
        count(region, Kronecker("golden", bits=64), 0, 10**12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, -1), "N = -1 is below n0 = 0"),
        ((0, 2**63), "2\\^63"),
        ((0, 10, "floor"), "choose one of"),
        ((0, 10, "floor_sum"), "dimension 1"),
    ],
)  # fmt: skip
def test_refusals(arguments, words):
    with pytest.raises(UsageError, match=words):
        count(parse_set("x < y", 2), Kronecker("cubic"), *arguments)


def test_dimensions_must_agree():
    with pytest.raises(UsageError, match="b = 1 dimensions, but the sequence 2"):
        count(parse_set("x < 1/2", 1), Kronecker("cubic"), 0, 10)
    with pytest.raises(UsageError, match="too uneven"):
        count(parse_set("x < y", 2), Kronecker("1/3,2/5", allow_resonant=True), 0, 10**7, "lattice")
    with pytest.raises(UsageError, match="increasing"):
        running_counts(parse_set("x < 1/2", 1), Kronecker("golden"), [10, 5])
