"""Green's functions, good boxes, determinants, Lyapunov exponents: fixtures, closed forms, agreement, bad input."""

import json
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import exponential, nearest_neighbour, symmetric
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.spectral.goodbox import determinant_of, determinant_scan, good_box, theta_grid, theta_scan
from tenfold.quasiperiodic.spectral.green import green_columns, green_decay, green_entry, solver
from tenfold.quasiperiodic.spectral.lyapunov import lyapunov_exponents
from tests.quasiperiodic.systems import CASES, chain, fixture, plane, random_operator, random_state, seeds


class TestGreen:
    @pytest.mark.parametrize("name", CASES)
    def test_chain_of_the_fixtures(self, name: str) -> None:
        z = fixture(name)
        box = chain(z).box(int(z["L"]))
        for method in ("auto", "dense", "banded"):
            assert np.abs(green_columns(box, z["greens_z"], method=method) - z["greens_col0"]).max() < 1e-10

    @settings(max_examples=10, deadline=None)
    @given(seeds, st.booleans())
    def test_ways_agree_and_solve(self, seed: int, complex_: bool) -> None:
        box = random_operator(seed, 2, 1 + seed % 2, complex_).box((5, 3))
        z, sources = [0.3 + 0.2j, -1.0 - 0.01j], [(0, 0), (2, -1)]
        exact = green_columns(box, z, sources, "dense")
        assert exact.shape == (2, 2, box.size)
        assert np.abs(green_columns(box, z, sources, "strips") - exact).max() < 1e-10
        residual = exact[0] @ box.dense().T - z[0] * exact[0]
        for row, source in enumerate(sources):
            unit = np.zeros(box.size)
            unit[box.index(source)] = 1
            assert np.abs(residual[row] - unit).max() < 1e-11
        assert green_entry(box, z[0], (1, 1), (0, 0)) == pytest.approx(exact[0, 0, box.index((1, 1))], rel=1e-10)

    @pytest.mark.parametrize(
        "operator", [presets.aubry_andre(1.1), chain(fixture("dense1d_case1"))], ids=["nn", "long"]
    )
    def test_many_energies_at_once(self, operator: LongRange) -> None:
        for box in (operator.box(40), operator.ring(31, approximant=False)):
            state = random_state(1, box.size)
            z = np.array([0.1 + 0.01j, 2.0 + 1e-4j, -0.5 - 0.3j])
            found = solver(box, state)(z)
            exact = [np.linalg.solve(box.dense() - e * np.eye(box.size), state) for e in z]
            assert np.abs(found - exact).max() < 1e-9

    def test_decay_is_the_lyapunov_exponent_outside_the_spectrum(self) -> None:
        # Free, E = 3: |G(0, n)| ∝ e^{−n arccosh(3/2)} exactly.
        fit = green_decay(presets.free().box(60), 3.0)
        assert abs(fit.rate - presets.free_lyapunov(3.0)) < 1e-9
        assert fit.residual < 1e-9
        assert json.loads(json.dumps(fit.to_dict()))["window"] == [15.0, 45.0]
        assert abs(green_decay(presets.aubry_andre(3.0).box(300), 0.1 + 1e-3j).rate - log(3)) < 0.05

    def test_bad_input(self) -> None:
        box = presets.free().box(10)
        for wrong, words in (
            (lambda: green_columns(box, 1j, method="band"), "did you mean 'banded'"),
            (lambda: green_columns(presets.free().ring(9), 1j, method="banded"), "use 'dense'"),
            (lambda: green_columns(box, 1j, method="strips"), "use 'banded'"),
            (lambda: green_columns(box, 1j, 11), "outside the box"),
            (lambda: green_columns(LongRange(nearest_neighbour()).box(1), 0.0, method="dense"), "is an eigenvalue"),
            (lambda: green_decay(box, 1j, window=(3, 4)), "needs 4"),
            (lambda: green_columns(presets.aubry_andre(1.0, theta=[[0.1], [0.2]]).box(5), 1j), "one operator"),
        ):
            with pytest.raises(UsageError, match=words):
                wrong()


class TestGoodBoxes:
    def test_strong_coupling_is_good_and_free_is_not(self) -> None:
        good = good_box(presets.aubry_andre(20.0, theta=0.2).box(30), 0.5, 1.0, 0.5)
        assert good.good
        assert good.rate > 1.0
        assert good.norm <= good.norm_bound == pytest.approx(np.exp(61**0.5))
        assert not good_box(presets.free().box(30), 0.5, 0.1, 0.5).good
        assert json.loads(json.dumps(good.to_dict()))["good"] is True

    def test_conditions_are_what_they_say(self) -> None:
        box = presets.aubry_andre(3.0, theta=0.37).box(8)
        test = good_box(box, 0.2, 0.3, 0.5)
        green = np.linalg.inv(box.dense() - 0.2 * np.eye(17))
        assert test.norm == pytest.approx(1 / np.abs(np.linalg.eigvalsh(box.dense()) - 0.2).min())
        rates = [-log(abs(green[i, j])) / abs(i - j) for i in range(17) for j in range(17) if abs(i - j) >= 1.7]
        assert test.rate == pytest.approx(min(rates))

    def test_scan(self) -> None:
        operator = presets.aubry_andre(3.0)
        scan = theta_scan(operator, 6, 0.2, theta_grid(40), 0.4, 0.4)
        assert scan.good.tolist() == [
            good_box(operator.at(float(t)).box(6), 0.2, 0.4, 0.4).good for t in scan.theta[:, 0]
        ]
        assert 0 < scan.bad_fraction < 1
        assert scan.to_dict()["points"] == 40

    @pytest.mark.parametrize(
        "operator",
        [
            presets.aubry_andre(2.0),
            presets.multi_frequency(1.5, hopping=symmetric([1, 2], [1.0, 0.3 - 0.4j])),
            presets.multi_frequency(1.5),
        ],
        ids=["nn", "long", "two"],
    )
    def test_determinants(self, operator: LongRange) -> None:
        assert operator.orbit is not None
        theta = theta_grid(4, operator.orbit.torus)
        scan = determinant_scan(operator, 9, 0.3, theta)
        for row, t in enumerate(theta):
            matrix = operator.at(t.tolist()).box(4, centre=4).dense() - 0.3 * np.eye(9)
            sign, size = np.linalg.slogdet(matrix)
            assert scan.log_abs[row] == pytest.approx(size, abs=1e-10)
            assert scan.sign[row] == pytest.approx(np.real(sign))
        sign, size = determinant_of(operator, 9, 0.3)(theta)
        assert np.array_equal(sign, scan.sign)
        assert np.array_equal(size, scan.log_abs)
        assert scan.degree == 9
        sub = scan.sublevel(0.5)
        assert sub["level"] == -3.0
        assert sub["fraction"] == np.mean(scan.log_abs < -3.0)

    def test_determinants_do_not_overflow(self) -> None:
        scan = determinant_scan(presets.aubry_andre(50.0), 2000, 0.0, theta_grid(3))
        assert np.isfinite(scan.log_abs).all()
        assert abs(scan.log_abs.mean() / 2000 - log(50)) < 0.02

    def test_bad_input(self) -> None:
        box = presets.aubry_andre(3.0).box(5)
        for wrong, words in (
            (lambda: good_box(box, 0.0, -1.0, 0.5), "rate above 0"),
            (lambda: good_box(box, 0.0, 1.0, 1.0), "0 < s < 1"),
            (lambda: good_box(presets.free().box(2000), 0.0, 1.0, 0.5), "4001 sites are more than 2000"),
            (lambda: theta_grid(0), "at least 1"),
            (lambda: determinant_scan(plane(fixture("dense2d")), 3, 0.0, theta_grid(2, 2)), "open chain"),
            (lambda: determinant_scan(presets.free(), 3, 0.0, np.zeros((0, 1))), "rows of phases"),
        ):
            with pytest.raises(UsageError, match=words):
                wrong()


class TestLyapunov:
    def test_aubry_andre(self) -> None:
        z = fixture("lyapunov")
        for lam, energy, exact in zip(
            z["am_lambda"], z["am_energy_near_spectrum"], z["am_lyapunov_in_spectrum"], strict=True
        ):
            found = lyapunov_exponents(presets.aubry_andre(lam), energy, 50_000)
            assert abs(found.largest - exact) < 2e-4
            assert presets.aubry_andre_lyapunov(lam) == pytest.approx(exact)
            length = presets.aubry_andre_localisation_length(lam)
            assert length == pytest.approx(z["am_loc_length"][z["am_lambda"] == lam][0])

    def test_maryland(self) -> None:
        z = fixture("lyapunov")
        lam = float(z["maryland_lambda"])
        exact = [presets.maryland_lyapunov(e, lam) for e in z["maryland_energy"]]
        assert np.abs(exact - z["maryland_lyapunov"]).max() < 1e-12
        found = lyapunov_exponents(presets.maryland(lam, theta=0.1234), z["maryland_energy"], 50_000)
        assert np.abs(found.largest - z["maryland_lyapunov"]).max() < 2e-4

    def test_free(self) -> None:
        z = fixture("lyapunov")
        found = lyapunov_exponents(presets.free(), z["free_energy"], 50_000)
        assert np.abs(found.largest - z["free_lyapunov"]).max() < 2e-5

    def test_a_batch_of_energies_and_thetas(self) -> None:
        found = lyapunov_exponents(presets.aubry_andre(2.0, theta=[[0.1], [0.7]]), [0.0, 0.3, 5.0], 2048)
        assert found.exponents.shape == found.standard_errors.shape == (3, 2, 1)
        single = lyapunov_exponents(presets.aubry_andre(2.0, theta=0.7), 0.3, 2048)
        assert single.exponents.shape == (1,)
        assert abs(found.exponents[1, 1, 0] - single.exponents[0]) < 1e-12

    def test_longer_ranges_complex_hopping_and_energy(self) -> None:
        # Constant coefficients: exponents are the logarithms of the roots of Σ a_m z^{−m} = E outside the circle.
        hopping = symmetric([1, 2], [1.0 + 0.5j, 0.4 - 0.2j])
        for energy in (3.9, 0.3 + 0.7j):
            a = {m: c for m, c in zip(hopping.offsets[:, 0].tolist(), hopping.coefs.tolist(), strict=True)}
            roots = np.roots([a[-2], a[-1], -energy, a[1], a[2]])
            exact = np.sort(np.log(np.abs(roots)))[::-1]
            found = lyapunov_exponents(LongRange(hopping), energy, 20_000)
            assert np.abs(found.exponents - exact[:2]).max() < 1e-3
            assert (found.exponents >= -1e-3).all()

    def test_exponents_of_the_dual_model(self) -> None:
        # Thouless: the sum of the exponents of the range-1 product grows with |a_R|; here against R = 1 itself.
        one = presets.multi_frequency(4.0, ["golden"], 0.1, symmetric([1], [2.0]))
        same = presets.multi_frequency(2.0, ["golden"], 0.1)
        a = lyapunov_exponents(one, 0.6, 20_480).largest
        b = lyapunov_exponents(same, 0.3, 20_480).largest
        assert abs(a - b) < 1e-12

    def test_standard_errors_shrink(self) -> None:
        operator = presets.maryland(1.0, theta=0.321)
        errors = [float(lyapunov_exponents(operator, 0.5, n).standard_errors[0]) for n in (1024, 32_768)]
        assert errors[1] < errors[0] / 3

    def test_bad_input(self) -> None:
        for wrong, words in (
            (lambda: lyapunov_exponents(plane(fixture("dense2d")), 0.0), "one-dimensional"),
            (lambda: lyapunov_exponents(presets.free(), 0.0, 100), "at least 512"),
            (lambda: lyapunov_exponents(presets.free(), np.nan), "not finite"),
        ):
            with pytest.raises(UsageError, match=words):
                wrong()

    def test_results_say_what_they_are(self) -> None:
        facts = lyapunov_exponents(LongRange(exponential(1.0, 1.0, radius=2)), [5.0, 6.0 + 1j], 512).to_dict()
        assert json.loads(json.dumps(facts))["energies"] == [[5.0, 0.0], [6.0, 1.0]]
