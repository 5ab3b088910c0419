"""Evolution: closed forms and fixtures, methods against each other, certified and adaptive boxes, bad input."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.dynamics.evolution import BoxTooSmallError, evolve
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel, exponential, nearest_neighbour, symmetric
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.propagation.dense import diagonalise
from tenfold.quasiperiodic.propagation.leak import spectral_loss, surface
from tenfold.quasiperiodic.propagation.panels import run_panels
from tenfold.runs import machine
from tenfold.shifts import costs
from tests.quasiperiodic.systems import CASES, chain, fixture, plane, random_operator, random_state, seeds

METHODS = ("chebyshev", "lanczos", "dense")


class TestClosedForms:
    def test_free_particle(self) -> None:
        z = fixture("free_moments")
        done = evolve(presets.free(), None, z["t"])
        assert done.certificate == "a priori"
        assert done.error_bound <= 1e-12
        sites = {int(n): i for i, n in enumerate(z["n"])}
        inside = [sites[int(n)] for n in done.box.sites[:, 0] if int(n) in sites]
        ours = [i for i, n in enumerate(done.box.sites[:, 0]) if int(n) in sites]
        assert np.abs(done.probabilities()[:, ours] - z["prob_nn"][:, inside]).max() < 1e-12
        found = done.moments(z["p"].tolist())
        assert np.abs((found - z["moments_nn"]) / np.maximum(1, z["moments_nn"])).max() < 1e-12
        assert abs(found[-1, 2] / 800 - 1) < 1e-12
        assert abs(found[-1, 4] / 960800 - 1) < 1e-12

    def test_free_long_range(self) -> None:
        z = fixture("free_moments")
        hopping = Hopping(z["hop_m"], z["hop_a"])
        found = evolve(LongRange(hopping), None, z["t"]).moments(2.0)
        assert np.abs(found - z["x2_longrange"]).max() < 1e-12 * z["x2_longrange"].max()
        exact = [presets.free_long_range_second_moment(hopping, t)[0] for t in z["t"]]
        assert np.abs(found - exact).max() < 1e-12 * z["x2_longrange"].max()

    def test_free_plane(self) -> None:
        z = fixture("free_moments")
        operator = LongRange(symmetric(z["offsets_2d"], z["coef_2d"]))
        done = evolve(operator, None, z["t"][:4])
        for axis in (0, 1):
            found = done.probabilities() @ (done.box.sites[:, axis].astype(float) ** 2)
            assert np.abs(found - z["xj2_2d"][:4, axis]).max() < 1e-11 * z["xj2_2d"][3, axis]


class TestFixtures:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("name", CASES)
    def test_chain(self, name: str, method: str) -> None:
        z = fixture(name)
        times = z["t"] if method != "lanczos" else z["t"][:5]
        done = evolve(chain(z).box(int(z["L"])), None, times, method=method)
        assert done.certificate == "finite system"
        assert np.abs(done.psi - z["psi"][: len(times)]).max() < 1e-10
        found = done.moments(z["p"])
        later = z["t"][: len(times)] > 0
        assert np.abs(found / z["moments"][: len(times)] - 1)[later].max() < 1e-9
        assert np.abs(found[~later]).max() < 1e-20

    def test_plane(self) -> None:
        z = fixture("dense2d")
        done = evolve(plane(z).box(int(z["L"])), None, z["t"], method="chebyshev")
        assert np.abs(done.psi - z["psi"]).max() < 1e-10
        for norm in ("linf", "l2"):
            assert np.abs(done.moments(z["p"], norm) / z[f"moments_{norm}"] - 1).max() < 1e-9


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 2), st.booleans(), st.booleans(), st.floats(0.1, 30.0))
def test_methods_agree_and_conserve(seed: int, dim: int, complex_: bool, complex_state: bool, time: float) -> None:
    box = random_operator(seed, dim, 2, complex_).box(12 if dim == 1 else 4)
    start = random_state(seed, box.size, complex_state)
    times = np.array([time, 0.3 * time, -time, 0.0])
    found = {method: evolve(box, start, times, method=method) for method in METHODS}
    for done in found.values():
        assert np.abs(done.psi - found["dense"].psi).max() < 3e-12
        assert np.abs(done.norms() - 1).max() < 1e-12
        assert np.abs(done.energies() - done.energies()[3]).max() < 1e-11
        assert np.abs(done.psi[3] - start).max() < 1e-14


@settings(max_examples=10, deadline=None)
@given(seeds, st.booleans())
def test_there_and_back(seed: int, complex_: bool) -> None:
    box = random_operator(seed, 1, 3, complex_).box(40)
    start = random_state(seed, box.size)
    there = evolve(box, start, [25.0], method="chebyshev").psi[0]
    back = evolve(box, there, [-25.0], method="chebyshev").psi[0]
    assert np.abs(back - start).max() < 1e-11


def test_trotter_in_a_ring_converges_to_the_rest() -> None:
    for box in (presets.aubry_andre(1.3).ring(34), plane(fixture("dense2d")).ring(8, approximant=False)):
        start = random_state(5, box.size)
        exact = evolve(box, start, [0.7, 3.0], method="dense").psi
        done = evolve(box, start, [0.7, 3.0], method="trotter", tol=1e-9)
        assert done.certificate == "estimate"
        assert np.abs(done.psi - exact).max() < 1e-8
    with pytest.raises(UsageError, match="needs a periodic box"):
        evolve(presets.free().box(4), None, [1.0], method="trotter")


class TestCertifiedBox:
    @settings(max_examples=12, deadline=None)
    @given(seeds, st.booleans(), st.floats(0.2, 4.0))
    def test_the_bound_holds(self, seed: int, complex_: bool, time: float) -> None:
        operator = random_operator(seed, 1, 2, complex_)
        loose = evolve(operator, {0: 1.0, 3: 0.5j}, [time], tol=1e-4)
        wide = operator.box(3 * loose.reach + 30)
        exact = evolve(wide, {0: 1.0, 3: 0.5j}, [time]).psi[0]
        middle = exact[wide.index(-loose.reach) : wide.index(loose.reach) + 1]
        outside = np.linalg.norm(exact) ** 2 - np.linalg.norm(middle) ** 2
        distance = np.sqrt(np.linalg.norm(middle - loose.psi[0]) ** 2 + max(outside, 0.0))
        assert distance <= loose.error_bound * np.linalg.norm(exact) + 1e-12

    def test_the_moment_bound_holds(self) -> None:
        done = evolve(presets.free(), None, [3.0, 10.0], tol=1e-6)
        for p, exact in ((2.0, [18.0, 200.0]), (4.0, [6 * 81 + 18, 60200.0])):
            error = done.moments_error(p)
            assert (np.abs(done.moments(p) - exact) <= error).all()
            assert (error < 0.1 * np.array(exact)).all()

    def test_long_range_and_two_dimensions(self) -> None:
        done = evolve(LongRange(exponential(1.0, 0.5, radius=20)), None, [10.0])
        assert 140 < done.reach < 200
        flat = evolve(presets.free(2), {(0, 0): 1.0}, [2.0], tol=1e-8)
        single = evolve(presets.free(), None, [2.0])
        product = np.multiply.outer(single.psi[0], single.psi[0])
        offset = single.reach - flat.reach
        part = product[offset:-offset, offset:-offset] if offset > 0 else product
        assert np.abs(part.ravel() - flat.psi[0]).max() < 1e-8

    def test_truncated_hopping_is_part_of_the_bound(self) -> None:
        h = exponential(1.0, 1.0)
        done = evolve(LongRange(h), None, [5.0])
        assert done.parts["truncated_hopping"] == 5.0 * h.tail > 0

    def test_kernels(self) -> None:
        kernel = Kernel(lambda n, m: 0.5 * np.exp(-np.abs(n - m)[:, 0]), 30, 0.5, 1.0)
        done = evolve(LongRange(kernel), None, [2.0], tol=1e-8)
        same = Hopping([0, *range(1, 31), *range(-30, 0)], 0.5 * np.exp(-np.abs([0, *range(1, 31), *range(-30, 0)])))
        exact = evolve(LongRange(same).box(done.reach), None, [2.0]).psi
        assert np.abs(done.psi - exact).max() < 1e-8
        assert done.parts["truncated_hopping"] > 0


class TestAdaptiveBox:
    @pytest.mark.parametrize("method", ["chebyshev", "dense"])
    def test_localised_to_long_times(self, method: str) -> None:
        times = np.geomspace(1.0, 2e3, 6)
        done = evolve(presets.aubry_andre(2.0, theta=0.2), None, times, box="adaptive", method=method)
        assert done.certificate == "a posteriori"
        assert done.reach < 100
        assert done.error_bound < 1e-11
        wide = evolve(presets.aubry_andre(2.0, theta=0.2).box(200), None, times, method="dense")
        assert np.abs(done.moments(2.0) - wide.moments(2.0)).max() < 1e-9

    def test_it_grows_with_the_front(self) -> None:
        done = evolve(presets.free(), None, [5.0, 60.0], box="adaptive")
        assert done.reach > 120
        assert np.abs(done.moments(2.0) - [50.0, 7200.0]).max() < 1e-7

    def test_a_growing_box_keeps_what_was_reached(self) -> None:
        # Both directions, a batch of θ, times in disorder, several growths.
        operator = presets.aubry_andre(0.4).at([[0.1], [0.6]])
        times = [30.0, -12.0, 0.0, 3.0]
        done = evolve(operator, {0: 1.0, 2: 0.5j}, times, box="adaptive", method="chebyshev", tol=1e-10)
        exact = evolve(operator.box(done.reach), {0: 1.0, 2: 0.5j}, times, method="dense").psi
        assert done.psi.shape == (4, 2, done.box.size)
        assert done.reach > 60
        assert np.abs(done.psi - exact).max() < 1e-9
        assert done.error_bound < 1e-7
        flat = evolve(presets.free(2), None, [6.0], box="adaptive", tol=1e-6)
        assert flat.box.shape[0] == flat.box.shape[1] == 2 * flat.reach + 1
        assert abs(flat.moments(2.0, "l2")[0] - 144.0) < 1e-3

    @settings(max_examples=12, deadline=None)
    @given(seeds, st.floats(0.5, 8.0), st.integers(6, 14))
    def test_the_loss_through_the_surface_bounds_the_error(self, seed: int, time: float, reach: int) -> None:
        operator = random_operator(seed, 1, 2, seed % 2 == 0)
        box, wide = operator.box(reach), operator.box(reach + 60)
        start = np.zeros(box.size)
        start[reach] = 1.0
        spectral = diagonalise(box)
        loss = float(spectral_loss(box, spectral, start, time))
        inner = spectral.evolve(start, np.array([time]))[0]
        outer = evolve(wide, None, [time], method="dense").psi[0]
        outer[60:-60] -= inner
        assert np.linalg.norm(outer) <= np.sqrt(time * loss) + 1e-10
        # The same integral from sampled sweeps.
        sampled = sum(panel.loss[0] for panel in run_panels(box, start[None], np.array([time]), 1e-13, surface(box)))
        assert abs(sampled - loss) < 1e-10 * max(loss, 1e-3)

    def test_silent_reflection_is_an_error(self) -> None:
        with pytest.raises(BoxTooSmallError, match=r"too small: .* of the mass reached its edge by t = 50"):
            evolve(presets.free(), None, [50.0], box=80)
        with pytest.raises(BoxTooSmallError):
            evolve(presets.free(), None, [50.0], box=100)
        enough = evolve(presets.free(), None, [50.0], box=135)
        assert abs(enough.moments(2.0)[0] / 5000 - 1) < 1e-12
        assert enough.error_bound < 1e-8
        # The box as the system: nothing to lose.
        assert evolve(presets.free().box(80), None, [50.0]).certificate == "finite system"
        assert issubclass(BoxTooSmallError, TenfoldError)
        assert issubclass(BoxTooSmallError, ValueError)


class TestBatches:
    def test_theta_and_states(self) -> None:
        operator = presets.aubry_andre(1.5).at([[0.1], [0.6]])
        for method in METHODS:
            done = evolve(operator, None, [1.0, 4.0], box=30, method=method)
            assert done.psi.shape == (2, 2, 61)
            for row, theta in enumerate((0.1, 0.6)):
                single = evolve(presets.aubry_andre(1.5, theta=theta), None, [1.0, 4.0], box=30, method=method)
                assert np.abs(done.psi[:, row] - single.psi).max() < 2e-12
        states = [{0: 1.0}, {2: 1j, -1: 0.5}]
        both = evolve(operator, states, [1.0], tol=1e-10)
        for row, (theta, state) in enumerate(zip((0.1, 0.6), states, strict=True)):
            single = evolve(presets.aubry_andre(1.5, theta=theta), state, [1.0])
            assert abs(both.moments(2.0)[0, row] - single.moments(2.0)[0]) < 1e-9

    def test_moments_about_another_origin_are_the_translation(self) -> None:
        # θ → θ + ω is a translation by one site: the moment about −1 after starting there.
        here = evolve(presets.aubry_andre(1.2, "golden", "golden"), None, [6.0])
        there = evolve(presets.aubry_andre(1.2, "golden", 0.0), None, [6.0], centre=1)
        assert abs(here.moments(2.0)[0] - there.moments(2.0)[0]) < 1e-11
        assert there.box.centre == (1,)

    def test_a_far_window(self) -> None:
        n = 10**9
        done = evolve(presets.aubry_andre(2.0), None, [5.0], centre=n)
        assert done.box.lower[0] == n - done.reach
        assert 0 < done.moments(2.0)[0] < 2


def test_results_say_what_they_are() -> None:
    done = evolve(presets.aubry_andre(2.0), None, [0.0, 3.0])
    facts = json.loads(json.dumps(done.to_dict()))
    assert facts["certificate"] == "a priori"
    assert facts["error_bound"] == sum(facts["error_parts"].values())
    assert facts["box"]["boundary"] == "open"
    assert facts["conventions"]["evolution"] == "psi(t) = exp(-i t H) phi"
    fractions: list[float] = []
    evolve(presets.free(), None, [200.0], progress=fractions.append, method="chebyshev")
    assert fractions == sorted(fractions)
    assert 0.8 < fractions[-1] <= 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"times": []}, "at least one"),
        ({"times": [np.nan]}, "not finite"),
        ({"tol": 1e-15}, "1e-14 and above"),
        ({"tol": 2.0}, "below 1"),
        ({"method": "chebishev"}, "did you mean 'chebyshev'"),
        ({"box": "certifed"}, "did you mean 'certified'"),
        ({"box": -1}, "at least 0"),
        ({"phi": {}}, "needs sites"),
        ({"phi": {0: 0.0}}, "is zero"),
        ({"phi": {0: np.inf}}, "not finite"),
        ({"phi": {(0, 0): 1.0}}, "Z\\^1"),
        ({"phi": []}, "no initial state"),
        ({"phi": np.ones(3)}, "belongs to a box"),
        ({"phi": {50: 1.0}, "box": 20}, "outside the box"),
        ({"phi": np.ones(3), "box": 5}, "the box needs"),
        ({"method": "dense", "times": [900.0]}, "at most 2000 sites"),
        ({"times": [1e9]}, "box='adaptive'"),
        ({"method": "trotter"}, "needs a periodic box"),
    ],
)
def test_bad_input(arguments: dict, words: str) -> None:
    settings_ = {"phi": None, "times": [1.0]} | arguments
    with pytest.raises(UsageError, match=words):
        evolve(presets.aubry_andre(1.0), **settings_)


def test_bad_moments() -> None:
    done = evolve(presets.free(), None, [1.0])
    for p in (0.0, -1.0, np.nan, []):
        with pytest.raises(UsageError, match="above 0"):
            done.moments(p)


def test_memory_of_the_states_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    box = LongRange(nearest_neighbour()).box(1000)
    monkeypatch.setattr(costs, "LITTLE", 0)
    monkeypatch.setattr(machine, "free_memory", lambda: 1 << 22)
    with pytest.raises(UsageError, match=r"states of 2,001 sites at 100 times together would need"):
        evolve(box, None, np.linspace(0, 1, 100))
