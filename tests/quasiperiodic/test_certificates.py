"""Bounds against the truth: exact fractions, 30 digits, larger boxes, the formulas of the proofs."""

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from math import cos, exp, log, pi, sqrt

import mpmath
import numpy as np
import pytest

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic import (
    evolve,
    green_columns,
    lattice_orbit,
    lyapunov_exponents,
    presets,
    theta_scan,
    time_averaged,
    transport_bound,
)
from tenfold.quasiperiodic import hopping as hoppings
from tenfold.quasiperiodic.dynamics.bound import transfer_bound
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.operators.phases import fixed_point, to_unit
from tenfold.quasiperiodic.operators.potentials import TrigPolynomial
from tenfold.quasiperiodic.operators.states import supports
from tenfold.quasiperiodic.propagation.front import fronts, truncation_bound
from tenfold.shifts import Frequency
from tests.quasiperiodic.systems import random_operator


def digits(lam: float, reach: int, times: list[float], theta: float) -> np.ndarray:
    """ψ(t) of the Aubry-André box from δ₀, to 40 digits."""
    with mpmath.workdps(40):
        n, alpha = 2 * reach + 1, (mpmath.sqrt(5) - 1) / 2
        matrix = mpmath.zeros(n)
        for i in range(n):
            matrix[i, i] = 2 * lam * mpmath.cos(2 * mpmath.pi * (theta + (i - reach) * alpha))
            if i:
                matrix[i, i - 1] = matrix[i - 1, i] = 1
        energies, vectors = mpmath.eigsy(matrix)
        found = []
        for t in times:
            turned = [mpmath.expj(-t * energies[k]) * vectors[reach, k] for k in range(n)]
            found.append([complex(mpmath.fsum(vectors[i, k] * turned[k] for k in range(n))) for i in range(n)])
        return np.array(found)


@pytest.mark.parametrize(("lam", "reach"), [(2.0, 9), (0.7, 7)])
def test_error_bounds_contain_rounding(lam: float, reach: int) -> None:
    times = [1.0, 1e2, 1e6, 1e12]
    exact = digits(lam, reach, times, 0.2)
    box = presets.aubry_andre(lam, theta=0.2).box(reach)
    for method, most in (("dense", 4), ("chebyshev", 2), ("lanczos", 2)):
        for i, t in enumerate(times[:most]):
            done = evolve(box, None, [t], method=method)
            assert np.linalg.norm(done.psi[0] - exact[i]) <= done.error_bound < 1e-13 + 1e-12 * max(1, 10 * t)
            assert done.to_dict()["error_bound"] == sum(done.parts.values())
            assert done.parts["rounding"] > 0
    with pytest.raises(UsageError, match="cannot tell apart"):
        evolve(box, None, [1e15])


@pytest.mark.parametrize("method", ["chebyshev", "lanczos", "dense"])
def test_a_large_constant_turns_phases(method: str) -> None:
    # e^{−it(H + c)} = e^{−itc} e^{−itH}: only the phase differs, and it is rounded.
    plain = presets.aubry_andre(1.0)
    moved = LongRange(plain.hopping, TrigPolynomial([[1]], [2.0], [0.0], 3e6 + 0.3), plain.orbit, 1.0)
    found, exact = (evolve(o.box(20), None, [7.0], method=method) for o in (moved, plain))
    turned = exact.psi * complex(mpmath.expj(-7 * mpmath.mpf(3e6 + 0.3)))
    assert np.linalg.norm(found.psi - turned) <= found.error_bound + exact.error_bound


@pytest.mark.parametrize("n", [10**9, -(10**12), 2**62])
@pytest.mark.parametrize("b", [1, 2, 4])
def test_skew_shifts_are_right_anywhere(n: int, b: int) -> None:
    theta = (Fraction(1, 7), Fraction(0.3), Fraction(2, 11), Fraction(1, 3))[:b]
    x = [Fraction(fixed_point("golden", 512), 1 << 512), *theta]
    binomials = [1]
    for j in range(b):
        binomials.append(binomials[-1] * (n - j) // (j + 1))
    exact = sum(binomials[j] * x[b - j] for j in range(b + 1)) % 1
    box = presets.skew_shift(1.0, "golden", theta).box(1, n)
    assert abs(box.potential[1] - 2 * cos(2 * pi * float(exact))) <= max(box.potential_error, 1e-15) < 1e-14


def test_far_skew_shifts_evolve_within_their_bound() -> None:
    n = 10**9
    far = evolve(presets.skew_shift(1.0), {n: 1.0}, [3.0], centre=n)
    alpha = Fraction(fixed_point("golden", 512), 1 << 512)
    values = [2 * cos(2 * pi * float(m * (m - 1) // 2 * alpha % 1)) for m in range(n - far.reach, n + far.reach + 1)]
    size = len(values)
    energies, vectors = np.linalg.eigh(np.diag(values) + np.eye(size, k=1) + np.eye(size, k=-1))
    exact = (vectors * np.exp(-3j * energies)) @ vectors[far.reach]
    assert np.linalg.norm(far.psi[0] - exact) < far.error_bound + 1e-13


def test_one_reader_of_frequencies() -> None:
    for name in ("cubic", "rd:3", "richtmyer:2", "liouville:1,1000", "plastic", "sqrt2,sqrt3", "golden"):
        orbit = lattice_orbit(name)
        assert orbit.omega == (Frequency.of(name).fixed(128),)
        assert np.allclose(to_unit(orbit.phases([1], [1]))[0], Frequency.of(name).floats())
    assert presets.multi_frequency(1.0, "cubic").orbit == lattice_orbit("cubic")


def test_the_truncation_bound_in_the_plane() -> None:
    # Hopping 1 and 0.02: the root of a sum of squares, each axis with its own 1/S, is below what the proof gives.
    hopping = hoppings.symmetric([[1, 0], [0, 1]], [1.0, 0.02])
    table, (phi,) = fronts(hopping), supports(None, (0, 0))
    for reach in ((450, 24), (440, 30), (460, 460)):
        bound = truncation_bound(table, 200.0, reach, phi)
        # The proof's formula at any rates, here on a grid: the bound is one of its values, so not below their minimum.
        best = min(
            sqrt(sum((sqrt(2) * exp(200 * 2 * a * np.sinh(m) - m * (n + 1))) ** 2 for a, m, n in rates))
            * (1 + 2.04 * min(200, 1 / min(2 * a * np.sinh(m) for a, m, _ in rates)))
            for x in np.linspace(0.05, 3, 120)
            for y in np.linspace(0.05, 6, 120)
            for rates in [((1.0, x, reach[0]), (0.02, y, reach[1]))]
            if 400 * np.sinh(x) - x * (reach[0] + 1) < 0 and 8 * np.sinh(y) - y * (reach[1] + 1) < 0
        )
        assert bound >= best * 0.98
    for seed in range(4):
        operator = random_operator(seed, 2, 1)
        done = evolve(operator, {(0, 0): 1.0}, [1.5], tol=1e-4)
        wide = evolve(operator.box(done.reach + 6), {(0, 0): 1.0}, [1.5])
        inner = np.zeros(wide.box.size, dtype=np.complex128)
        inner[[wide.box.index(n) for n in done.box.sites]] = done.psi[0]
        assert np.linalg.norm(wide.psi[0] - inner) <= done.error_bound


@pytest.mark.parametrize("kind", ["abel", "gaussian"])
def test_averages_meet_their_tolerance_at_its_default(kind: str) -> None:
    # The free particle: ⟨X²⟩ = 2t² and ⟨X⁴⟩ = 6t⁴ + 2t², averaged.
    T = 2.0
    second = {"abel": T**2, "gaussian": T**2}[kind]
    fourth = {"abel": 9 * T**4 + T**2, "gaussian": 4.5 * T**4 + T**2}[kind]
    done = time_averaged(presets.free(), None, T, [2.0, 4.0], kind=kind, method="quadrature", box=110)
    assert done.moments[0] == pytest.approx([second, fourth], rel=2e-12)
    assert done.error_bound < 1.2e-12


@pytest.mark.parametrize("method", ["eig", "resolvent", "quadrature"])
def test_bounds_of_averages_scale_with_the_state(method: str) -> None:
    box = presets.aubry_andre(1.1, theta=0.23).box(8)
    with mpmath.workdps(30):
        matrix = mpmath.matrix(box.dense().tolist())
        energies, vectors = mpmath.eigsy(matrix)
        for T in (3.0,) if method == "quadrature" else (3.0, 1e3):
            exact = np.zeros(box.size)
            for i in range(box.size):
                c = [vectors[8, k] * vectors[i, k] for k in range(box.size)]
                exact[i] = mpmath.fsum(
                    c[j] * c[k] / (1 + ((energies[j] - energies[k]) * T / 2) ** 2)
                    for j in range(box.size)
                    for k in range(box.size)
                )
            done = time_averaged(box, {0: 100.0}, T, method=method)
            wrong = np.abs(done.probabilities[0] - 1e4 * exact).sum()
            assert wrong <= done.error_bound < 1e-4


def test_transfer_products_at_any_coupling() -> None:
    for lam in (1e20, 1e80, 1e140):
        found = lyapunov_exponents(presets.aubry_andre(lam), 0.3, 4096)
        assert found.largest == pytest.approx(log(lam), rel=1e-3)
        assert transfer_bound(presets.aubry_andre(lam), 10.0, 5, 50).value == pytest.approx(0.0)
    with pytest.raises((UsageError, TenfoldError)):
        lyapunov_exponents(presets.aubry_andre(1e200), 0.3, 512)


def test_the_smaller_exponents_survive_large_couplings() -> None:
    # Two steps at a time, H = A + λ v of range 2 is two blocks of range 1: with only a_2, sites of one parity.
    for lam in (30.0, 1e4):
        plain = presets.aubry_andre(lam, theta=0.1)
        both = LongRange(hoppings.symmetric([1, 2], [1e-9, 1.0]), plain.potential, plain.orbit, lam)
        found = lyapunov_exponents(both, 0.3, 8192)
        assert found.exponents == pytest.approx([log(lam) / 2] * 2, abs=0.02 + 0.01 * log(lam))
    with pytest.raises(TenfoldError, match="smaller exponents"):
        lyapunov_exponents(replace(both, lam=1e80), 0.3, 512)


def test_good_boxes_are_where_they_are_said_to_be() -> None:
    for quotients in ([0] + [1] * 40, [0, 3, 1, 40, 2, 7, 1, 1, 9, 30, 4], [0, 2, 90, 90, 90]):
        for side, q, s in ((2, 1.0, 0.1), (2, 1.0, 0.9), (3, 1.5, 0.5), (5, 1.0, 0.9)):
            found = transport_bound(1, q, s, quotients=quotients, side=side)
            if found.good_within is None:
                assert "no good box is guaranteed" in found.reason
                continue
            # Attack: M^q + 1 intervals around points of the orbit, as wide as the measure allows.
            alpha = Fraction(0)
            for a in reversed(quotients[1:]):
                alpha = 1 / (a + alpha)
            count, width = int(side**q) + 1, exp(-(side**s)) / (int(side**q) + 1)
            points = np.sort([float(n * alpha % 1) for n in range(int(found.good_within) + 1)])
            starts, covered = [], 0
            for _ in range(count):
                ends = np.searchsorted(points, points + width, side="right") - np.arange(len(points))
                if not len(points):
                    break
                best = int(np.argmax(ends))
                starts.append(best)
                covered += int(ends[best])
                points = np.delete(points, slice(best, best + int(ends[best])))
            assert covered < int(found.good_within) + 1


def test_what_a_kernel_cuts_off_is_bounded() -> None:
    for dim, rate in ((1, 0.3), (2, 0.7), (3, 1.0)):
        kernel = hoppings.Kernel(lambda n, m: np.zeros(len(n)), 2, 0.5, rate, dim)
        shells = np.arange(3, 400)
        exact = (0.5 * ((2.0 * shells + 1) ** dim - (2.0 * shells - 1) ** dim) * np.exp(-rate * shells)).sum()
        assert exact <= kernel.tail < 2.5 * exact
    assert hoppings.Kernel(lambda n, m: np.zeros(len(n)), 2, 0.5, 1e-7).tail == np.inf


def test_certificates_of_estimated_hoppings_are_estimates() -> None:
    hopping = hoppings.from_symbol(lambda k: 1 / (2 - np.cos(k)), 10)
    done = evolve(LongRange(hopping), None, [1.0], tol=1e-3)
    assert done.certificate == "estimate"
    assert done.parts["truncated_hopping"] > 0
    assert time_averaged(LongRange(hopping), None, 1.0).certificate == "estimate"


def test_what_is_kept_is_all_that_is_held() -> None:
    operator = presets.aubry_andre(0.6, theta=0.1)
    times = np.linspace(-3, 9, 30)

    def keep(box: object, states: np.ndarray) -> np.ndarray:
        assert states.shape[0] <= 30
        return (np.abs(states) ** 2) @ box.distance()[:, None] ** 2

    for box, method in (("certified", "chebyshev"), ("certified", "dense"), ("adaptive", "chebyshev"), (60, "lanczos")):
        whole = evolve(operator, None, times, box=box, method=method)
        kept = evolve(operator, None, times, box=box, method=method, keep=keep)
        assert kept.psi.shape == (30, 1)
        assert np.abs(kept.psi[:, 0] - whole.moments(2.0)).max() < 1e-9
        assert kept.edge_mass == pytest.approx(whole.edge_mass, abs=1e-20)
        with pytest.raises(UsageError, match="were not kept"):
            kept.norms()


def test_panels_end_where_memory_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    operator, times = presets.aubry_andre(0.6), np.linspace(0.5, 9, 11)
    whole = evolve(operator, None, times, method="chebyshev")
    for module in ("methods", "panels", "adaptive"):
        monkeypatch.setattr(f"tenfold.quasiperiodic.propagation.{module}.most_times", lambda size: 3)
    for box in ("certified", "adaptive"):
        parts = evolve(operator, None, times, method="chebyshev", box=box)
        assert np.abs(parts.moments(2.0) - whole.moments(2.0)).max() < 1e-9
        assert parts.error_bound < 1e-11


_CHAIN, _LONG, _PLANE = (
    presets.aubry_andre(0.7, theta=0.3),
    presets.exponential_hopping(1.0),
    presets.lattice_cosines(0.5),
)
SMALL = {
    "one site": _CHAIN.box(0),
    "three sites": _CHAIN.box(1),
    "no hopping": LongRange(hoppings.Hopping([0], [0.3]), _CHAIN.potential, _CHAIN.orbit).box(2),
    "no hopping, one site": LongRange(hoppings.Hopping([0], [0.3]), _CHAIN.potential, _CHAIN.orbit).box(0),
    "shorter than the hopping": presets.exponential_hopping(1.0).box(1),
    "complex": LongRange(hoppings.symmetric([1, 2], [1j, 0.3]), _CHAIN.potential, _CHAIN.orbit).box(3),
    "a plane's site": _PLANE.box(0),
    "a plane's line": _PLANE.box((2, 0)),
    "a ring": _CHAIN.ring(8),
    "a batch": _CHAIN.at([[0.1], [0.2]]).box(2),
}


@pytest.mark.parametrize("name", SMALL)
def test_every_method_on_small_boxes(name: str) -> None:
    box = SMALL[name]
    exact = evolve(box, None, [1.0, -2.0], method="dense")
    for method in ("auto", "chebyshev", "lanczos"):
        done = evolve(box, None, [1.0, -2.0], method=method)
        assert np.abs(done.psi - exact.psi).max() <= done.error_bound + exact.error_bound
    if box.potential.ndim == 1:
        averages = [time_averaged(box, None, 2.0, method=m).probabilities for m in ("eig", "resolvent", "quadrature")]
        assert np.abs(averages[0] - averages[1:]).max() < 1e-11
        solved = []
        for method in ("auto", "dense", "banded", "strips"):
            with suppress(UsageError):
                solved.append(green_columns(box, 0.1 + 1j, method=method))
        assert all(np.abs(one - solved[0]).max() < 1e-12 for one in solved)


def test_days_are_refused_before_they_start() -> None:
    for days in (
        lambda: evolve(presets.free().box(5000), None, [1e11]),
        lambda: time_averaged(presets.free().box(5000), None, 1e11, method="quadrature"),
        lambda: theta_scan(presets.aubry_andre(2.0), 900, 0.3, np.linspace(0, 1, 10**5), 0.5, 0.5),
        lambda: transfer_bound(presets.free(), 1e5, 10**7),
        lambda: lyapunov_exponents(presets.free(), 0.3, 10**12),
    ):
        with pytest.raises(UsageError, match="days"):
            days()
