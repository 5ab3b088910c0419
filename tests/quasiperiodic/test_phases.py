"""Phases of the lattice: exact integers, translation, skew shifts, relations."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.phases import (
    BITS,
    fixed_point,
    integer_relation,
    lattice_orbit,
    skew_orbit,
    to_unit,
)

ONE = 1 << 64


def test_numbers_are_read_exactly() -> None:
    assert fixed_point(0.375) == 3 << 61
    assert fixed_point(Fraction(2, 3)) == 2 * ONE // 3
    assert fixed_point("2/3") == fixed_point(Fraction(2, 3))
    assert fixed_point("-0.25") == 3 << 62
    assert fixed_point("sqrt(2)") == fixed_point("silver")
    assert abs(fixed_point("cbrt2") / ONE - (2 ** (1 / 3) - 1)) < 1e-15
    assert abs(fixed_point("pi") / ONE - (np.pi - 3)) < 1e-15
    # x = ⌊golden · 2⁶⁴⌋ is the integer part of the positive root of x² + 2⁶⁴ x = 2¹²⁸.
    x = fixed_point("golden")
    assert x * x + x * ONE <= ONE * ONE < (x + 1) ** 2 + (x + 1) * ONE


@pytest.mark.parametrize("bad", ["goldne", float("nan"), float("inf"), "1/0", object(), "sqrt(x)", "nan"])
def test_what_is_no_number_is_refused(bad: object) -> None:
    with pytest.raises(UsageError):
        fixed_point(bad)


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UsageError, match="did you mean 'golden'"):
        fixed_point("goldne")


@settings(max_examples=25, deadline=None)
@given(st.integers(-(10**15), 10**15), st.integers(-(10**9), 10**9))
def test_lattice_phases_are_exact_integers(a: int, b: int) -> None:
    orbit = lattice_orbit([["sqrt(2)", "sqrt(3)"], ["sqrt(5)", "golden"]], (0.25, "1/3"))
    (first,) = orbit.theta
    found = orbit.phases([a, b], [2, 3]).reshape(2, 3, 2)
    spare = BITS - 64
    for i in range(2):
        for j in range(3):
            for k in range(2):
                exact = (first[k] << spare) + (a + i) * orbit.omega[0][k] + (b + j) * orbit.omega[1][k]
                # The top words of the two axes are added: a carry from below is lost at most twice.
                assert ((exact % (1 << BITS) >> spare) - int(found[i, j, k])) % ONE in {0, 1, 2}


@pytest.mark.parametrize("start", [0, 1000, -37])
def test_skew_shift_closed_form_equals_iteration(start: int) -> None:
    orbit = skew_orbit("golden", (0.1, "1/7", 0.3))
    bits = orbit.bits(start, 2000)
    omega, *theta = (x.rounded(bits) for x in (orbit.frequency, *orbit.theta[0]))
    steps, one = orbit.phases([start], [2000]), 1 << bits
    # The first point at all its bits, by the closed form with generalised binomials; then the map.
    x = [sum(_binomial(start, j) * ([*theta[:k][::-1], omega][j]) for j in range(k + 1)) % one for k in (1, 2, 3)]
    for n in range(2000):
        assert [int(v) for v in steps[n]] == [v >> bits - 64 for v in x]
        x = [(x[0] + omega) % one, (x[1] + x[0]) % one, (x[2] + x[1]) % one]
    # Random access: the closed form with binomials.
    n = start + 1234
    if n >= 0:
        closed = (theta[2] + comb(n, 1) * theta[1] + comb(n, 2) * theta[0] + comb(n, 3) * omega) % one
        assert int(steps[1234, 2]) == closed >> bits - 64


def _binomial(n: int, k: int) -> int:
    return comb(n, k) if n >= 0 else (-1) ** k * comb(k - n - 1, k)


def test_batches_of_theta() -> None:
    orbit = lattice_orbit("golden").at([[0.1], [0.2]])
    found = orbit.phases([-2], [5])
    assert found.shape == (2, 5, 1)
    for row, theta in enumerate((0.1, 0.2)):
        assert (found[row] == lattice_orbit("golden", theta).phases([-2], [5])).all()


def test_gauge_a_shift_of_theta_is_a_translation() -> None:
    # θ → θ + ω translates the potential by one site, exactly.
    operator = presets.aubry_andre(1.7, "golden", 0.0)
    moved = operator.at(Fraction(fixed_point("golden"), ONE))
    assert np.abs(moved.values([-20], [41]) - operator.values([-19], [41])).max() < 1e-15


def test_far_windows_are_right() -> None:
    n = 10**9
    exact = (n * Fraction(fixed_point("golden", 200), 1 << 200)) % 1
    found = to_unit(lattice_orbit("golden").phases([n], [1]))[0, 0]
    assert abs(found - float(exact)) < 2.0**-52  # 128 bits: n costs nothing


@pytest.mark.parametrize(
    ("omega", "relation"),
    [
        (["sqrt(2)", "sqrt(8)"], "2·ω1 + -1·ω2"),
        ("377/610", "610·ω1"),
        (0.2, "5·ω1"),
        (["sqrt(2)", "1/3"], "3·ω2"),
    ],
)
def test_dependent_frequencies_name_their_relation(omega: object, relation: str) -> None:
    with pytest.raises(UsageError) as error:
        lattice_orbit(omega)
    assert relation in str(error.value)
    assert "allow_resonant=True" in str(error.value)
    assert lattice_orbit(omega, allow_resonant=True).dim == 1


def test_independent_frequencies_have_no_relation() -> None:
    for omega in ("golden", ["sqrt(2)", "sqrt(3)"], ["cbrt(2)", "cbrt(4)", "pi"], [["golden", 0], [0, "silver"]]):
        assert integer_relation(lattice_orbit(omega).omega) is None


def test_shapes_are_checked() -> None:
    with pytest.raises(UsageError, match="no matrix"):
        lattice_orbit([["golden"], ["golden", "silver"]])
    with pytest.raises(UsageError, match=r"T\^2: give 2"):
        lattice_orbit(["golden", "silver"], (0.1, 0.2, 0.3))
    with pytest.raises(UsageError, match="no rational approximant"):
        presets.skew_shift(1.0).ring(13)
