"""Exponents, model comparison, the logarithmic bound and the transfer diagnostic."""

import json
from math import log

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.quasiperiodic.dynamics.averages import time_averaged
from tenfold.quasiperiodic.dynamics.bound import transfer_bound, transport_bound
from tenfold.quasiperiodic.dynamics.evolution import evolve
from tenfold.quasiperiodic.dynamics.transport import line, transport_exponents
from tenfold.quasiperiodic.operators import presets
from tests.quasiperiodic.systems import fixture, plane

TIMES = np.geomspace(10.0, 1e4, 40)


class TestFits:
    def test_power_law(self) -> None:
        fit = transport_exponents(TIMES, 3.0 * TIMES**1.2, 2.0)
        assert fit.beta.slope == pytest.approx(0.6)
        assert fit.beta_plus == pytest.approx(0.6)
        assert fit.beta_minus == pytest.approx(0.6)
        assert fit.preferred == "power law"

    def test_log_power(self) -> None:
        fit = transport_exponents(TIMES, 0.2 * np.log(TIMES) ** 3, 1.0)
        assert fit.sigma.slope == pytest.approx(3.0)
        assert fit.preferred == "log power"

    def test_bounded_with_wiggles(self) -> None:
        moments = 2.0 * np.exp(0.2 * np.random.default_rng(1).normal(size=len(TIMES)))
        fit = transport_exponents(TIMES, moments, 2.0)
        assert fit.preferred == "bounded"
        assert fit.beta.interval[0] < 0 < fit.beta.interval[1]
        assert fit.beta_minus < 0 < fit.beta_plus

    def test_intervals_cover(self) -> None:
        covered = 0
        for seed in range(200):
            noise = np.random.default_rng(seed).normal(size=60)
            fit = transport_exponents(np.geomspace(10, 1e5, 60), np.geomspace(10, 1e5, 60) * np.exp(0.3 * noise), 1.0)
            covered += fit.beta.interval[0] <= 1.0 <= fit.beta.interval[1]
        assert 170 <= covered <= 199

    def test_a_line(self) -> None:
        x = np.arange(6.0)
        found = line(x, 2 * x - 1)
        assert (found.slope, found.intercept) == (pytest.approx(2), pytest.approx(-1))
        assert found.standard_error < 1e-12

    def test_window_and_dict(self) -> None:
        moments = np.where(TIMES < 100, TIMES**2, 1e4 * (TIMES / 100) ** 0.5)
        fit = transport_exponents(TIMES, moments, 2.0, window=(100.0, 1e4))
        assert fit.beta.slope == pytest.approx(0.25, abs=0.01)
        assert json.loads(json.dumps(fit.to_dict()))["window"][0] >= 100

    @pytest.mark.parametrize(
        ("times", "moments", "p", "words"),
        [
            ([1, 2, 3], [1, 2], 2.0, "as many moments"),
            ([10, 20, 50, 90], [1, 1, 1, 1], 2.0, "over a decade"),
            ([10, 100, 1000], [1, 1, 1], 2.0, "4 times"),
            ([0.5, 5, 50, 500], [1, 1, 1, 1], 2.0, "times above 1"),
            ([10, 100, 200, 300], [1, 0, 1, 1], 2.0, "not positive"),
            ([10, 100, 200, 300], [1, np.nan, 1, 1], 2.0, "not positive"),
            ([10, 100, 200, 300], [1, 1, 1, 1], 0.0, "p is 0"),
        ],
    )
    def test_bad_input(self, times: list, moments: list, p: float, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            transport_exponents(times, moments, p)


class TestModels:
    def test_aubry_andre_three_regimes(self) -> None:
        # A third of the times of the table in the guide.
        times = np.geomspace(10.0, 150.0, 20)
        slopes = {}
        for lam in (0.5, 1.0, 2.0):
            done = evolve(presets.aubry_andre(lam, theta=0.2), None, times, box=400, tol=1e-10)
            slopes[lam] = transport_exponents(times, done.moments(2.0)).beta.slope
        assert slopes[0.5] == pytest.approx(0.97, abs=0.04)
        assert slopes[1.0] == pytest.approx(0.49, abs=0.06)
        assert abs(slopes[2.0]) < 0.12

    def test_aubry_andre_at_400(self) -> None:
        found = evolve(presets.aubry_andre(2.0, theta=0.2), None, [400.0], box="adaptive").moments(2.0)[0]
        assert found == pytest.approx(0.339, abs=0.002)

    def test_fibonacci(self) -> None:
        done = time_averaged(presets.fibonacci(8.0), None, [10.0, 100.0], 2.0, box=120)
        assert done.moments[:, 0] == pytest.approx([1.3759, 8.6486], rel=1e-4)
        with pytest.raises(ValueError, match="too small"):
            time_averaged(presets.fibonacci(2.0), None, 1e3, box=120)


class TestBound:
    def test_almost_every_frequency(self) -> None:
        found = transport_bound(2, 1.5, 0.5, p=2.0)
        assert found.distance == pytest.approx(3.0)
        assert found.moment == pytest.approx(6.0)
        assert "almost every" in found.case
        facts = json.loads(json.dumps(found.to_dict()))
        assert "not a theorem" in facts["status"]
        assert any("semi-algebraic" in h for h in facts["hypotheses"])

    def test_classes(self) -> None:
        assert transport_bound(2, 1.0, 0.5, tau=0.5).distance == pytest.approx(2.0)
        assert transport_bound(2, 1.0, 0.5, tau=0.75).distance == pytest.approx(4.0)
        assert transport_bound(1, 1.5, 0.5, tau=7.0).distance == pytest.approx(1.5)
        # DC exponent w gives tau = (w − b + 1)/b.
        assert transport_bound(2, 1.0, 0.5, dual=2.5).distance == transport_bound(2, 1.0, 0.5, tau=0.75).distance
        assert transport_bound(1, 1.0, 0.5, dual=40.0).distance == pytest.approx(1.0)

    def test_one_frequency_by_its_continued_fraction(self) -> None:
        golden = transport_bound(1, 1.5, 0.5, quotients=[0] + [1] * 40, side=1000.0)
        assert golden.good_within == 2 * 1000**1.5 + 4
        assert golden.distance == 1.5
        huge = 10**40
        bad = transport_bound(1, 1.0, 0.5, quotients=[2, 3, huge, 1, 1], side=20.0)
        assert bad.good_within == pytest.approx(7 * huge + 2)
        assert bad.distance == np.inf
        assert "exceeds" in bad.reason
        assert log(7 * huge + 2) > 20**0.5 - log(2)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"b": 0}, "b >= 1"),
            ({"q": 0.0}, "q > 0"),
            ({"s": 1.5}, "0 < s < 1"),
            ({"p": -1.0}, "p > 0"),
            ({"tau": 1.0}, "0.5 <= tau < 1"),
            ({"tau": 0.4}, "0.5 <= tau < 1"),
            ({"dual": 3.0}, "2 <= w < 3"),
            ({"dual": 1.0}, "2 <= w < 3"),
            ({"tau": 0.5, "dual": 2.0}, "give one of"),
            ({"quotients": [1, 2]}, "belong to one frequency"),
            ({"b": 1, "quotients": [1, 0, 2]}, "whole numbers from 1"),
            ({"b": 1, "quotients": [1, 2], "side": 100.0}, "needs more of them"),
            ({"b": 1, "quotients": [1, 2], "side": 0.5}, "at least 1"),
        ],
    )
    def test_bad_input(self, arguments: dict, words: str) -> None:
        settings = {"b": 2, "q": 1.0, "s": 0.5} | arguments
        with pytest.raises(UsageError, match=words):
            transport_bound(settings.pop("b"), settings.pop("q"), settings.pop("s"), **settings)


class TestTransfer:
    def test_localised_against_free(self) -> None:
        strong = transfer_bound(presets.aubry_andre(2.5, theta=0.1), 30.0, 40)
        free = transfer_bound(presets.free(), 30.0, 40)
        assert strong.value < 1e-20
        assert free.value > 1.0
        assert free.right == pytest.approx(free.left)
        assert "diagnostic" in strong.to_dict()["status"]

    def test_one_step_by_hand(self) -> None:
        # N = 1: Φ(1) = [[z − V, −1], [1, 0]], whose Frobenius norm squared is |z − V|² + 2.
        T, count = 5.0, 1000
        found = transfer_bound(presets.free(), T, 1, count)
        energies = np.linspace(-3, 3, 2 * count + 1)[1::2]
        exact = T**3 * 6 / count * (1 / (np.abs(energies + 1j / T) ** 2 + 2)).sum()
        assert found.right == pytest.approx(exact, rel=1e-3)

    def test_bad_input(self) -> None:
        for wrong, words in (
            (lambda: transfer_bound(plane(fixture("dense2d")), 1.0, 3), "nearest-neighbour"),
            (lambda: transfer_bound(presets.free(), 0.0, 3), "T above 0"),
            (lambda: transfer_bound(presets.free(), 1e12, 3), "fewer"),
        ):
            with pytest.raises(UsageError, match=words):
                wrong()
