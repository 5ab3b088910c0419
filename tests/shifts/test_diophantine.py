"""Continued fractions, best approximations and Diophantine classes, against fixtures and brute force."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.shifts import (
    Frequency,
    best_dual,
    best_simultaneous,
    certify_wdc,
    continued_fraction,
    estimate_dc,
    khintchine_transfer,
    relation,
)
from tenfold.shifts.reduction import in_box, reduce
from tests.conftest import FIXTURES

CASES = json.loads((FIXTURES / "quasiperiodic" / "diophantine.json").read_text())


def omega(case):
    return [case["omega"]] if isinstance(case["omega"], str) else case["omega"]


@pytest.mark.parametrize("name", CASES)
def test_fixture(name):
    case = CASES[name]
    found = best_simultaneous(omega(case), 20_000)
    expected = case["best_simultaneous_sup_norm"]
    assert list(found.sizes) == [n for n, _ in expected]
    assert all(abs(d - Fraction(e)) < Fraction(1, 10**18) for d, (_, e) in zip(found.distances, expected, strict=True))
    dual = best_dual(omega(case), case["dual_searched_radius"])
    assert [[s, list(k)] for s, k in zip(dual.sizes, dual.vectors, strict=True)] == [
        r[:2] for r in case["best_dual_linf"]
    ]
    rows = zip(dual.distances, case["best_dual_linf"], strict=True)
    assert all(abs(d - Fraction(e[2])) < Fraction(1, 10**18) for d, e in rows)
    assert ("cf" in case) == (name == "golden")
    if name == "golden":
        fraction = continued_fraction(omega(case)[0], 25)
        assert list(fraction.quotients) == case["cf"]
        assert [[str(p), str(q)] for p, q in fraction.convergents] == case["convergents"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 2**53 - 1), min_size=1, max_size=3))
def test_lattice_records_are_brute_force_records(numerators):
    alpha = Frequency.from_phases([n << 11 for n in numerators])
    found, brute = best_simultaneous(alpha, 3000), best_simultaneous(alpha, 3000, "brute")
    assert found.sizes == brute.sizes
    assert found.distances == brute.distances


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 2**53 - 1), min_size=2, max_size=2))
def test_dual_records_are_brute_force_records(numerators):
    alpha, one = [n << 11 for n in numerators], 2**64
    best, expected = one, []
    for radius in range(1, 13):
        shell = [k for k in itertools.product(range(-radius, radius + 1), repeat=2) if max(map(abs, k)) == radius]
        value = min(min(sum(a * b for a, b in zip(k, alpha, strict=True)) % one,
                        -sum(a * b for a, b in zip(k, alpha, strict=True)) % one) for k in shell)  # fmt: skip
        if value < best:
            best = value
            expected.append((radius, Fraction(value, one)))
    found = best_dual(Frequency.from_phases(alpha), 12)
    assert list(zip(found.sizes, found.distances, strict=True)) == expected


@pytest.mark.parametrize("name", ["golden", "silver", "pi", "e", "liouville:2,3,50,4,20000,3,7,9"])
def test_convergents_approximate_as_they_must(name):
    alpha = Frequency.named(name).fractions(512)[0]
    pairs = continued_fraction(name, 30).convergents
    for (p, q), (_, q_next) in itertools.pairwise(pairs[1:]):
        error = abs(alpha - Fraction(p, q))
        assert Fraction(1, q * (q + q_next)) < error < Fraction(1, q * q_next)


def test_a_continued_fraction_stops_where_its_bits_do():
    short = continued_fraction("0.61803398", 60)
    assert short.exhausted
    assert set(short.quotients[1:-1]) == {1}
    assert continued_fraction("13/21", 60).complete
    assert not continued_fraction("golden", 60).exhausted
    assert continued_fraction(0.1, 60).quotients[:2] == (0, 9)
    with pytest.raises(UsageError, match="one number"):
        continued_fraction("cubic")


def test_relations():
    assert relation("sqrt2,sqrt8") == (2, -1)
    assert relation("3/7,5/11") == (7, 0)
    assert relation([0.1, 0.3]) == (3, -1)
    for name in ("golden", "cubic", "pi", "richtmyer:4", "sqrt2,sqrt3"):
        assert relation(name) is None


def test_certificates():
    good = certify_wdc("golden", 0.38, 1, 10**12)
    assert good
    assert good.closest == 1
    assert abs(good.constant - 0.3819660112501051) < 1e-12
    bad = certify_wdc("liouville:2,3,50,4,20000,3,7,9", 0.3, 1, 10**5)
    assert not bad
    n, distance = bad.violation, best_simultaneous("liouville:2,3,50,4,20000,3,7,9", 10**5).smallest
    assert float(distance(n)) * n < 0.3
    with pytest.raises(UsageError, match="positive"):
        certify_wdc("golden", 0, 1, 10)


def test_estimates_say_consistent_with_and_satisfy_transference():
    simultaneous, dual = estimate_dc("cubic", "simultaneous", 10**9), estimate_dc("cubic", "dual", 10**4)
    assert str(simultaneous).startswith("consistent with WDC")
    assert abs(simultaneous.tau_fit - 0.5) < 0.1
    assert abs(dual.tau_fit - 2) < 0.3
    low, high = khintchine_transfer(2, dual=max(2.0, dual.tau_fit))
    assert low - 0.1 <= simultaneous.tau_fit <= high + 0.1
    records = best_simultaneous("cubic", 10**9)
    floor = [simultaneous.kappa / n**simultaneous.tau for n in records.sizes]
    assert all(float(d) >= f * (1 - 1e-9) for d, f in zip(records.distances, floor, strict=True))
    with pytest.raises(UsageError, match="an estimate needs 3"):
        estimate_dc("cubic", "dual", 1)


def test_khintchine_is_symmetric_at_almost_every_frequency():
    for b in (1, 2, 5):
        assert np.allclose(khintchine_transfer(b, dual=float(b)), 1 / b)
        assert np.allclose(khintchine_transfer(b, simultaneous=1 / b), b)
    with pytest.raises(UsageError, match="at least b"):
        khintchine_transfer(2, dual=1.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-50, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_short_vectors_are_complete(rows):
    if round(np.linalg.det(np.array(rows, float))) == 0:
        return
    basis, transform = reduce(rows)
    assert (np.array(transform) @ np.array(rows) == np.array(basis)).all()
    assert abs(round(np.linalg.det(np.array(transform, float)))) == 1
    found = {tuple(v) for v, _ in in_box(rows, [20, 15, 10])}
    inverse = np.linalg.inv(np.array(rows, float))
    reach = np.ceil(np.abs(inverse).T @ np.array([20, 15, 10]) + 1e-9).astype(int)
    if np.prod(2 * reach + 1) > 200_000:
        return
    expected = set()
    for k in itertools.product(*(range(-r, r + 1) for r in reach)):
        v = np.array(k) @ np.array(rows)
        if v.any() and (np.abs(v) <= [20, 15, 10]).all():
            expected.add(tuple(int(x) for x in v))
    assert found | {tuple(-x for x in v) for v in found} == expected
    assert len(found) * 2 == len(expected)
