"""Bessel coefficients against many digits; front bounds against the evolution itself."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import exponential, nearest_neighbour, power_law
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.propagation.bessel import bessel, degree
from tenfold.quasiperiodic.propagation.chebyshev import coefficients
from tenfold.quasiperiodic.propagation.dense import diagonalise
from tenfold.quasiperiodic.propagation.front import coupling, front_radius, fronts, growth, symbol_sup
from tests.quasiperiodic.systems import random_operator, seeds


@pytest.mark.parametrize("z", [1e-9, 0.01, 0.7, 1.0, 2.0, 13.7, 212.25])
def test_bessel_against_many_digits(z: float) -> None:
    table = bessel(np.array([z, z / 3]))
    orders = np.unique(np.linspace(0, len(table) - 1, 12).astype(int))
    with mpmath.workdps(40):
        for column, argument in enumerate((z, z / 3)):
            exact = [float(mpmath.besselj(int(k), mpmath.mpf(argument))) for k in orders]
            assert np.abs(table[orders, column] - exact).max() < 1e-15
    assert abs(mpmath.besselj(degree(z), z)) < 1e-17


def test_bessel_at_the_longest_sweep() -> None:
    # The recurrence itself in 40 digits, from much further out.
    z = 9999.5
    table = bessel(np.array([z]))
    with mpmath.workdps(40):
        ahead, here = mpmath.mpf(0), mpmath.mpf(10) ** -40
        exact, total = {}, mpmath.mpf(0)
        for k in range(len(table) + 1500, 0, -1):
            ahead, here = here, 2 * k / mpmath.mpf(z) * here - ahead
            if k - 1 < len(table):
                exact[k - 1] = here
            total += 2 * here if (k - 1) % 2 == 0 and k > 1 else 0
        total += here
        found = np.array([float(exact[k] / total) for k in range(len(table))])
    assert np.abs(table[:, 0] - found).max() < 2e-14
    assert abs(found[-1]) < 1e-17


def test_negative_arguments_and_zero() -> None:
    table = bessel(np.array([-3.0, 3.0, 0.0]))
    signs = (-1.0) ** np.arange(len(table))
    assert np.array_equal(table[:, 0], signs * table[:, 1])
    assert table[0, 2] == 1.0
    assert not table[1:, 2].any()


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 300), st.floats(-1, 1))
def test_the_chebyshev_sum_is_the_exponential(z: float, x: float) -> None:
    table, rest = coefficients(np.array([z]), 1e-13)
    assert rest < 1e-13
    cosines = np.cos(np.arange(len(table)) * np.arccos(x))
    value = (table[0::2, 0] * cosines[0::2]).sum() - 1j * (table[1::2, 0] * cosines[1::2]).sum()
    assert abs(value - np.exp(-1j * z * x)) < 3e-13


def test_radii_of_the_free_particle() -> None:
    # S(μ) = 2 sinh μ: the minimum over μ of (2 t sinh μ + log 10¹²)/μ.
    h = nearest_neighbour()
    assert abs(growth(h, 0.7) - 2 * np.sinh(0.7)) < 1e-10
    assert front_radius(h, 50.0, 1e-12) == 145
    assert front_radius(h, 500.0, 1e-12) == 1096


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(1, 2))
def test_symbol_suprema_hold(seed: int, dim: int) -> None:
    hopping = random_operator(seed, dim, 3, True).hopping
    bound = symbol_sup(hopping.offsets, hopping.coefs)
    largest = np.abs(hopping.symbol([1024] if dim == 1 else [256, 256])).max()
    assert largest <= bound <= 1.09 * largest + 1e-12
    assert coupling(hopping) >= largest - 1e-12


@settings(max_examples=15, deadline=None)
@given(seeds, st.floats(0.1, 3.0), st.booleans())
def test_the_front_holds_for_every_potential(seed: int, time: float, complex_: bool) -> None:
    """|ψ_n(t)| ≤ e^{−μ|n| + tS(μ)} at the best μ for every n, in a box far larger than the front."""
    operator = random_operator(seed, 1, 2, complex_)
    (f,) = fronts(operator.hopping)
    box = operator.box(90)
    state = np.zeros(box.size)
    state[90] = 1.0
    psi = np.abs(diagonalise(box).evolve(state, np.array([time]))[0])
    bound = np.exp((-np.abs(box.sites) * f.mu + time * f.growth).min(1))
    assert (psi <= bound * (1 + 1e-9) + 1e-13).all()


def test_rates_outside_the_decay_are_refused() -> None:
    with pytest.raises(UsageError, match="below the hopping's decay rate 1"):
        growth(exponential(1.0, 1.0), 1.0)
    with pytest.raises(UsageError, match="mu is 0"):
        growth(nearest_neighbour(), 0.0)
    assert growth(power_law(1.0, 3.0, 10), 2.0) > 0


def test_a_finite_list_has_every_rate() -> None:
    assert fronts(presets.free().hopping)[0].mu[-1] == 8.0
    assert fronts(exponential(1.0, 0.5))[0].mu[-1] < 0.5
    assert len(fronts(LongRange(nearest_neighbour(3)).hopping)) == 3
